"""Find the provider's rate when nobody knows it.

Limits differ by account, model and hour, and gateways do not publish theirs. `adaptive_rate` starts where you tell it,
doubles until the provider first refuses, and then stays just below that, whatever the limit becomes; with a `store` the
next start begins where this one ended. A retry outside brings the few calls back that were refused on the way.

Prints::

    240 calls answered, at most a tenth of the requests refused
    from 10 requests a second to between 30 and 90, where the provider allows 60
    the next start begins at the rate that this one found: True
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sluiceway import adaptive_rate, retry_jitter
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

path = Path(tempfile.mkdtemp()) / "rates.json"
pace = adaptive_rate(10, store=path)
requests = 0


@retry_jitter(attempts=8)
@pace
async def ask(client: AsyncOpenAI, prompt: str) -> None:
    global requests  # noqa: PLW0603 - so that the recipe can show it
    requests += 1
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


async def main() -> None:
    async with real_or_simulated(rpm=3600, window="1s", latency="50ms..100ms") as client:
        await asyncio.gather(*(ask(client, f"Name lake {number}") for number in range(240)))
        few = "at most a tenth" if requests <= 264 else f"{requests - 240}"
        print(f"240 calls answered, {few} of the requests refused")
        found = pace.rates()[None]
        print(f"from 10 requests a second to {between(found)}, where the provider allows 60")
        await asyncio.sleep(3.5)  # until it is written
        again = adaptive_rate(10, store=path)
        await again(ask.__wrapped__)(client, "Name a sea")
        known = again.rates()[None]
    print(f"the next start begins at the rate that this one found: {abs(known - found) < 0.05 * found}")


def between(rate: float) -> str:
    return "between 30 and 90" if 30 <= rate <= 90 else f"{rate:.0f}"


if __name__ == "__main__":
    asyncio.run(main())
