"""Share one limit between two functions.

The provider counts requests for the whole account, whichever of your functions sends them. A layer object is its state:
one object on two functions is one limit for both, two objects are two limits. With `by=` one object keeps a
limit for each key, such as a tenant.

Prints::

    50 calls of two functions, 50 a second for both together: ... s
    the limit is one object: True
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sluiceway import layers_of, rate_limited
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

account = rate_limited(rps=50, burst="0.1s")  # one object, used twice below


async def ask(client: AsyncOpenAI, prompt: str) -> str:
    answer = await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])
    return str(answer.choices[0].message.content)


@account
async def summarize(client: AsyncOpenAI, text: str) -> str:
    return await ask(client, f"Summarize: {text}")


@account
async def translate(client: AsyncOpenAI, text: str) -> str:
    return await ask(client, f"Translate: {text}")


async def main() -> None:
    async with real_or_simulated() as client:
        began = time.perf_counter()
        await asyncio.gather(*(function(client, "a page") for function in (summarize, translate) for _ in range(25)))
        took = time.perf_counter() - began
    print(f"50 calls of two functions, 50 a second for both together: {took:.1f} s")
    print(f"the limit is one object: {layers_of(summarize) == layers_of(translate) == (account,)}")


if __name__ == "__main__":
    asyncio.run(main())
