"""Make equal calls at the same time one.

When a page goes viral, a hundred visitors ask for the summary of the same article in the same second, and each of them
pays for the same answer. `coalesced` lets the first call fly and gives its answer to all who ask for it meanwhile. A
visitor who leaves does not take it from the others; only when the last has left, it is cancelled.

Prints::

    100 visitors, 3 articles: 3 attempts, 97 calls spared
    the first visitor left, the second has his answer: True
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluiceway import Session, coalesced
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI


@coalesced()
async def summary(client: AsyncOpenAI, article: str) -> str | None:
    messages = [{"role": "user", "content": f"Summarize {article}"}]
    answer = await client.chat.completions.create(model="gpt-4o-mini", messages=messages)
    return answer.choices[0].message.content


async def main() -> None:
    async with real_or_simulated(latency="100ms..300ms") as client:
        async with Session() as session:
            await asyncio.gather(*(summary(client, f"article {visitor % 3}") for visitor in range(100)))
        stats = session.stats
        print(f"{stats.calls} visitors, 3 articles: {stats.attempts} attempts, {stats.coalesced} calls spared")

        first, second = (asyncio.create_task(summary(client, "another article")) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        answers = await asyncio.gather(first, second, return_exceptions=True)
        print(f"the first visitor left, the second has his answer: {isinstance(answers[1], str)}")


if __name__ == "__main__":
    asyncio.run(main())
