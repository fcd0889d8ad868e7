"""Write a layer of your own.

Sooner or later something must happen around every call that no layer does, such as a line in an audit log. A layer is a
class with one method: `handle` gets the call and `proceed`, which runs the rest of the pipeline, and awaits it zero,
one or many times. It works for plain answers and streams, as decorator and in pipelines, and shows up in `describe`.

Prints::

    audit: acme called ask: ok after ... ms, 2 attempts
    audit: nobody called ask: NotFoundError after ... ms, 1 attempts
    ask (outermost first)
      audited(prefix='audit: ')
      retry_jitter(attempts=3, base='50ms', ...)
      at most 3 attempts a call
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from sluiceway import Layer, describe, hints, retry_jitter
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from sluiceway import Call, Proceed

T = TypeVar("T")


class audited(Layer):
    """Write a line for each call: on whose behalf, how it ended, after how long."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        outcome = "ok"
        try:
            return await proceed(call)
        except BaseException as error:  # a cancelled call is over too
            outcome = type(error).__name__
            raise
        finally:
            took = 1e3 * (asyncio.get_running_loop().time() - call.started_at)
            who, tries = call.hints.tenant or "nobody", len(call.run.attempts)
            print(f"{self.prefix}{who} called {call.name}: {outcome} after {took:.0f} ms, {tries} attempts")


@audited("audit: ")
@retry_jitter(attempts=3, base="50ms")
async def ask(client: AsyncOpenAI, prompt: str) -> None:
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


async def main() -> None:
    async with real_or_simulated(errors={503: 0.4}, seed=1) as client:
        with hints(tenant="acme"):
            await ask(client, "What is a groyne?")
    async with real_or_simulated(errors={404: 1.0}) as client:
        with suppress(Exception):
            await ask(client, "What is a gabion?")
    print(describe(ask))


if __name__ == "__main__":
    asyncio.run(main())
