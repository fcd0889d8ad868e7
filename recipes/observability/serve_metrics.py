"""Serve metrics to Prometheus, and see them in Grafana.

Somebody has to notice at night that calls fail, that a queue grows, or that the budget of the day is nearly gone. One
line serves the metrics of every function with layers; the files beside this one do the rest: `prometheus.yml` scrapes
it, `alerts.yml` has the rules, and `dashboard.json` is imported into Grafana. In two terminals:

    python recipes/observability/serve_metrics.py 600    # seconds of traffic on port 9464
    cd recipes/observability                             # and look at http://localhost:9090/alerts
    prometheus --config.file=prometheus.yml --storage.tsdb.path=$(mktemp -d)

Prints where the metrics are, and what they were made of::

    http://127.0.0.1:.../metrics
    session ...
    <BLANKLINE>
    calls ...
      succeeded ...
    ...
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from sluiceway import (
    Session,
    bounded,
    budgeted,
    cached,
    circuit_breaker,
    coalesced,
    hedged,
    rate_limited,
    retry_jitter,
    telemetry,
    timed,
)
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 1.5
PORT = int(os.environ.get("METRICS_PORT", "0" if len(sys.argv) == 1 else "9464"))
MODEL = "gpt-4o-mini"
account, breaker = rate_limited(rpm=1200, tpm=600_000), circuit_breaker()  # one of each for both functions


@timed("30s", first_item="5s")
@retry_jitter(attempts=4, base="50ms")
@hedged()
@bounded(8)
@account
@breaker
async def chat(client: AsyncOpenAI, prompt: str, model: str = MODEL) -> AsyncStream[ChatCompletionChunk]:
    return await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], stream=True, stream_options={"include_usage": True}
    )


@cached(key=lambda call: call.args[1], ttl="5s")
@coalesced(key=lambda call: call.args[1])
@budgeted(usd=0.05, model=MODEL)
@retry_jitter(attempts=4, base="50ms")
@bounded(2, max_queue=2)
@account
@breaker
async def classify(client: AsyncOpenAI, text: str, model: str = MODEL) -> ChatCompletion:
    return await client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])


async def traffic(client: AsyncOpenAI, until: float) -> None:
    number, loop = 0, asyncio.get_running_loop()

    async def one(number: int) -> None:
        with suppress(Exception):  # counted
            if number % 3:
                await classify(client, f"Ticket {number // 3 % 40}: the gate leaks.")
            else:
                async for _ in await chat(client, f"Question {number}: what is a sluice?"):
                    pass

    async with asyncio.TaskGroup() as calls:
        while loop.time() < until:
            calls.create_task(one(number := number + 1))
            await asyncio.sleep(0.04)


async def main() -> None:
    with telemetry.prometheus(PORT, service_name="recipe") as endpoint:
        telemetry.configure(meter_provider=endpoint.meter_provider)
        print(endpoint.url, flush=True)
        provider = real_or_simulated(errors={503: 0.02, 429: 0.03}, latency="lognormal(150ms, 0.6)", seed=1)
        async with provider as client, Session() as session:
            await traffic(client, asyncio.get_running_loop().time() + SECONDS)
        print(session.stats)


if __name__ == "__main__":
    asyncio.run(main())
