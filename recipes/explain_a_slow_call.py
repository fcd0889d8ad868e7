"""Find out why a call was slow, and look into a process that runs.

Somebody complains that an answer took three seconds. Was it the provider, our own limits, or a backoff? While
`telemetry.inspect()` is open, the last calls are remembered by their times (never by what was asked or answered), and
`sluiceway top` shows from another terminal how every function and layer is doing at this moment.

Prints the slowest call's time line, and what `sluiceway top --once` shows meanwhile::

    call ask ... ok ... began ...
      bounded wait ... █... waited before it
      attempt 1 ... █... ok, 200, gpt-4o-mini, ... tokens
      the time went to
      bounded wait ... %
      attempt 1 ... %
      between ... %
    127.0.0.1:... pid ... watched for ...
    call                        in flight  answers/s  ok, 1 min       p50       p95  requests/min  tokens/min      cost
    ask ...
      bounded                   0 of 2 in flight
      rate_limited              rpm ... of 6,000 ...
    ...
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from sluiceway import bounded, rate_limited, telemetry
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion


@bounded(2)
@rate_limited(rpm=6000)
async def ask(client: AsyncOpenAI, prompt: str) -> ChatCompletion:
    return await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


async def main() -> None:
    async with telemetry.inspect(port=0) as inspection, real_or_simulated(latency="100ms") as client:
        await asyncio.gather(*(ask(client, f"Name lock {number}.") for number in range(12)))
        slowest = inspection.state()["slowest"][0]["call_id"]  # as a log line or a span has it
        print(f"{telemetry.explain(slowest)}\n", flush=True)
        command = (sys.executable, "-m", "sluiceway", "top", str(inspection.port), "--once")
        top = await asyncio.create_subprocess_exec(*command)
        await top.wait()


if __name__ == "__main__":
    asyncio.run(main())
