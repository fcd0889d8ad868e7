"""Write a layer from scratch.

Sooner or later something must happen around every call that no layer does, such as a line in an audit log. A layer is a
class with one method: `handle` awaits `proceed(call)`, which runs the rest of the pipeline, zero, one or many times; a
stream's `proceed` returns at its end. It is a decorator and a stage of pipelines like any other, and a package brings
it to everybody with two lines in its `pyproject.toml`::

    [project.entry-points."sluiceway.layers"]
    audited = "my_package.audit:audited"

Prints::

    audit: acme called ask: ok after ... ms, 2 attempts
    audit: nobody called ask: NotFoundError after ... ms, 1 attempts
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, TypeVar

from sluiceway import Call, Layer, Proceed, hints, retry_jitter
from sluiceway.simulator import real_or_simulated

T = TypeVar("T")


class audited(Layer):
    def __init__(self, prefix: str) -> None:  # the object is its state; at import time there is no event loop yet
        self.prefix = prefix

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        outcome = "ok"
        try:
            return await proceed(call)  # with a time limit: `with call.within("5s")`; once more: `call.again(2)`
        except BaseException as error:  # a cancelled call is over too
            outcome = type(error).__name__
            raise
        finally:
            took = 1e3 * (asyncio.get_running_loop().time() - call.started_at)
            who, tries = call.hints.tenant or "nobody", len(call.run.attempts)
            print(f"{self.prefix}{who} called {call.name}: {outcome} after {took:.0f} ms, {tries} attempts")


@audited("audit: ")
@retry_jitter(attempts=3, base="50ms")
async def ask(client: Any, prompt: str) -> None:
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


async def main() -> None:
    async with real_or_simulated(errors={503: 0.4}, seed=1) as client:
        with hints(tenant="acme"):
            await ask(client, "What is a groyne?")
    async with real_or_simulated(errors={404: 1.0}) as client:
        with suppress(Exception):
            await ask(client, "What is a gabion?")


if __name__ == "__main__":
    asyncio.run(main())
