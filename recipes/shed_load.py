"""Refuse early what would only wait in vain.

When more calls come than the provider can take, a queue without end makes everybody wait until time is up: all that
waiting for nothing. `shed` looks at the queues inside it and refuses a call at once if it would wait beyond its
deadline, longer than `max_wait`, or in a queue that stands for long; its `retry_after` says when to come back. A burst
that drains in time may still queue.

Prints::

    without: ... answered, ... timed out after waiting half a second, 0 refused
    with shed: ... answered, ... timed out after waiting half a second, ... refused
    the first refusal came after 0.0 s of waiting, and says: come back in 0... s
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from sluiceway import Overloaded, Pipeline, TimedOut, bounded, shed, timed
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

refusals: list[tuple[float, Overloaded]] = []


async def complete(client: AsyncOpenAI, prompt: str) -> None:
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


async def overload(client: AsyncOpenAI, pipeline: Pipeline) -> str:
    """Send three times what five places can take, for a second and a half; return what became of the calls."""
    ask = pipeline(complete)
    ends: Counter[str] = Counter()

    async def one(number: int) -> None:
        began = time.perf_counter()
        try:
            await ask(client, f"Name lake {number}")
            ends["answered"] += 1
        except TimedOut:
            ends["timed out"] += 1
        except Overloaded as error:
            ends["refused"] += 1
            refusals.append((time.perf_counter() - began, error))

    tasks = []
    for number in range(225):
        tasks.append(asyncio.create_task(one(number)))
        await asyncio.sleep(1 / 150)
    await asyncio.gather(*tasks)
    late = f"{ends['timed out']} timed out after waiting half a second"
    return f"{ends['answered']} answered, {late}, {ends['refused']} refused"


async def main() -> None:
    async with real_or_simulated(latency="100ms") as client:
        print(f"without: {await overload(client, Pipeline(timed('500ms'), bounded(5)))}")
        pipeline = Pipeline(timed("500ms"), shed(max_wait="200ms"), bounded(5))
        print(f"with shed: {await overload(client, pipeline)}")
    waited, error = refusals[0]
    again = error.retry_after or 0.0
    print(f"the first refusal came after {waited:.1f} s of waiting, and says: come back in {again:.3f} s")


if __name__ == "__main__":
    asyncio.run(main())
