"""Stay inside the provider's limits of requests and of tokens.

Providers count both for every minute, and refuse with 429 whoever is too fast; often the refusal counts too.
`rate_limited` lets a call go when its request and its tokens both fit. How many tokens it takes is estimated and
corrected by the answer's usage; tell what you know better with `hints(expected_tokens=...)`.

Prints::

    60 calls at 1,200 a minute in ... s: 60 answered, 60 attempts, none refused: True
    a block of 1,900 tokens leaves a debt: -... of 900
    rate_limited: the call costs about 100,000 tokens, but there are only 60,000 per 60 s (tpm): no wait could admit it
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from sluiceway import CostTooLarge, Session, hints, rate_limited, retry_jitter, snapshot
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion

limits = rate_limited(rpm=1200, tpm=60_000)


@retry_jitter(attempts=3)
@limits
async def ask(client: AsyncOpenAI, prompt: str) -> ChatCompletion:
    # Return the answer as it came: its usage settles what the call took, and is counted.
    return await client.chat.completions.create(
        model="gpt-4o-mini", max_tokens=16, messages=[{"role": "user", "content": prompt}]
    )


async def main() -> None:
    async with real_or_simulated(rpm=1200, tpm=60_000, burst="3s") as client, Session() as session:
        with hints(expected_tokens=20):
            outcomes = await session.gather(partial(ask, client), [f"Name pond {number}." for number in range(60)])
        stats = session.stats
        counts = f"{stats.succeeded} answered, {stats.attempts} attempts, none refused: {not stats.attempt_errors}"
        print(f"{len(outcomes)} calls at 1,200 a minute in {stats.elapsed:.1f} s: {counts}")

        async with limits.permit(tokens=2_000) as permit:  # for code that is no function call
            permit.settle(tokens=1_900)
        left = snapshot(ask)["rate_limited"][0].available["tpm"]
        print(f"a block of 1,900 tokens leaves a debt: {left:,.0f} of 900")
        with hints(expected_tokens=100_000):
            try:
                await ask(client, "What is in all these books?")
            except CostTooLarge as error:
                print(error)


if __name__ == "__main__":
    asyncio.run(main())
