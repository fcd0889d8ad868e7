"""Look at a call in Jaeger.

When a call is slow, its trace says what it waited for: a place in flight, a rate, a backoff, or the provider. Spans go
to any collector that takes OTLP over HTTP; a Jaeger on this machine listens on port 4318 and shows them on port 16686
(docker run -p 16686:16686 -p 4318:4318 jaegertracing/jaeger). They carry no prompts, answers or keys.

Prints where the trace went, and the trace itself::

    ...
    call ask ...
    ├─ rate limit wait ... remaining=... limit=500 requests...
    ├─ attempt 1 ... status=503 error=openai.InternalServerError
    ├─ backoff ... delay_source=backoff reason=overloaded
    ├─ rate limit wait ...
    ├─ attempt 2 ... status=200 input=... output=... model=gpt-4o-mini
    ├─ retry check ...
    └─ timed ... elapsed=... limit=60
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluiceway import rate_limited, retry_jitter, telemetry, timed
from sluiceway.simulator import real_or_simulated
from sluiceway.telemetry.tree import draw

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion

COLLECTOR = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")


@timed("60s")
@retry_jitter(attempts=5)
@rate_limited(rpm=500)
async def ask(client: AsyncOpenAI, prompt: str) -> ChatCompletion:
    return await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


def somebody_listens() -> bool:
    where = urlsplit(COLLECTOR)
    with socket.socket() as probe:
        return probe.connect_ex((where.hostname or "", where.port or 4318)) == 0


async def main() -> None:
    exports = somebody_listens()
    provider = telemetry.export_otlp(COLLECTOR, service_name="recipe") if exports else TracerProvider()
    memory = InMemorySpanExporter()  # a copy for the tree below
    provider.add_span_processor(SimpleSpanProcessor(memory))
    telemetry.configure(tracer_provider=provider)
    async with real_or_simulated(errors={503: 0.5}, latency="200ms", seed=3) as client:
        await ask(client, "What is a penstock?")
    await asyncio.to_thread(provider.shutdown)  # sends what is queued
    print(f"sent to {COLLECTOR}" if exports else f"nothing listens on {COLLECTOR}: only drawn here")
    print(draw(memory.get_finished_spans()))


if __name__ == "__main__":
    asyncio.run(main())
