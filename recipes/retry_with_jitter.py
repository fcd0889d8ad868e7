"""Repeat what failed, when repeating can help.

Providers answer 429, 500 and 503 now and then, and connections break; most of it is gone a moment later. `retry_jitter`
tells by the error whether another attempt makes sense, waits at random so that many clients do not come back in step,
obeys Retry-After, and holds back when many calls fail at once. When it gives up, your code gets the provider's own
error, with notes on what was tried.

Prints::

    50 calls: 50 answered, ... attempts
    not JSON: JSONDecodeError after 3 attempts
    InternalServerError, as it was raised, with a note:
      sluiceway gave up after 3 attempts in ... s: attempts exhausted
      attempt 1: InternalServerError 503 after ... s, then waited ... s (backoff)
      attempt 2: InternalServerError 503 after ... s, then waited ... s (backoff)
      attempt 3: InternalServerError 503 after ... s
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from sluiceway import Session, retry_jitter
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI


async def complete(client: AsyncOpenAI, prompt: str) -> Any:
    return await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


async def as_json(client: AsyncOpenAI, prompt: str) -> Any:
    return json.loads((await complete(client, prompt)).choices[0].message.content)


ask = retry_jitter(attempts=5, base="50ms")(complete)
ask_thrice = retry_jitter(attempts=3, base="50ms")(complete)
# None leaves the decision to the kind of the error: this adds one to what is repeated anyway.
also = lambda error: isinstance(error, json.JSONDecodeError) or None  # noqa: E731 - one line says it
ask_for_json = retry_jitter(attempts=3, base="50ms", on=also)(as_json)


async def main() -> None:
    async with real_or_simulated(errors={429: 0.03, 500: 0.03}, seed=4) as client, Session() as session:
        outcomes = await session.gather(partial(ask, client), [f"Name mill {number}." for number in range(50)])
    print(f"50 calls: {sum(outcome.ok for outcome in outcomes)} answered, {session.stats.attempts} attempts")
    async with real_or_simulated() as client, Session() as session:
        (outcome,) = await session.gather(partial(ask_for_json, client), ["What is a mill?"])
    print(f"not JSON: {type(outcome.error).__name__} after {session.stats.attempts} attempts")
    async with real_or_simulated(errors={503: 1.0}) as client:
        try:
            await ask_thrice(client, "Are you there?")
        except Exception as error:  # noqa: BLE001 - whatever the provider says
            print(f"{type(error).__name__}, as it was raised, with a note:")
            print("  " + "\n  ".join(error.__notes__[0].splitlines()))


if __name__ == "__main__":
    asyncio.run(main())
