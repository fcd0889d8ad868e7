"""`observed`: telemetry of one function, which no other function notices."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluiceway import Pipeline, Session, bounded, observed, retry_jitter, telemetry, timed
from sluiceway.events import AttemptFinished, BackedOff, CallFinished, CallStarted, NotCached, Waited
from sluiceway.telemetry import logs, metrics
from sluiceway.testing import ScriptedProvider, openai_error
from spies import Stream


@pytest.fixture(autouse=True)
def _as_imported(monkeypatch):
    """Leave telemetry as an import leaves it."""
    monkeypatch.setattr(metrics, "load_soon", lambda: None)
    logs.log._reported.clear()
    telemetry.configure()
    yield
    telemetry.configure()


class Spans:
    """A tracer provider, and the names of what it made."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def finished(self):
        return sorted(self.exporter.get_finished_spans(), key=lambda span: (span.start_time, span.end_time))

    def names(self):
        return [span.name for span in self.finished]


def kinds(events):
    return [type(event) for event in events]


async def answers(prompt=""):
    return "answer"


async def other(prompt=""):
    return "other"


# ------------------------------------------------------------------ a sink of one's own


async def test_a_plain_function_hears_every_event_of_the_function_s_calls():
    """Of this function and of no other, whether anything else is configured or not."""
    heard = []
    ask = observed(heard.append)(answers)
    await bounded(3)(other)()
    await ask()
    assert [CallStarted, AttemptFinished, CallFinished] == [
        kind for kind in kinds(heard) if kind in (CallStarted, AttemptFinished, CallFinished)
    ]
    assert {"answers"} == {event.call.name for event in heard}


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_it_tells_of_all_layers_wherever_it_stands(place):
    """Those outside it too: a call is introduced before its first layer."""
    heard = []
    layers = [retry_jitter(2, budget=False), bounded(1)]
    layers.insert(place, observed(heard.append))
    provider = ScriptedProvider(openai_error(500), "fine")
    assert "fine" == await Pipeline(*layers)(provider)()
    assert [BackedOff] == [kind for kind in kinds(heard) if kind is BackedOff]
    assert 2 == kinds(heard).count(AttemptFinished)


async def test_streams_are_heard_to_their_end():
    """An opened and a generated one."""
    heard = []
    layer = observed(heard.append)

    @layer
    async def opened():
        return Stream(2)

    @layer
    async def generated():
        yield 1

    assert [1, 2] == [item async for item in await opened()]
    assert [1] == [item async for item in generated()]
    assert 2 == kinds(heard).count(CallFinished)


async def test_a_sink_that_raises_breaks_no_call(caplog):
    """It is told once, and everybody else hears all the same."""
    heard = []

    def bad(event):
        raise RuntimeError("sink")

    ask = Pipeline(observed(bad), observed(heard.append))(answers)
    assert ["answer", "answer"] == [await ask(), await ask()]
    assert 2 == kinds(heard).count(CallFinished)
    assert 1 == sum("raised and was passed over" in record.message for record in caplog.records)


async def test_sessions_and_listeners_hear_as_before():
    """What a function says of its own is beside what others want to know."""
    heard, listened = [], []
    listener = listened.append
    telemetry.listen(listener)
    try:
        async with Session() as session:
            await observed(heard.append)(answers)()
            await answers()
    finally:
        telemetry.unlisten(listener)
    assert 1 == session.stats.calls == kinds(listened).count(CallFinished)
    assert kinds(heard) == kinds(listened)


async def test_a_session_that_ended_refuses_as_before():
    """Being observed lets nobody pass."""
    ask = observed(lambda _: None)(answers)
    async with Session() as session:
        await ask()
    assert 1 == session.stats.calls


async def test_a_function_inside_has_calls_of_its_own():
    """Only the decorated one is heard."""
    heard = []
    inner = bounded(2)(other)

    @observed(heard.append)
    async def outer():
        return await inner()

    await outer()
    assert ["outer"] == sorted({event.call.name.rpartition(".")[2] for event in heard})


# ------------------------------------------------------------------ spans


async def test_a_tracer_provider_for_one_function():
    """Its spans go there, and those of others where they went before."""
    all_spans, own = Spans(), Spans()
    telemetry.configure(tracer_provider=all_spans.provider)
    await observed(tracer_provider=own.provider)(answers)()
    await bounded(1)(other)()
    assert ["call answers", "attempt 1"] == own.names()
    assert ["call other", "bounded wait", "attempt 1"] == all_spans.names()


@pytest.mark.parametrize(
    ("detail", "names"),
    [
        (None, ["call answers", "bounded wait", "attempt 1"]),
        ("full", ["call answers", "bounded wait", "attempt 1"]),
        ("compact", ["call answers", "attempt 1"]),
    ],
)
async def test_detail_for_one_function(detail, names):
    """The rest is drawn as configured, and what is configured later counts."""
    ask = Pipeline(observed(detail=detail), bounded(1))(answers)
    for _ in range(2):
        spans = Spans()
        telemetry.configure(tracer_provider=spans.provider)
        await ask()
        assert names == spans.names()
        assert "bounded wait" in [await bounded(1)(other)(), *spans.names()]


async def test_nested_detail_for_one_function():
    """Its phases contain what is inside of them."""
    spans = Spans()
    ask = Pipeline(observed(detail="nested", tracer_provider=spans.provider), bounded(1))(answers)
    await ask()
    call, wait, attempt = spans.finished
    assert (call.context.span_id, wait.context.span_id) == (wait.parent.span_id, attempt.parent.span_id)


@pytest.mark.parametrize("content", [True, False])
async def test_content_for_one_function(content):
    """Messages of foreign errors stand in spans only where that was asked for."""
    spans = Spans()

    async def fails():
        raise ValueError("the prompt")

    with pytest.raises(ValueError, match="the prompt"):
        await observed(tracer_provider=spans.provider, capture_content=content)(fails)()
    said = [event.attributes for span in spans.finished for event in span.events]
    assert content == any("the prompt" in str(attributes) for attributes in said)


async def test_two_around_one_function_are_heard_both_and_the_nearer_decides():
    """Both sinks hear; detail and provider are those of the inner one."""
    outer, inner, heard = Spans(), Spans(), []
    near = observed(lambda event: heard.append(("near", type(event))), tracer_provider=inner.provider)
    far = observed(lambda event: heard.append(("far", type(event))), tracer_provider=outer.provider, detail="compact")
    await far(bounded(1)(near(answers)))()
    assert ["call answers", "attempt 1"] == inner.names()
    assert [] == outer.names()
    assert [("far", CallFinished), ("near", CallFinished)] == heard[-2:]


# ------------------------------------------------------------------ metrics and logs


def measured(reader):
    data = reader.get_metrics_data()
    return {
        metric.name: [point.attributes["sluiceway.call.name"] for point in metric.data.data_points]
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


async def test_a_meter_provider_for_one_function():
    """Its numbers go there and nowhere else."""
    reader, everybody = InMemoryMetricReader(), InMemoryMetricReader()
    providers = [MeterProvider(metric_readers=[each], shutdown_on_exit=False) for each in (reader, everybody)]
    telemetry.configure(meter_provider=providers[1])
    await observed(meter_provider=providers[0])(answers)()
    await bounded(1)(other)()
    assert ["answers"] == measured(reader)["sluiceway.call.duration"]
    assert ["other"] == measured(everybody)["sluiceway.call.duration"]


async def test_a_standard_logger_for_one_function(caplog):
    """It gets all lines of its level, and the library's own logger none of them."""
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("application.llm")
    await observed(logger=logger)(answers)("a secret")
    assert {"application.llm"} == {record.name for record in caplog.records if record.name != "asyncio"}
    assert any("call ok" in record.message and hasattr(record, "call_id") for record in caplog.records)
    assert not any("secret" in record.getMessage() for record in caplog.records)


async def test_a_warning_goes_to_the_function_s_logger_once(caplog):
    """And not to the library's as well."""
    logger = logging.getLogger("application.llm")
    ask = Pipeline(observed(logger=logger), retry_jitter(2, budget=False))(ScriptedProvider(openai_error(500), "ok"))
    await ask()
    assert ["application.llm"] == [record.name for record in caplog.records if "retry" in record.message]


async def test_a_bound_logger_for_one_function():
    """A structlog logger is called with words and fields."""

    class Bound:
        def __init__(self):
            self.lines = []

        def __getattr__(self, level):
            if level not in {"debug", "info", "warning"}:
                raise AttributeError(level)
            return lambda text, **fields: self.lines.append((level, text, fields))

    logger = Bound()
    await observed(logger=logger)(answers)()
    level, text, fields = logger.lines[-1]
    assert ("info", "call ok", "answers", 1) == (level, text, fields["call"], fields["attempts"])


# ------------------------------------------------------------------ cost and refusals


@pytest.mark.real
def test_no_call_looks_for_one_before_the_first_is_made():
    """The path of every call asks one thing more, whether there is any."""
    script = """
import sluiceway
from sluiceway.telemetry.observation import watched
assert not watched
sluiceway.observed()
assert watched == {sluiceway.observed}
"""
    subprocess.run([sys.executable, "-c", script], check=True)


async def test_it_is_no_step_of_a_call():
    """It adds nothing around the function."""
    step = answers
    assert observed(print).around(step) is step


async def test_a_detail_makes_layers_tell_phases_of_no_length():
    """As a span that records does; a sink alone hears what a session would."""
    heard = []
    await Pipeline(observed(heard.append), timed(5), bounded(1))(answers)()
    assert Waited not in kinds(heard)
    await Pipeline(observed(heard.append, tracer_provider=Spans().provider), bounded(1))(answers)()
    assert Waited in kinds(heard)
    assert NotCached not in kinds(heard)


async def a_coroutine_function(event):
    """Nobody would await it."""


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"sink": 3}, TypeError, "sink=3 must be a plain function"),
        ({"sink": a_coroutine_function}, TypeError, "must be a plain function of one event; or write @observed"),
        ({"detail": "loud"}, ValueError, "detail='loud' must be one of 'full', 'compact', 'nested'"),
        ({"logger": "name"}, TypeError, "logger='name' must be a standard logger"),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    """At construction, with the value and what is allowed."""
    with pytest.raises(error, match=message):
        observed(**settings)
