"""Stream answers through the layers.

A stream is a call that lasts until its last item: it holds its place in flight and its time limits run until it is read
or left. Async generator functions, and functions that return a stream, are decorated like any other. Before the first
item a failed stream is opened again behind the reader's back; after it never, since items cannot be taken back.

Prints::

    flow gate pool lock weir lake (2 attempts, 6 tokens)
    flow gate ... (left early; in flight while reading: 1, afterwards: 0)
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from sluiceway import Session, bounded, retry_jitter, snapshot, timed
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk


@timed("60s", first_item="10s", idle="5s")
@retry_jitter(attempts=5, base="100ms")
async def ask(client: AsyncOpenAI, prompt: str) -> AsyncStream[ChatCompletionChunk]:
    return await client.chat.completions.create(
        model="gpt-4o-mini",
        max_tokens=6,
        messages=[{"role": "user", "content": prompt}],
        stream=True,
        stream_options={"include_usage": True},
    )


@bounded(10)
async def words(client: AsyncOpenAI, prompt: str) -> AsyncGenerator[str, None]:
    async for chunk in await ask(client, prompt):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


async def main() -> None:
    async with real_or_simulated(errors={503: 0.5}, seed=4) as client:
        async with Session() as session:
            text = "".join([word async for word in words(client, "What is on a river?")])
        print(f"{text} ({session.stats.attempts} attempts, {session.stats.tokens.output} tokens)")
        async with aclosing(words(client, "And what is in it?")) as reading:
            some = [await anext(reading), await anext(reading)]
            inside = snapshot(words)["bounded"][0].in_flight
        after = snapshot(words)["bounded"][0].in_flight
        print(f"{''.join(some)}... (left early; in flight while reading: {inside}, afterwards: {after})")


if __name__ == "__main__":
    asyncio.run(main())
