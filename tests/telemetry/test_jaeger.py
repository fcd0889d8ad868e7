"""What people see in a real Jaeger: asked through its API, which is what its UI asks."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor

import real_jaeger
from real_jaeger import end, tags
from sluiceway import (
    CircuitOpen,
    Pipeline,
    Session,
    bounded,
    circuit_breaker,
    hedged,
    rate_limited,
    retry_jitter,
    telemetry,
    timed,
)
from sluiceway.providers.openai import client as openai_client
from sluiceway.simulator import Simulator
from sluiceway.telemetry.otlp import exporting
from sluiceway.telemetry.setting_up import sampling
from sluiceway.testing.openai_shapes import chunks, completion, openai_error

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(real_jaeger.binary() is None, reason=real_jaeger.WANTED),
]


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory):
    """One Jaeger for the tests of this file; each sends under a name of its own."""
    with real_jaeger.running(tmp_path_factory.mktemp("jaeger")) as running:
        yield running


@pytest.fixture
def service(request):
    """What the spans of a test are listed under."""
    return request.node.name.partition("[")[0]


class Sent(SpanProcessor):
    """Counts what goes to Jaeger beside it."""

    def __init__(self):
        self.spans = []

    def on_end(self, span):
        self.spans.append(span)


async def sending(jaeger, service, run, *, sampler=None, endpoint=None, **configured):
    """Await *run* while its spans are sent; return its result and the spans, when all were sent."""
    sent = Sent()
    async with exporting(endpoint or jaeger.otlp, service, sampler) as provider:
        provider.add_span_processor(sent)
        telemetry.configure(tracer_provider=provider, **configured)
        result = await run()
    telemetry.configure()
    return result, sent.spans


def whole_trace(jaeger, spans, name=None):
    """Return from Jaeger the one trace of *spans*, or that of the span *name* among them, when it is there."""
    (trace_id,) = {span.context.trace_id for span in spans if name is None or span.name == name}
    return jaeger.trace(f"{trace_id:032x}", sum(span.context.trace_id == trace_id for span in spans))


def gaps(trace):
    """Microseconds between neighbours among the children of the call."""
    return [after["startTime"] - end(before) for before, after in itertools.pairwise(trace.children())]


# ------------------------------------------------------------------ one call


def bad_day():
    """A provider that answers 429, then 503, then well."""
    script = [openai_error(429, headers={"retry-after-ms": "40"}), openai_error(503), completion("fine")]

    async def summarize(text):
        await asyncio.sleep(0.02)
        step = script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    return summarize


async def one_that_waited():
    """A call for which another one left no room at first."""
    layers = Pipeline(
        timed("60s"),
        retry_jitter(attempts=5, base="20ms", rng=random.Random(1)),
        bounded(1),
        rate_limited(rpm=60_000),
        circuit_breaker(),
        timed("20s"),
        name="summarize",
    )
    first = asyncio.ensure_future(asyncio.wait_for(layers(asyncio.sleep)(0.05), 5))
    await asyncio.sleep(0)
    answer = await layers(bad_day())("a secret text")
    await first
    return answer


@pytest.mark.parametrize("way", ["http", "grpc"])
async def test_a_call_that_waited_met_429_and_503_and_succeeded(jaeger, service, way):
    """Flat phases in the order of what happened, statuses on the attempts that failed, and a critical path of all."""
    endpoint = jaeger.otlp if way == "http" else jaeger.grpc
    _, sent = await sending(jaeger, f"{service} {way}", one_that_waited, endpoint=endpoint)
    trace = whole_trace(jaeger, sent, "attempt 3")
    passing = ["bounded wait", "rate limit wait", "circuit check"]
    assert trace.names() == [
        *(*passing, "attempt 1", "timed", "backoff"),
        *(*passing, "attempt 2", "timed", "backoff"),
        *(*passing, "attempt 3", "timed"),
        *("retry check", "timed"),
    ]
    attempts = [trace.named(f"attempt {number}") for number in (1, 2, 3)]
    assert [tags(span).get("http.response.status_code") for span in attempts] == [429, 503, None]
    assert [tags(span).get("otel.status_code") for span in attempts] == ["ERROR", "ERROR", None]
    assert {tags(span)["span.kind"] for span in attempts} == {"client"}
    assert tags(attempts[2])["gen_ai.usage.input_tokens"] > 0
    said = tags(trace.root)
    assert (trace.root["operationName"], said["sluiceway.call.outcome"]) == ("call summarize", "ok")
    assert (said["sluiceway.call.attempts"], "error" in said) == (3, False)
    assert said["sluiceway.wait.bounded"] > 0.03
    assert trace.orphans() == []
    assert min(gaps(trace)) >= 1
    assert trace.critical_path() == trace.names()
    assert "secret" not in str(trace.spans)


async def test_each_detail_is_a_whole_trace(jaeger, service):
    """Full has every phase, compact what took time, nested puts what is to come inside the phase before it."""
    ask = Pipeline(timed("60s"), bounded(1), rate_limited(rpm=60_000), circuit_breaker(), name="ask")(asyncio.sleep)
    found = {}
    for detail in ("full", "compact", "nested"):
        _, sent = await sending(jaeger, f"{service} {detail}", lambda: ask(0.01), detail=detail)
        found[detail] = whole_trace(jaeger, sent)
        assert found[detail].orphans() == []
    flat = ["bounded wait", "rate limit wait", "circuit check", "attempt 1"]
    assert found["full"].names() == [*flat, "timed"]
    assert found["compact"].names() == ["attempt 1"]
    names = {span["spanID"]: span["operationName"] for span in found["nested"].spans}
    inside = {names[span["spanID"]]: names.get(real_jaeger.parent(span)) for span in found["nested"].spans}
    assert [inside[name] for name in flat] == ["call ask", *flat[:3]]


async def test_a_hedged_call(jaeger, service):
    """Two attempts side by side: the first was cut off when the second had answered, and the call did well."""
    times = [5.0, 0.02]

    async def ask():
        await asyncio.sleep(times.pop(0))
        return completion("fine")

    _, sent = await sending(jaeger, service, Pipeline(hedged("30ms"), bounded(5), name="ask")(ask))
    trace = whole_trace(jaeger, sent)
    first, second = trace.named("attempt 1"), trace.named("attempt 2")
    assert first["startTime"] < second["startTime"] < end(first)
    assert end(second) <= end(first) + 1_000
    assert tags(first)["sluiceway.attempt.outcome"] == "cancelled"
    assert "error" not in tags(second)
    assert tags(trace.root)["sluiceway.call.outcome"] == "ok"
    noted = [field["value"] for log in trace.root["logs"] for field in log["fields"] if field["key"] == "event"]
    assert noted == ["hedge sent", "attempt lost to another"]
    assert trace.orphans() == []


async def test_a_stream(jaeger, service):
    """The attempt lasts until the reader is done, with the time to the first item; items are counted."""

    @timed("60s", first_item="10s")
    @bounded(1)
    async def ask():
        for chunk in chunks("a b c", usage=True):
            await asyncio.sleep(0.01)
            yield chunk

    async def read():
        return [chunk async for chunk in ask()]

    items, sent = await sending(jaeger, service, read)
    trace = whole_trace(jaeger, sent)
    attempt = tags(trace.named("attempt 1"))
    assert attempt["sluiceway.stream.items"] == len(items)
    assert 0.005 < attempt["sluiceway.stream.time_to_first_item"] < trace.root["duration"] / 1e6
    assert attempt["gen_ai.usage.output_tokens"] > 0
    assert trace.named("attempt 1")["duration"] >= 30_000
    assert trace.orphans() == []
    assert min(gaps(trace)) >= 1


async def test_an_outage(jaeger, service):
    """Calls fail until the circuit opens, which the trace of that call notes; then they are refused at the check."""
    layers = Pipeline(bounded(1), circuit_breaker(min_calls=2), name="ask")

    @layers
    async def ask():
        raise openai_error(503)

    async def through_it():
        return [type(await caught(ask())) for _ in range(4)]

    kinds, sent = await sending(jaeger, service, through_it)
    assert kinds[2:] == [CircuitOpen, CircuitOpen]
    traces = sorted(jaeger.traces(service, spans=len(sent)), key=lambda trace: trace.root["startTime"])
    outcomes = [tags(trace.root)["sluiceway.call.outcome"] for trace in traces]
    assert outcomes == ["error", "error", "rejected", "rejected"]
    assert {tags(trace.root)["otel.status_code"] for trace in traces} == {"ERROR"}
    noted = [field["value"] for log in traces[1].root["logs"] for field in log["fields"] if field["key"] == "event"]
    assert "circuit open" in noted
    refused = traces[2]
    assert refused.names()[-1] == "circuit check"
    assert tags(refused.named("circuit check"))["error.type"] == "sluiceway.CircuitOpen"
    assert [trace.orphans() for trace in traces] == [[], [], [], []]


async def caught(coroutine):
    try:
        return await coroutine
    except Exception as error:  # noqa: BLE001 - it is looked at
        return error


# ------------------------------------------------------------------ many


async def test_a_batch_of_a_thousand_sampled(jaeger, service):
    """A tenth of the traces arrive, each whole; statistics count all thousand."""
    ask = Pipeline(retry_jitter(3), bounded(50), rate_limited(rpm=6_000_000), name="ask")(answering)

    async def batch():
        async with Session("nightly") as session:
            await session.gather(ask, range(1_000))
            return session.stats

    stats, sent = await sending(jaeger, service, batch, sampler=sampling(0.1))
    traces = jaeger.traces(service, spans=len(sent))
    assert (stats.calls, stats.attempts) == (1_000, 1_000)
    assert 40 < len(traces) < 200
    assert {tuple(trace.names()) for trace in traces} == {
        ("bounded wait", "rate limit wait", "attempt 1", "retry check")
    }
    assert [orphan for trace in traces for orphan in trace.orphans()] == []


async def test_calls_of_a_session_are_linked_to_its_span(jaeger, service):
    """Jaeger shows the way from each call's own trace to the batch, and none of it as missing."""

    async def batch():
        async with Session("nightly", span="links") as session:
            await session.gather(Pipeline(bounded(5), name="ask")(answering), range(5))

    _, sent = await sending(jaeger, service, batch)
    traces = jaeger.traces(service, spans=len(sent))
    (own,) = [trace for trace in traces if trace.root["operationName"] == "session nightly"]
    calls = [trace for trace in traces if trace is not own]
    assert [real_jaeger.links(trace.root) for trace in calls] == [[(own.id, own.root["spanID"])]] * 5
    assert tags(own.root)["sluiceway.session.calls"] == 5
    assert [orphan for trace in traces for orphan in trace.orphans()] == []


async def answering(_):
    await asyncio.sleep(0)
    return completion("fine")


async def test_every_span_of_a_thousand_calls_arrives_and_all_counts_agree(jaeger, service):
    """Spans in Jaeger, the session's statistics, metrics and the provider's ledger say the same, to the unit."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    (stats, ledger), sent = await sending(jaeger, service, thousand, meter_provider=provider)
    counted = counts(reader)
    provider.shutdown()
    traces = jaeger.traces(service, spans=len(sent))
    spans = [span for trace in traces for span in trace.spans]
    attempts = [tags(span) for span in spans if span["operationName"].startswith("attempt")]
    assert len(spans) == len(sent)
    assert [orphan for trace in traces for orphan in trace.orphans()] == []
    assert len(traces) == stats.calls == counted["sluiceway.call.duration"] == 1_000
    assert len(attempts) == stats.attempts == counted["sluiceway.attempt.duration"] == ledger.offered
    failed = [each for each in attempts if each.get("http.response.status_code") == 503]
    assert len(failed) == stats.retries == counted["sluiceway.retries"] == ledger.failed > 0
    tokens = sum(each.get("gen_ai.usage.output_tokens", 0) for each in attempts)
    assert tokens == stats.tokens.output == ledger.output_tokens


async def thousand():
    """Run a thousand calls, of which a tenth of the attempts fail; return what the session and the provider counted."""
    layers = Pipeline(
        timed("60s"),
        retry_jitter(8, base="5ms", budget=False),
        bounded(100),
        circuit_breaker(failure_ratio=0.9),
        name="ask",
    )
    async with (
        Simulator(errors={503: 0.1}, latency="5ms", seed=7) as sim,
        openai_client(base_url=sim.base_url, api_key="sim") as api,
    ):

        @layers
        async def ask(number):
            return await api.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": f"{number}"}]
            )

        async with Session("thousand") as session:
            outcomes = await session.gather(ask, range(1_000))
            assert all(outcome.ok for outcome in outcomes)
            return session.stats, sim.ledger


def counts(reader):
    """Return how often each instrument recorded, or the sum of a counter."""
    return {
        metric.name: sum(getattr(point, "count", getattr(point, "value", 0)) for point in metric.data.data_points)
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
