"""Answer the same question once.

Prompts repeat: across users, across runs of an evaluation, while you edit the code around them. `cached` gives the
stored answer to an equal call, which then makes no attempt, takes no permit and costs nothing. In memory it serves a
process, in a file the next one too; streams come back as streams, and errors are never stored.

Prints::

    asked 6 times: 2 attempts, 4 hits, the same object type: ChatCompletion
    a new process would find them: 0 attempts, 2 hits
    streamed twice: 1 attempt, ... items each time
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluiceway import Session, cached
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI


async def ask(client: AsyncOpenAI, prompt: str, **options: Any) -> Any:
    """The function to decorate; the client is not part of what makes two calls equal."""
    return await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}], max_tokens=8, **options
    )


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answers.db"
        async with real_or_simulated(latency="2ms") as client:
            remembered = cached(file, ttl="7d")(ask)
            async with Session() as session:
                answers = [await remembered(client, f"Name river {number % 2}") for number in range(6)]
            counted = f"{session.stats.attempts} attempts, {session.stats.cache_hits} hits"
            print(f"asked 6 times: {counted}, the same object type: {type(answers[-1]).__name__}")
            later = cached(file)(ask)
            async with Session() as session:
                assert answers[:2] == [await later(client, f"Name river {number}") for number in range(2)]
            stats = session.stats
            print(f"a new process would find them: {stats.attempts} attempts, {stats.cache_hits} hits")
            async with Session() as session:
                lengths = [len([_ async for _ in await later(client, "Name a lock", stream=True)]) for _ in range(2)]
            assert lengths[0] == lengths[1]
            print(f"streamed twice: {session.stats.attempts} attempt, {lengths[0]} items each time")


if __name__ == "__main__":
    asyncio.run(main())
