"""The traces of a batch: one for each row, each with the way to the batch."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluiceway import Pipeline, bounded, telemetry
from sluiceway.batch import run
from sluiceway.testing import completion


@pytest.fixture
def exported():
    """The spans of all that is observed."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    telemetry.configure(tracer_provider=provider)
    yield memory.get_finished_spans
    telemetry.configure()


async def test_each_row_is_a_trace_that_is_linked_to_the_batch(tmp_path, exported):
    """They are sampled one by one, and found from the batch's own span and the other way round."""

    @Pipeline(bounded(2), name="ask")
    async def ask(prompt):
        await asyncio.sleep(1)
        return completion(prompt)

    await run(ask, [{"id": str(number), "prompt": "p"} for number in range(5)], tmp_path / "out.jsonl")
    (batch,) = [span for span in exported() if span.name.startswith("session")]
    calls = [span for span in exported() if span.name == "call ask"]
    assert len({span.context.trace_id for span in [batch, *calls]}) == 6
    assert [[link.context.span_id for link in span.links] for span in calls] == [[batch.context.span_id]] * 5
    assert batch.attributes["sluiceway.session.calls"] == 5
