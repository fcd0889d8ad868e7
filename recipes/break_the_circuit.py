"""Stop calling a provider that is down, and come back with care.

During an outage every call waits, fails and is repeated: users wait for nothing, and the provider is hit hardest when
it tries to recover. `circuit_breaker` opens when too many calls fail, refuses calls without sending them, and lets one
through now and then to see; when those succeed it closes. It stands inside the layers that wait, and its refusals carry
`retry_after`.

Prints, while the provider is down for a second::

    closed -> open: ... of ... calls failed
    open -> half_open: the time open is over
    ...
    half_open -> closed: 2 probes succeeded
    ... answered, ... failed, ... refused without being sent
    now: closed
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from sluiceway import CircuitOpen, Session, circuit_breaker, snapshot
from sluiceway.events import CircuitChanged
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from sluiceway.events import Event


@circuit_breaker(
    failure_ratio=0.5, min_calls=5, window="2s", open_for="300ms", max_open_for="300ms", close_after=2, ramp=0
)
async def ask(client: AsyncOpenAI, prompt: str) -> None:
    await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


def show(event: Event) -> None:
    if isinstance(event, CircuitChanged):
        print(f"{event.old} -> {event.new}: {event.reason}")


async def main() -> None:
    ends: Counter[str] = Counter()
    async with real_or_simulated(outages=[(0.5, 1.5)], latency="5ms") as client, Session(on_event=show):
        for number in range(120):
            try:
                await ask(client, f"Name canal {number}")
                ends["answered"] += 1
            except CircuitOpen:  # its retry_after says when another call makes sense
                ends["refused"] += 1
            except Exception:  # noqa: BLE001 - whatever the provider says
                ends["failed"] += 1
            await asyncio.sleep(0.02)
    print(f"{ends['answered']} answered, {ends['failed']} failed, {ends['refused']} refused without being sent")
    print(f"now: {snapshot(ask)['circuit_breaker'][0].state}")


if __name__ == "__main__":
    asyncio.run(main())
