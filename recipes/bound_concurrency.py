"""Bound how many calls are open at a time.

Too many open calls run into the provider's own bound, and into the memory and sockets of your process. `bounded` lets
so many in, each until its answer is complete, and the others wait in line; it can be resized while it runs. Who had
better not wait, a user in front of a screen for instance, is refused at once with `max_wait` or `max_queue`.

Prints::

    60 calls, at most 8 in flight
    60 calls after resize(16), at most 16 in flight
    20 calls with 8 places and a queue of 8: 16 answered, 4 refused at once
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from sluiceway import QueueFull, bounded
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

places = bounded(8)
open_now = 0
most = 0


async def complete(client: AsyncOpenAI, prompt: str) -> None:
    global open_now, most  # noqa: PLW0603 - so that the recipe can show it
    open_now += 1
    most = max(most, open_now)
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])
    open_now -= 1


ask = places(complete)
ask_now_or_never = bounded(8, max_queue=8)(complete)


async def main() -> None:
    global most  # noqa: PLW0603 - as above
    async with real_or_simulated(latency="20ms..60ms") as client:
        await asyncio.gather(*(ask(client, f"Name lake {number}") for number in range(60)))
        print(f"60 calls, at most {most} in flight")
        places.resize(16)
        most = 0
        await asyncio.gather(*(ask(client, f"Name lake {number}") for number in range(60)))
        print(f"60 calls after resize(16), at most {most} in flight")
        calls = (ask_now_or_never(client, f"Name sea {number}") for number in range(20))
        ends = Counter(type(end) for end in await asyncio.gather(*calls, return_exceptions=True))
    print(f"20 calls with 8 places and a queue of 8: {ends[type(None)]} answered, {ends[QueueFull]} refused at once")


if __name__ == "__main__":
    asyncio.run(main())
