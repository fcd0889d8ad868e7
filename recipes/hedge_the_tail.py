"""Send a second attempt when the first is slow.

Most answers of a provider come quickly, and one in fifty takes twenty times as long, for no reason of yours. That one
decides how a page feels that needs many answers. `hedged` sends a second attempt once the first has taken longer than
95 of 100 do, takes what comes first and cancels the other: the tail goes, for about one more attempt in twenty.

Prints::

    without hedges: p50 ... ms, p99 ... ms
    with hedges:    p50 ... ms, p99 ... ms, ... more attempts for 450 calls
    the 99th percentile is less than half: True
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from sluiceway import Pipeline, bounded, chaos, hedged
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai import AsyncOpenAI


def sometimes_slow() -> chaos:
    return chaos(slow=0.02, slow_by=2.0, seed=7, enabled=True)


async def complete(client: AsyncOpenAI, prompt: str) -> None:
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


hedge = hedged(after="p95")
without = Pipeline(bounded(30), sometimes_slow())(complete)
ask = Pipeline(hedge, bounded(30), sometimes_slow())(complete)


async def percentiles(ask: Callable[[AsyncOpenAI, str], Awaitable[None]], client: AsyncOpenAI) -> tuple[float, float]:
    times = []

    async def reader(number: int) -> None:
        for page in range(30):
            began = perf_counter()
            await ask(client, f"Reader {number}, page {page}")
            times.append((perf_counter() - began) * 1000)

    await asyncio.gather(*(reader(number) for number in range(15)))
    times.sort()
    return times[225], times[445]


async def main() -> None:
    async with real_or_simulated(latency="lognormal(30ms, 0.3)") as client:
        p50, slow = await percentiles(without, client)
        print(f"without hedges: p50 {p50:.0f} ms, p99 {slow:.0f} ms")
        p50, p99 = await percentiles(ask, client)
    print(f"with hedges:    p50 {p50:.0f} ms, p99 {p99:.0f} ms, {hedge.snapshot().sent} more attempts for 450 calls")
    print(f"the 99th percentile is less than half: {p99 < slow / 2}")


if __name__ == "__main__":
    asyncio.run(main())
