"""Build a pipeline in code, and use it for functions and clients that are not yours.

Not everything can be decorated: a function comes from a library, layers depend on a configuration, or a framework wants
a client and makes the calls itself. A `Pipeline` holds the layers, outermost first, and wraps a function, a single
call, or a whole client. It is itself a layer, so pipelines stand inside pipelines.

Prints::

    pipeline(function):    I was asked: What is a lock for?
    pipeline.call:         I was asked: What is a mill for?
    pipeline.wrap(client): I was asked: What is a dike for?
    3 calls of chat, 3 attempts
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluiceway import Pipeline, Session, bounded, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

limits = Pipeline(bounded(30), rate_limited(rpm=500, tpm=200_000))
chat = Pipeline(
    timed("60s"), retry_jitter(attempts=5), limits, circuit_breaker(failure_ratio=0.5), timed("20s"), name="chat"
)


async def somebody_elses(client: AsyncOpenAI, prompt: str) -> str:
    """Take any client that looks like openai's, as Instructor and agents do."""
    answer = await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])
    return str(answer.choices[0].message.content)


async def main() -> None:
    async with real_or_simulated(answer="I was asked: {prompt}") as client, Session() as session:
        ask = chat(somebody_elses)
        print("pipeline(function):   ", await ask(client, "What is a lock for?"))
        print("pipeline.call:        ", await chat.call(somebody_elses, client, "What is a mill for?"))
        print("pipeline.wrap(client):", await somebody_elses(chat.wrap(client), "What is a dike for?"))
    print(f"{session.stats.calls} calls of {chat.name}, {session.stats.attempts} attempts")


if __name__ == "__main__":
    asyncio.run(main())
