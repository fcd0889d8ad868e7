"""Share one limit between tenants, whatever each of them sends.

One account, many customers: whoever sends the most would get the most, and a loop in one customer's code stops all
others. With `queue=Fair()` everybody who waits gets a share of what the limit lets through, counted in tokens and
settled to what calls really took; weights make shares larger. What one does not use the others may.

Prints::

    the customer with 3 calls waited ... s behind 200 calls of another, first come, first served
    with shares it waited 0... s
    with weights of 3 and 1, of the first 60 calls 4... were of the first tenant
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sluiceway import Fair, Fifo, bounded, hints
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openai import AsyncOpenAI

    from sluiceway import Layer

order: list[str] = []


async def complete(client: AsyncOpenAI, tenant: str) -> None:
    order.append(tenant)
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Name a lake"}])


async def serve(client: AsyncOpenAI, limit: Layer, calls: Iterable[tuple[str, int]]) -> float:
    """Return how long the last tenant of *calls* waited for all of its answers; then wait for the others'."""
    ask = limit(complete)
    order.clear()
    began = time.perf_counter()
    tasks: dict[str, list[asyncio.Task[None]]] = {}
    for tenant, number in calls:
        with hints(tenant=tenant):
            tasks[tenant] = [asyncio.create_task(ask(client, tenant)) for _ in range(number)]
    await asyncio.gather(*tasks[tenant])
    waited = time.perf_counter() - began
    for others in tasks.values():
        await asyncio.gather(*others)
    return waited


async def main() -> None:
    async with real_or_simulated(latency="40ms..60ms") as client:
        flood = [("large", 200), ("small", 3)]
        waited = await serve(client, bounded(5, queue=Fifo()), flood)
        print(f"the customer with 3 calls waited {waited:.2f} s behind 200 calls of another, first come, first served")
        print(f"with shares it waited {await serve(client, bounded(5, queue=Fair()), flood):.2f} s")
        paying = Fair(weights={"pays three times as much": 3})
        await serve(client, bounded(5, queue=paying), [("pays three times as much", 100), ("pays", 100)])
        first = order[:60].count("pays three times as much")
        print(f"with weights of 3 and 1, of the first 60 calls {first} were of the first tenant")


if __name__ == "__main__":
    asyncio.run(main())
