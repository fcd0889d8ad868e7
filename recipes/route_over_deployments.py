"""Spread calls over several keys, models or endpoints.

One key or region is too small, and each of them fails now and then. `routed` gives each call to a deployment that has
room, by limits and breakers of its own; one that is full is not even tried, and what one fails goes to the next,
without the caller noticing. Keys and clients stand in `kwargs`, of which only the names are ever shown.

Prints, with one endpoint that is down::

    200 calls: 200 answered
    eu: ... answered, 0 failed
    us: ... answered, 0 failed
    spare: 0 answered, ... failed
    Deployment('eu', kwargs=<client>, layers=[...])
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluiceway import Deployment, Session, circuit_breaker, rate_limited, routed
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI


async def complete(prompt: str, client: AsyncOpenAI | None = None) -> str:
    assert client is not None, "routed says which"
    answer = await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content or ""


async def main() -> None:
    async with (
        real_or_simulated(rpm=12_000, burst=1.0) as eu,
        real_or_simulated(rpm=6_000, burst=1.0) as us,
        real_or_simulated(errors={503: 1.0}) as spare,
        Session() as session,
    ):
        router = routed(
            Deployment("eu", {"client": eu}, [rate_limited(rpm=12_000), circuit_breaker()]),
            Deployment("us", {"client": us}, [rate_limited(rpm=6_000), circuit_breaker()]),
            Deployment("spare", {"client": spare}, [rate_limited(rpm=6_000), circuit_breaker(min_calls=5)]),
        )
        outcomes = await session.gather(router(complete), [f"Name bridge {number}" for number in range(200)])
    print(f"200 calls: {sum(outcome.ok for outcome in outcomes)} answered")
    for shot in router.snapshot():
        print(f"{shot.name}: {shot.calls - shot.failures} answered, {shot.failures} failed")
    print(router.deployments[0])


if __name__ == "__main__":
    asyncio.run(main())
