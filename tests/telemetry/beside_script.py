"""Calls a real openai client with the instrumentations named in the arguments active; prints all spans as JSON."""

import asyncio
import json
import sys
from contextlib import ExitStack

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

ACTIVE = set(sys.argv[1:])
memory = InMemorySpanExporter()
if "logfire" in ACTIVE:
    import logfire

    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[SimpleSpanProcessor(memory)],
        inspect_arguments=False,
    )
else:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
if "genai" in ACTIVE:
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
if "openinference" in ACTIVE:
    from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInference

    OpenInference().instrument()

from sluiceway import Pipeline, Session, bounded, retry_jitter  # noqa: E402 - as in an application: set up first
from sluiceway.providers.openai import client  # noqa: E402
from sluiceway.simulator import Simulator  # noqa: E402

MESSAGES = [{"role": "user", "content": "hi there"}]


async def main():
    async with Simulator(errors={503: 0.5}, seed=3) as sim, client(base_url=sim.base_url, api_key="sim") as api:
        with ExitStack() as stack:
            if "logfire" in ACTIVE:
                stack.enter_context(logfire.instrument_openai(api))
            ask = Pipeline(retry_jitter(9, base="1ms"), bounded(3), name="ask")(api.chat.completions.create)
            async with Session() as session:
                await ask(model="gpt-4o-mini", messages=MESSAGES)
                async for _ in await ask(
                    model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
                ):
                    pass
        ledger = sim.ledger
    spans = [
        {
            "name": span.name,
            "id": span.context.span_id,
            "parent": None if span.parent is None else span.parent.span_id,
            "scope": span.instrumentation_scope.name,
            "attributes": {key: value for key, value in span.attributes.items() if isinstance(value, (int, str))},
        }
        for span in memory.get_finished_spans()
    ]
    print(json.dumps({"spans": spans, "counted": session.stats.tokens.output, "billed": ledger.output_tokens}))  # noqa: T201 - for the test


asyncio.run(main())
