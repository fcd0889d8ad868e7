"""Whatever happens to telemetry happens to telemetry: calls are as they were, and a loss is told once."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler

from collecting import http_collector
from real_jaeger import free_ports
from sluiceway import Pipeline, Session, bounded, telemetry
from sluiceway.testing.openai_shapes import completion
from spies import Passing


async def answer(_=None):
    return completion("fine")


def asking():
    return Pipeline(Passing(), bounded(50), name="ask")(answer)


class Exporter(SpanExporter):
    """Does *what* with each batch, and counts."""

    def __init__(self, what):
        self.what = what
        self.batches = 0

    def export(self, spans):
        self.batches += 1
        self.what()
        return SpanExportResult.SUCCESS


def raising():
    raise RuntimeError("the exporter is broken")


def provider_with(exporter, **sizes):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, **sizes))
    telemetry.configure(tracer_provider=provider)
    return provider


async def all_answered(calls):
    """Make so many calls in a session, and see that its statistics count each."""
    async with Session() as session:
        outcomes = await session.gather(asking(), range(calls))
        assert [outcome.error for outcome in outcomes] == [None] * calls
        return session.stats


@pytest.mark.real
async def test_a_collector_that_is_down(caplog):
    """Calls answer and count as ever; the lost spans are told once, not with every batch."""
    (port,) = free_ports(1)
    made = telemetry.export_otlp(f"http://127.0.0.1:{port}")
    made._active_span_processor._span_processors[0].span_exporter.inner._client._timeout = 0.2
    telemetry.configure(tracer_provider=made)
    stats = await all_answered(3_000)
    await made.aclose()
    assert stats.succeeded == 3_000
    assert 1 == len(losses(caplog))


@pytest.mark.real
async def test_a_collector_that_refuses(caplog):
    """The same where it answers 400."""
    with http_collector() as collector:
        collector.status = 400
        made = telemetry.export_otlp(collector.url)
        telemetry.configure(tracer_provider=made)
        stats = await all_answered(3_000)
        await made.aclose()
    assert stats.succeeded == 3_000
    assert len(collector.received) > 1
    assert 1 == len(losses(caplog))


@pytest.mark.real
async def test_a_loss_is_told_anew_after_it_was_over(caplog):
    """Once until a batch arrives again; the exporters of others log as they did."""
    with http_collector() as collector:
        made = telemetry.export_otlp(collector.url)
        telemetry.configure(tracer_provider=made)
        for collector.status in (400, 400, 200, 400):
            await asking()()
            await asyncio.to_thread(made.force_flush)
        await made.aclose()
    assert 2 == len(losses(caplog))
    assert logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").filters == []


def losses(caplog):
    """What was told of lost batches."""
    return [record.message for record in caplog.records if record.message.startswith("Failed to export")]


@pytest.mark.real
async def test_over_grpc_a_loss_is_told_once_too(caplog):
    """That exporter has a log of its own."""
    (port,) = free_ports(1)
    made = telemetry.export_otlp(f"grpc://127.0.0.1:{port}")
    made._active_span_processor._span_processors[0].span_exporter.inner._timeout = 0.2
    telemetry.configure(tracer_provider=made)
    stats = await all_answered(3_000)
    await made.aclose()
    assert stats.succeeded == 3_000
    assert len(losses(caplog)) in (1, 2)  # of six batches; that log forgets at every twentieth second of the clock


@pytest.mark.real
async def test_an_exporter_that_raises(caplog):
    """Its error reaches the log, once, and nobody else; later batches are tried all the same."""
    exporter = Exporter(raising)
    provider = provider_with(exporter, max_export_batch_size=100)
    stats = await all_answered(500)
    await asyncio.to_thread(provider.shutdown)
    assert stats.succeeded == 500
    assert exporter.batches > 2
    assert 1 == sum("Exception while exporting" in record.message for record in caplog.records)


@pytest.mark.real
async def test_an_exporter_that_hangs_and_a_queue_that_is_full(caplog):
    """The event loop never waits for either; what does not fit is dropped with one warning, and counted by us."""
    may_go_on = threading.Event()
    exporter = Exporter(lambda: may_go_on.wait(20))
    provider = provider_with(exporter, max_queue_size=64, max_export_batch_size=64)
    stats = await all_answered(1_000)
    may_go_on.set()
    await asyncio.to_thread(provider.shutdown)
    assert stats.succeeded == 1_000
    assert exporter.batches < 40  # of 62 that there would be
    assert 1 == sum("Queue full" in record.message for record in caplog.records)


@pytest.mark.real
async def test_the_end_of_telemetry_under_load(caplog):
    """Calls that are under way while the provider ends answer, and so do those that come after."""
    with http_collector() as collector:
        made = telemetry.export_otlp(collector.url)
        telemetry.configure(tracer_provider=made)
        ask = Pipeline(bounded(5), name="ask")(asyncio.sleep)
        calls = [asyncio.ensure_future(ask(0.01)) for _ in range(100)]
        await asyncio.sleep(0.02)
        await made.aclose()
        calls += [asyncio.ensure_future(ask(0)) for _ in range(100)]
        assert await asyncio.gather(*calls) == [None] * 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_sink_that_raises(info):
    """Every sink stands by itself: one that raises is told of once, and the others hear everything."""
    heard = []

    def broken(event):
        raise RuntimeError("the sink is broken")

    telemetry.listen(broken)
    telemetry.listen(heard.append)
    ask = asking()
    for _ in range(5):
        await ask()
    assert len([event for event in heard if type(event).__name__ == "CallFinished"]) == 5
    assert 1 == sum("broken raised and was passed over" in record.message for record in info.records)


async def test_a_sampler_that_raises(make_spans, info):
    """Calls are not observed then, and answer."""

    class Broken(Sampler):
        def should_sample(self, *args, **kwargs):
            raise RuntimeError("the sampler is broken")

        def get_description(self):
            return "broken"

    telemetry.configure(tracer_provider=make_spans(sampler=Broken()).provider)
    ask = asking()
    assert [(await ask()).usage.total_tokens for _ in range(3)]
    assert 1 == sum("raised and was passed over" in record.message for record in info.records)
