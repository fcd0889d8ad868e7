"""Limit how long a call may take.

A provider that hangs must not hang its callers, and a user waits so long and no longer, queues and retries included.
`timed` limits what it stands around: outermost the whole call, innermost each attempt, after which there may be
another. Its error is a `TimeoutError` that says which limit it was and where the time went.

Prints::

    total:    ask not done within 1 s (spent: ... s in attempt ...)
    deadline: ask not done by its deadline, 0.2 s after its start (spent: ... s in attempt 1)
    where the time went, as data: ['attempt 1']
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluiceway import TimedOut, hints, retry_jitter, timed
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI


@timed("1s")  # the total
@retry_jitter(attempts=5, base="50ms")
@timed("400ms")  # each attempt
async def ask(client: AsyncOpenAI, prompt: str) -> None:
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


async def main() -> None:
    async with real_or_simulated(hang_rate=1.0) as client:
        try:
            await ask(client, "Are you there?")
        except TimedOut as error:
            print(f"total:    {error}")
        try:
            with hints(deadline="200ms"):
                await ask(client, "Quick, are you there?")
        except TimedOut as error:
            print(f"deadline: {error}")
            print(f"where the time went, as data: {sorted(error.spent)}")


if __name__ == "__main__":
    asyncio.run(main())
