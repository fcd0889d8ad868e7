"""Write logs as JSON that join traces.

A log line says what happened, a trace says where the time went; at night one leads to the other if both carry the same
ids. The application configures structlog as it likes, with `telemetry.add_trace_ids` among its processors; from then on
sluiceway writes there too. Its own lines and the application's have the trace, the span and the call they belong to.

Prints the lines of one call, and that they belong to one trace::

    {"prompt_length": 19, "event": "asking", "trace_id": "...", "span_id": "...", "call_id": "...", ...}
    {"call": "ask", "attempt": 2, ... "call_id": "...", "trace_id": "..."... "event": "retry", "level": "warning"...}
    {"prompt_length": 19, "event": "asking", "trace_id": "...", "span_id": "...", "call_id": "...", ...}
    {"call": "ask", "seconds": ..., "attempts": 2, "call_id": "...", "trace_id": "...", ... "event": "call ok", ...}
    4 lines, 1 trace: True
"""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from typing import TYPE_CHECKING

import structlog
from opentelemetry.sdk.trace import TracerProvider

from sluiceway import retry_jitter, telemetry
from sluiceway.simulator import real_or_simulated

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion

written = StringIO()  # standard output or a file, in a real application
structlog.configure(
    processors=[
        telemetry.add_trace_ids,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.JSONRenderer(),
    ],
    wrapper_class=structlog.make_filtering_bound_logger("INFO"),
    logger_factory=structlog.PrintLoggerFactory(written),
)
telemetry.configure(tracer_provider=TracerProvider())  # telemetry.export_otlp(...), in a real application
log = structlog.get_logger()


@retry_jitter(attempts=5, base="20ms")
async def ask(client: AsyncOpenAI, prompt: str) -> ChatCompletion:
    log.info("asking", prompt_length=len(prompt))
    return await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])


async def main() -> None:
    async with real_or_simulated(errors={503: 0.5}, seed=3) as client:
        await ask(client, "What is a tailrace?")
    print(written.getvalue(), end="")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    print(f"{len(lines)} lines, 1 trace: {len({line['trace_id'] for line in lines}) == 1}")


if __name__ == "__main__":
    asyncio.run(main())
