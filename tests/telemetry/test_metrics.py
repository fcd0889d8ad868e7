"""What is counted and measured, under which labels, and when anything is at all."""

from __future__ import annotations

import asyncio
import http

import pytest
from opentelemetry.metrics import NoOpMeterProvider, _internal

from measured import Collected
from reporting import Notes, Refuses, Retries, Waits
from sluiceway import telemetry
from sluiceway.errors import CircuitOpen
from sluiceway.layer import Pipeline
from sluiceway.telemetry import metrics
from sluiceway.testing.openai_shapes import completion, openai_error
from spies import Passing


@pytest.fixture
def collected(monkeypatch):
    """Collect every call's metrics; prices stay unread."""
    monkeypatch.setattr(metrics, "load_soon", lambda: None)
    monkeypatch.setattr(metrics, "_price", lambda model, usage: 0.25)
    found = Collected()
    telemetry.configure(meter_provider=found.provider)
    return found


async def answer():
    return completion(prompt_tokens=10, completion_tokens=3, cached_tokens=4)


async def test_calls_are_measured_by_name_and_outcome(collected):
    """A call's duration includes its waits; outcomes and classes of errors are labels."""
    ask = Pipeline(Waits(2.0), name="ask")(answer)
    await ask()
    await ask()
    with pytest.raises(CircuitOpen):
        await Pipeline(Refuses(), name="ask")(answer)()
    assert collected.points("call.duration") == [
        ({"name": "ask", "outcome": "ok"}, (2, 4.0)),
        ({"name": "ask", "outcome": "rejected", "type": "sluiceway.CircuitOpen"}, (1, 0.0)),
    ]


async def test_a_provider_need_not_be_hashable():
    """Logfire's is not: calls were observed by nobody then, spans included."""

    class Unhashable(type(Collected().provider)):
        __hash__ = None

    found = Unhashable(shutdown_on_exit=False)
    telemetry.configure(meter_provider=found)
    made = metrics.metering.instruments
    telemetry.configure(meter_provider=found)
    assert made is metrics.metering.instruments is not None


async def test_attempts_are_measured_by_model_outcome_and_status(collected):
    """Every trip to the provider counts, the failed ones with the class of their error and their status."""
    script = [openai_error(429), answer]

    @Pipeline(Retries(1.0), name="ask")
    async def ask(*, model):
        step = script.pop(0)
        if isinstance(step, Exception):
            raise step
        await asyncio.sleep(3)
        return await step()

    await ask(model="gpt-4o-mini")
    failed, succeeded = sorted(collected.points("attempt.duration"), key=lambda point: point[1])
    assert failed[0] == {
        "name": "ask",
        "model": "gpt-4o-mini",
        "outcome": "error",
        "type": failed[0]["type"],
        "status_code": 429,
    }
    assert failed[0]["type"].endswith("RateLimitError")
    assert succeeded == ({"name": "ask", "model": "gpt-4o-mini", "outcome": "ok"}, (1, 3.0))


async def test_waits_retries_and_rejections_are_counted_by_reason_and_layer(collected):
    """Seconds waited stand by reason, retries by what caused them, refusals by layer."""
    script = [OSError(), OSError()]

    @Pipeline(Waits(2.0), Retries(1.0, 3.0), name="ask")
    async def ask():
        if script:
            raise script.pop()

    await ask()
    with pytest.raises(CircuitOpen):
        await Pipeline(Refuses(), name="ask")(answer)()
    assert collected.points("wait.duration") == [
        ({"name": "ask", "reason": "bounded"}, (1, 2.0)),
        ({"name": "ask", "reason": "backoff"}, (2, 4.0)),
    ]
    assert collected.points("retries") == [({"name": "ask", "type": "OSError"}, 2)]
    assert collected.points("rejections") == [
        ({"name": "ask", "layer": "circuit_breaker", "type": "sluiceway.CircuitOpen"}, 1)
    ]


async def test_passing_without_a_wait_is_no_wait(collected):
    """The distribution of waits is of those that waited: passing at once is not told by every call."""
    await Pipeline(Waits(0.0), name="ask")(answer)()
    assert collected.points("wait.duration") == []


async def test_tokens_and_cost_stand_by_type_and_model(collected):
    """Input and output, and of what kinds there were; the cost by list price."""
    await Pipeline(Passing(), name="ask")(answer)()
    model = {"name": "ask", "model": "gpt-4o-mini"}
    assert collected.points("tokens") == [
        ({**model, "type": "input"}, (1, 10)),
        ({**model, "type": "output"}, (1, 3)),
        ({**model, "type": "cached"}, (1, 4)),
    ]
    assert collected.points("cost") == [(model, 0.25)]


async def test_a_model_of_a_name_of_ones_own_costs_what_the_answering_one_does(collected, monkeypatch):
    """As in a session's statistics: a deployment's name is in no list, and the response names the model."""
    monkeypatch.setattr(metrics, "_price", lambda model, usage: {"gpt-4o-mini": 0.5}.get(model))

    async def deployed(*, model):
        return await answer()

    await Pipeline(Passing(), name="ask")(deployed)(model="our-deployment")
    assert collected.points("cost") == [({"name": "ask", "model": "our-deployment"}, 0.5)]


@pytest.mark.parametrize(("status", "told"), [(http.HTTPStatus(503), 503), ("503", None), ([503], None), (None, None)])
async def test_a_status_is_a_number(collected, spans, status, told):
    """What somebody's error has under that name may be anything: it is no label then, and its attempt is measured."""
    error = type("StatusError", (Exception,), {"status_code": status, "response": object()})()
    telemetry.configure(meter_provider=collected.provider, tracer_provider=spans.provider)

    @Pipeline(Passing(), name="ask")
    async def ask():
        raise error

    with pytest.raises(type(error)):
        await ask()
    ((labels, count),) = collected.points("attempt.duration")
    assert (1, told) == (count[0], labels.get("status_code"))
    said = spans.one("attempt 1").attributes.get("http.response.status_code")
    assert (told, type(told)) == (said, type(said))


@pytest.mark.parametrize("other", [{}, {"metrics": False}, {"meter_provider": Collected().provider}])
async def test_a_call_ends_in_the_instruments_that_it_began_in(collected, other):
    """Settings are those of calls that start from then on: else what is under way would be too many, and too few."""
    ask = Pipeline(Waits(2.0), name="ask")(answer)
    task = asyncio.create_task(ask())
    await asyncio.sleep(1)
    telemetry.configure(**other)
    await task
    assert collected.points("calls.active") == [({"name": "ask"}, 0)]
    assert collected.points("call.duration") == [({"name": "ask", "outcome": "ok"}, (1, 2.0))]


async def test_models_are_bounded_and_always_to_be_written(collected):
    """Callers may name them: the first thousand are labels, and half a surrogate pair stands in none."""

    async def deployed(*, model):
        return completion(model=model)

    ask = Pipeline(Passing(), name="ask")(deployed)
    for number in range(1_005):
        await ask(model=f"\ud800 {number}")
    points = [labels for labels, _ in collected.points("cost")]
    assert len(points) == 1_001
    assert points[0]["model"] == "\\ud800 0"
    assert points[-1]["model"] == "other"
    "".join(label["model"] for label in points).encode()


async def test_tokens_of_nested_calls_are_counted_once(collected):
    """The outer attempt passes the answer on; the tokens belong to the inner call."""
    inner = Pipeline(Passing(), name="inner")(answer)

    @Pipeline(Passing(), name="outer")
    async def outer():
        return await inner()

    await outer()
    assert {labels["name"] for labels, _ in collected.points("tokens")} == {"inner"}


async def test_calls_under_way_are_counted(collected):
    """The gauge of active calls rises with a call and falls when it ends, however it ends."""
    tasks = [asyncio.ensure_future(Pipeline(Passing(), name="ask")(asyncio.sleep)(9)) for _ in range(3)]
    await asyncio.sleep(1)
    during = collected.points("calls.active")
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert (during, collected.points("calls.active")) == ([({"name": "ask"}, 3)], [({"name": "ask"}, 0)])


async def test_transitions_and_pauses_are_counted(collected):
    """An opened circuit is one transition to "open", a stop that the provider asked for one pause; never by key."""
    await Pipeline(Notes(), name="ask")(answer)()
    breaker = {"name": "ask", "layer": "circuit_breaker", "state": "open"}
    assert [(breaker, 1)] == collected.points("circuit_breaker.transitions")
    assert [({"name": "ask", "layer": "rate_limited"}, 1)] == collected.points("rate_limit.pauses")


async def test_no_label_is_a_session_a_call_a_user_or_a_key(collected):
    """Labels come from a fixed list of names, none of which is unbounded."""
    with pytest.raises(CircuitOpen):
        await Pipeline(Notes(), Waits(1.0), Retries(1.0), Refuses(), name="ask")(answer)()
    await Pipeline(Passing(), name="ask")(answer)()
    labels = {
        label
        for resource in collected.reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        for label in point.attributes
    }
    assert labels <= {
        "sluiceway.call.name",
        "sluiceway.call.outcome",
        "sluiceway.attempt.outcome",
        "sluiceway.layer",
        "sluiceway.wait.reason",
        "sluiceway.circuit_breaker.state",
        "sluiceway.rate_limit.name",
        "sluiceway.tokens.type",
        "gen_ai.request.model",
        "error.type",
        "http.response.status_code",
    }


async def test_buckets_and_units(collected):
    """Durations double from 10 ms, tokens quadruple from one, waits have buckets of their own; units are seconds."""
    await Pipeline(Waits(1.0), name="ask")(answer)()
    bounds = {
        name: (collected.metric(name).unit, collected.metric(name).data.data_points[0].explicit_bounds)
        for name in ("call.duration", "wait.duration", "tokens")
    }
    assert bounds["call.duration"] == ("s", tuple(0.01 * 2**n for n in range(14)))
    assert bounds["call.duration"][1][-1] == pytest.approx(81.92)
    assert bounds["tokens"] == ("{token}", tuple(4**n for n in range(14)))
    assert bounds["tokens"][1][-1] == 67_108_864
    assert bounds["wait.duration"][1] == (
        0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300,
    )  # fmt: skip


# ------------------------------------------------------------------ when


async def test_nothing_is_measured_while_nobody_collects():
    """Without a meter provider no instrument is made."""
    await Pipeline(Passing(), name="ask")(answer)()
    assert metrics.metering.instruments is None


async def test_a_provider_that_the_application_sets_later_is_noticed(monkeypatch):
    """The global provider is found at the first call after it was set."""
    monkeypatch.setattr(metrics, "load_soon", lambda: None)
    monkeypatch.setattr(metrics, "_price", lambda model, usage: None)
    ask = Pipeline(Passing(), name="ask")(answer)
    await ask()
    found = Collected()
    monkeypatch.setattr(_internal, "_METER_PROVIDER", found.provider)
    await ask()
    assert found.points("call.duration") == [({"name": "ask", "outcome": "ok"}, (1, 0.0))]


def test_the_variable_that_tells_of_a_global_provider_is_there():
    """We read a variable of the API that is not public; an API without it must fail here and not in silence."""
    assert hasattr(_internal, "_METER_PROVIDER")


async def test_a_provider_that_does_nothing_is_none(monkeypatch):
    """An application that switched metrics off with the no-op provider pays nothing for them."""
    monkeypatch.setattr(_internal, "_METER_PROVIDER", NoOpMeterProvider())
    await Pipeline(Passing(), name="ask")(answer)()
    assert metrics.metering.instruments is None
