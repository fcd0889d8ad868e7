"""What the application may say, and what stays untouched."""

from __future__ import annotations

import pytest
from opentelemetry import metrics, trace

from reporting import Waits
from sluiceway import Session, telemetry
from sluiceway.layer import Pipeline


async def answer():
    return "yes"


async def test_no_global_is_set(spans):
    """Given providers serve our calls only: OpenTelemetry's global ones stay the application's to set."""
    before = trace.get_tracer_provider(), metrics.get_meter_provider()
    await Pipeline(Waits(1.0), name="ask")(answer)()
    assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == before
    assert spans.names() == ["call ask", "bounded wait", "attempt 1"]


async def test_a_global_tracer_provider_that_is_set_later_is_noticed(make_spans, monkeypatch):
    """Decorated before the application sets its provider, a function makes spans from the next call on."""
    ask = Pipeline(Waits(1.0), name="ask")(answer)
    await ask()
    found = make_spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.provider)
    await ask()
    assert found.names() == ["call ask", "bounded wait", "attempt 1"]


def test_the_variable_that_tells_of_a_global_tracer_provider_is_there():
    """We read a variable of the API that is not public; an API without it must fail here and not in silence."""
    assert hasattr(trace, "_TRACER_PROVIDER")


@pytest.mark.parametrize("detail", ["everything", "", None])
def test_an_unknown_detail_is_refused(detail):
    """The error names the value and the three that there are."""
    with pytest.raises(ValueError, match=r"detail=.* must be one of 'full', 'compact', 'nested'"):
        telemetry.configure(detail=detail)


async def test_spans_can_be_switched_off(spans):
    """`configure(spans=False)` makes none, whatever providers there are."""
    telemetry.configure(tracer_provider=spans.provider, spans=False)
    await Pipeline(Waits(1.0), name="ask")(answer)()
    assert spans.all == []


@pytest.mark.parametrize("relation", ["children", "links"])
async def test_what_spans_hang_on_goes_on_without_them(spans, relation):
    """A session that would have a span opens all the same, and calls that would be linked are counted."""
    telemetry.configure(tracer_provider=spans.provider, spans=False)
    async with Session(span=relation) as session:
        with telemetry.linked(spans.tracer.start_span("batch")):
            await Pipeline(Waits(1.0), name="ask")(answer)()
    assert spans.all == []
    assert session.stats.succeeded == 1


async def test_metrics_can_be_switched_off(monkeypatch):
    """`configure(metrics=False)` looks for no provider."""
    from opentelemetry.metrics import _internal

    from sluiceway.telemetry.metrics import metering

    monkeypatch.setattr(_internal, "_METER_PROVIDER", object())
    telemetry.configure(metrics=False)
    await Pipeline(Waits(1.0), name="ask")(answer)()
    assert metering.instruments is None


async def test_calls_under_way_keep_their_settings(spans, make_spans):
    """A call that began before `configure` ends in the trace it began in."""
    later = make_spans()

    @Pipeline(Waits(1.0), name="ask")
    async def ask():
        telemetry.configure(tracer_provider=later.provider)

    await ask()
    assert (spans.names(), later.names()) == (["call ask", "bounded wait", "attempt 1"], [])
    await ask()
    assert later.names() == ["call ask", "bounded wait", "attempt 1"]


def test_importing_the_package_observes_calls():
    """Whoever decorates a function has telemetry without importing it."""
    import sluiceway.running
    from sluiceway.telemetry import hub

    assert sluiceway.running.switch.observe is hub.observe
