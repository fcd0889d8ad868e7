"""Break things on purpose, to see that your layers hold.

Whether retries, time limits and streams do what you hope shows only when the provider fails, which it does not do on
demand. `chaos` fails for it, by a seed, the same way in every run, and is off until a test switches it on. A fault
looks like the provider's own to everything outside: 429s with headers, hangs, late first items, streams cut short.

Prints::

    off: 20 answered
    on: 20 answered after ... trips; met: 429 ..., hang ..., reset ...
    a cut stream: ConnectionResetError after 2 items
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sluiceway import chaos, retry_jitter, timed
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

busy = chaos(errors={429: 0.2}, headers={"retry-after-ms": "20"}, hang=0.1, reset=0.1, seed=7)
broken = chaos(cut=1.0, cut_after=2)


@retry_jitter(attempts=6, base="10ms", budget=False)
@timed("200ms")
@busy
@broken
async def ask(client: AsyncOpenAI, prompt: str, **options: Any) -> Any:
    return await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}], max_tokens=8, **options
    )


async def main() -> None:
    async with real_or_simulated(latency="2ms") as client:
        print(f"off: {len([await ask(client, f'Name lock {number}') for number in range(20)])} answered")
        with busy.on():
            answers = await asyncio.gather(*(ask(client, f"Name gate {number}") for number in range(20)))
            met = ", ".join(f"{fault} {count}" for fault, count in sorted(busy.snapshot().faults.items()))
            print(f"on: {len(answers)} answered after {busy.snapshot().trips} trips; met: {met}")
        came = 0
        with broken.on():
            try:
                async for _ in await ask(client, "Name a river", stream=True):
                    came += 1
            except ConnectionError as error:
                print(f"a cut stream: {type(error).__name__} after {came} items")


if __name__ == "__main__":
    asyncio.run(main())
