"""Decorate an async function that calls an LLM.

In production such a function meets rate limits, overload, hanging connections and outages. Each of them is one line
above it, and nothing inside it changes: signature, types and errors stay as they were. Outermost stands what shall
cover everything below it, so the order of the lines is their meaning; `describe` prints it with every setting.

Prints::

    I was asked: What is a weir for?
    ask (outermost first)
      timed(limit='60s')
      retry_jitter(attempts=5, base=0.5, cap=30.0, jitter='full')
      bounded(limit=30)
      rate_limited(rpm=500, tpm=200000, burst='0.9s', ...)
      circuit_breaker(failure_ratio=0.5, window=60.0, min_calls=20, ...)
      timed(limit='20s')
      at most 5 attempts a call
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluiceway import bounded, circuit_breaker, describe, rate_limited, retry_jitter, timed
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion


@timed("60s")  # the whole call, its waiting included
@retry_jitter(attempts=5)  # again, later, where that can help
@bounded(30)  # so many at a time
@rate_limited(rpm=500, tpm=200_000)  # inside the provider's limits
@circuit_breaker(failure_ratio=0.5)  # not while the provider is down
@timed("20s")  # each attempt
async def ask(client: AsyncOpenAI, prompt: str) -> ChatCompletion:
    return await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


async def main() -> None:
    # A client of the provider that OPENAI_API_KEY names; without it, of one that runs right here.
    async with real_or_simulated(answer="I was asked: {prompt}", errors={503: 0.3}, seed=1) as client:
        completion = await ask(client, "What is a weir for?")
        print(completion.choices[0].message.content)
    print(describe(ask))


if __name__ == "__main__":
    asyncio.run(main())
