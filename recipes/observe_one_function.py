"""Watch one function closely, and leave the rest as it is.

One function misbehaves, or belongs to a customer who wants numbers of their own. `observed` gives its calls a sink, a
logger, providers or another detail, and no other function notices. A sink is a plain function of one event: it hears
facts with times and attempts, and whatever it does it cannot break a call.

Prints::

    draft: attempt 1 error (503)
    draft: retry in ... s
    draft: attempt 2 ok (200)
    draft: ok after ... s
    both functions answered
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluiceway import observed, retry_jitter
from sluiceway.events import AttemptFinished, BackedOff, CallFinished
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from sluiceway.events import Event


def tell(event: Event) -> None:
    name = event.call.name if event.call is not None else ""
    if isinstance(event, AttemptFinished):
        attempt = event.attempt
        print(f"{name}: attempt {attempt.number} {attempt.outcome} ({attempt.status})")
    elif isinstance(event, BackedOff):
        print(f"{name}: retry in {event.delay:.2f} s")
    elif isinstance(event, CallFinished):
        print(f"{name}: {event.outcome} after {event.latency:.2f} s")


async def complete(client: AsyncOpenAI, prompt: str) -> str:
    answer = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}], max_tokens=8
    )
    return answer.choices[0].message.content or ""


@observed(tell, detail="compact")
@retry_jitter(5, base="20ms")
async def draft(client: AsyncOpenAI, prompt: str) -> str:
    return await complete(client, prompt)


@retry_jitter(5, base="20ms")
async def check(client: AsyncOpenAI, prompt: str) -> str:
    return await complete(client, prompt)


async def main() -> None:
    async with real_or_simulated(errors={503: 0.5}, seed=4) as client:
        assert await draft(client, "Name a sluice")
        assert await check(client, "Name a weir")
    print("both functions answered")


if __name__ == "__main__":
    asyncio.run(main())
