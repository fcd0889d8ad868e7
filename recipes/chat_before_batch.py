"""Serve the user who waits before the batch that does not.

Both go through one limit, and first come, first served would put a user behind ten thousand prompts of the night. With
`queue=Priority()` the more urgent goes first, by `hints(priority=...)` around the code that knows. `aging` lets the
batch gain one class every so many seconds, so that it goes on however busy the users are. A priority says whose turn
it is, and not how much each gets: for shares there is `Fair`.

Prints::

    first come, first served: the users waited ... s on average
    with priorities: the users waited 0... s on average
    all 150 calls of the batch were served both times: True
"""

from __future__ import annotations

import asyncio
import time
from statistics import mean
from typing import TYPE_CHECKING

from sluiceway import HIGH, LOW, Fifo, Priority, bounded, hints
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from sluiceway import Layer


async def complete(client: AsyncOpenAI, prompt: str) -> bool:
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])
    return True


async def morning(client: AsyncOpenAI, limit: Layer) -> tuple[float, int]:
    """Return how long users waited on average while a batch was running, and how many of its calls were served."""
    ask = limit(complete)
    with hints(priority=LOW):
        batch = [asyncio.create_task(ask(client, f"Label page {number}")) for number in range(150)]
    waits = []
    for number in range(5):
        await asyncio.sleep(0.02)
        began = time.perf_counter()
        with hints(priority=HIGH):
            await ask(client, f"Hello, I am user {number}")
        waits.append(time.perf_counter() - began)
    return mean(waits), sum(await asyncio.gather(*batch))


async def main() -> None:
    async with real_or_simulated(latency="40ms..60ms") as client:
        before, labelled = await morning(client, bounded(5, queue=Fifo()))
        print(f"first come, first served: the users waited {before:.2f} s on average")
        after, labelled_too = await morning(client, bounded(5, queue=Priority(aging="10s")))
        print(f"with priorities: the users waited {after:.2f} s on average")
        print(f"all 150 calls of the batch were served both times: {labelled == labelled_too == 150}")


if __name__ == "__main__":
    asyncio.run(main())
