"""Run many prompts, and know what became of each and of all together.

A thousand prompts need more than `asyncio.gather`: one failure must not lose the other answers, and somebody will ask
what it took and cost. A `Session` counts every call inside, runs one function over many items, and ends clean.
`session.gather` returns an outcome for each item in order, `session.map` yields them as they finish and suits millions,
`session.all_or_nothing` cancels the rest at the first failure.

Prints::

    200 of 200 done
    ... answers, ... failures, the first of them item ...: BadRequestError
    map: 3 of 20 seen, the others cancelled
    session nightly ...
    <BLANKLINE>
    calls ...
      succeeded ...
      failed ...
    ...
    cost                      $0...
    ...
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from sluiceway import Session, bounded, rate_limited, retry_jitter, timed
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion


@timed("60s")
@retry_jitter(attempts=5, base="50ms")
@bounded(50)
@rate_limited(rpm=12_000, tpm=2_000_000)
async def ask(client: AsyncOpenAI, prompt: str) -> ChatCompletion:
    return await client.chat.completions.create(
        model="gpt-4o-mini", max_tokens=20, messages=[{"role": "user", "content": prompt}]
    )


async def main() -> None:
    prompts = [f"Name river number {number}." for number in range(200)]
    some_fail = real_or_simulated(latency="20ms..80ms", errors={503: 0.05, 400: 0.02}, seed=1)
    async with some_fail as client, Session("nightly") as session:
        answer = partial(ask, client)  # a function of one item
        outcomes = await session.gather(answer, prompts, on_progress=show)
        bad = [outcome for outcome in outcomes if not outcome.ok]
        first = f", the first of them item {bad[0].index}: {type(bad[0].error).__name__}" if bad else ""
        print(f"{len(outcomes) - len(bad)} answers, {len(bad)} failures{first}")

        seen = 0
        async for _ in session.map(answer, prompts[:20], concurrency=3):
            seen += 1
            if seen == 3:
                break
        print(f"map: {seen} of 20 seen, the others cancelled")
    print(session.stats)


def show(done: int, total: int | None) -> None:
    if done == total:
        print(f"{done} of {total} done")


if __name__ == "__main__":
    asyncio.run(main())
