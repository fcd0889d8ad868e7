"""Events to numbers."""

from __future__ import annotations

import gc
import json
import weakref
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeding_statistics import ENDS, USAGE, Clock, FedCall
from sluiceway.errors import CircuitOpen, RateLimited, TimedOut
from sluiceway.events import BackedOff, CallRejected, LimitPaused, Settled, Waited
from sluiceway.providers.usage import Usage
from sluiceway.telemetry.statistics import Statistics
from sluiceway.telemetry.stats import Tokens, Waits
from sluiceway.telemetry.tally import MOST
from sluiceway.testing import openai_error

PRICES = {"cheap": 1e-6, "dear": 1e-3}


def price(model, usage):
    each = PRICES.get(model)
    return None if each is None else each * usage.total


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def statistics():
    return Statistics(0.0, "test", price=price)


@pytest.fixture
def fed(statistics, clock):
    return lambda **facts: FedCall(statistics.hear, clock, **facts).start()


# ------------------------------------------------------------------ nothing is lost

steps = st.sampled_from(["start", "attempt", "attempt failed", "contained", "finish", "finish", "unmatched", "time"])
story = st.lists(
    st.tuples(steps, st.integers(0, 5), st.sampled_from(sorted(ENDS)), st.sampled_from([None, "cheap", "dear", "new"])),
    max_size=120,
)


def tell(story, statistics):
    """Play *story* to *statistics* and count beside it, as simply as can be."""
    clock = Clock()
    open_calls, seen, ended = [], Counter(), Counter()
    for step, number, outcome, model in story:
        call = open_calls[number % len(open_calls)] if open_calls else None
        if step == "time":
            clock.now += number * 7.3
        elif step == "start":
            open_calls.append(FedCall(statistics.hear, clock, model=model, tenant=[None, "a", "b"][number % 3]).start())
        elif step == "unmatched":
            FedCall(statistics.hear, clock, model=model)
        elif call is None:
            continue
        elif step == "finish":
            open_calls.remove(call)
            call.finish(outcome)
            ended[outcome] += 1
        else:
            contained = step == "contained"
            call.begin_attempt()
            usage = None if number == 3 else USAGE
            call.end_attempt("error" if step == "attempt failed" else "ok", usage=usage, contained=contained)
            seen["attempts"] += not contained
            seen["tokens"] += 150 * (usage is not None and not contained)
    return len(open_calls), seen, ended


@given(story)
def test_every_call_is_counted_exactly_once(story):
    """Whatever the order of events, calls are the sum of the five ways to end and of those in flight."""
    statistics = Statistics(0.0, price=price)
    in_flight, seen, ended = tell(story, statistics)
    stats = statistics.snapshot(1e4)
    assert stats.calls == (
        stats.succeeded + stats.failed + stats.rejected + stats.timed_out + stats.cancelled + stats.in_flight
    )
    assert (in_flight, ended.total() + in_flight) == (stats.in_flight, stats.calls)
    assert ended == Counter(
        {
            "ok": stats.succeeded,
            "error": stats.failed,
            "rejected": stats.rejected,
            "timed out": stats.timed_out,
            "cancelled": stats.cancelled,
        }
    )
    assert (seen["attempts"], seen["tokens"]) == (stats.attempts, stats.tokens.total)


@given(story)
def test_no_part_counts_more_than_the_whole(story):
    """The models' calls, attempts, tokens and costs add up to at most the session's, and so do the tenants'."""
    statistics = Statistics(0.0, price=price)
    tell(story, statistics)
    stats = statistics.snapshot(1e4)
    for parts in (stats.by_model.values(), stats.by_tenant.values()):
        assert sum(part.calls for part in parts) <= stats.calls - stats.in_flight
        assert sum(part.attempts for part in parts) <= stats.attempts
        assert sum(part.tokens.total for part in parts) <= stats.tokens.total
        assert sum(part.cost or 0.0 for part in parts) <= (stats.cost or 0.0) + 1e-9
        assert all(part.attempts >= 0 and part.retries >= 0 for part in parts)


# ------------------------------------------------------------------ calls and attempts


def test_a_call_counts_from_its_start(statistics, fed):
    """A call in flight is a call, and no latency yet."""
    fed()
    stats = statistics.snapshot(1.0)
    assert (1, 1, 0) == (stats.calls, stats.in_flight, stats.latency.count)
    assert stats.success_rate is None


@pytest.mark.parametrize(
    ("outcome", "counted"), [("ok", 1), ("error", 1), ("timed out", 1), ("rejected", 0), ("cancelled", 0)]
)
def test_latency_is_of_calls_that_reached_their_own_end(statistics, fed, outcome, counted):
    """How long a refused or cancelled call took is no latency."""
    fed().finish(outcome, 3.0)
    assert counted == statistics.snapshot(1.0).latency.count


def test_an_attempt_that_made_calls_is_no_trip(statistics, fed):
    """Usage and attempts are counted by the innermost call; the outer one is a call without an attempt."""
    outer, inner = fed(), fed()
    outer.begin_attempt()
    inner.begin_attempt().end_attempt(usage=USAGE, answered="cheap").finish()
    outer.end_attempt(usage=USAGE, contained=True, answered="cheap").finish()
    stats = statistics.snapshot(1.0)
    assert (2, 1, 150) == (stats.calls, stats.attempts, stats.tokens.total)
    assert 1 == stats.by_model["cheap"].calls


def test_retries_and_their_waits(statistics, fed, clock):
    """Each backoff is a retry, and a wait named so."""
    call = fed(tenant="acme").begin_attempt().end_attempt("error")
    clock.now = 2.0
    statistics.hear(BackedOff(2.0, call.call, 0.5, "retry_jitter", "backoff", {}, None, 1.5, "backoff", None, 2))
    call.begin_attempt().end_attempt(usage=USAGE, answered="cheap").finish()
    stats = statistics.snapshot(3.0)
    assert (2, 1) == (stats.attempts, stats.retries)
    assert {"backoff": Waits(1, 1.5, 1.5)} == stats.waits
    assert (2, 1) == (stats.by_tenant["acme"].attempts, stats.by_tenant["acme"].retries)


def test_failed_attempts_find_their_model_when_the_call_is_over(statistics, fed):
    """An error names no model; the answer that follows does, and takes the failed attempts and retries with it."""
    call = fed().begin_attempt().end_attempt("error")
    statistics.hear(BackedOff(0.0, call.call, 0.0, "retry_jitter", "backoff", {}))
    assert {} == statistics.snapshot(1.0).by_model
    call.begin_attempt().end_attempt(usage=USAGE, answered="cheap").finish()
    cheap = statistics.snapshot(1.0).by_model["cheap"]
    assert (1, 2, 1) == (cheap.calls, cheap.attempts, cheap.retries)
    assert 2 == statistics.snapshot(1.0).attempts


def test_the_model_asked_for_names_the_row(statistics, fed):
    """A call that says its model counts under that, not under the more exact one that answered, also if it fails."""
    fed(model="cheap").begin_attempt().end_attempt(usage=USAGE, answered="cheap-2026-01-01").finish()
    fed(model="cheap").begin_attempt().end_attempt("error").finish("error")
    stats = statistics.snapshot(1.0)
    assert ["cheap"] == list(stats.by_model)
    assert (2, 1, 0.5) == (
        stats.by_model["cheap"].calls,
        stats.by_model["cheap"].failed,
        stats.by_model["cheap"].success_rate,
    )


def test_models_and_tenants_are_bounded(statistics, fed):
    """After a thousand names, new ones are counted together; nothing is lost."""
    for number in range(MOST + 50):
        fed(model=f"m{number}", tenant=f"t{number}").begin_attempt().end_attempt().finish()
    stats = statistics.snapshot(1.0)
    for parts in (stats.by_model, stats.by_tenant):
        assert MOST + 1 == len(parts)
        assert 50 == parts["other"].calls
        assert MOST + 50 == sum(part.calls for part in parts.values())


# ------------------------------------------------------------------ tokens and money


def test_tokens_by_kind(statistics, fed):
    """Tokens add up by kind; cached is part of the input and reasoning of the output."""
    for _ in range(3):
        fed().begin_attempt().end_attempt(usage=USAGE).finish()
    assert Tokens(input=300, output=150, cached=60, reasoning=30) == statistics.snapshot(1.0).tokens
    assert 450 == statistics.snapshot(1.0).tokens.total


def test_a_cost_that_leaves_something_out_says_so(statistics, fed):
    """Where the price of a model is unknown the cost is that of the others, with a count of what is missing."""
    fed(model="cheap").begin_attempt().end_attempt(usage=USAGE).finish()
    fed(model="secret").begin_attempt().end_attempt(usage=USAGE).finish()
    stats = statistics.snapshot(1.0)
    assert (pytest.approx(150e-6), 1) == (stats.cost, stats.unpriced)
    assert stats.by_model["secret"].cost is None


def test_an_alias_costs_what_the_answering_model_costs(statistics, fed):
    """If nobody knows a price of the name asked for, that of the model that answered is taken."""
    fed(model="my-deployment").begin_attempt().end_attempt(usage=USAGE, answered="dear").finish()
    assert pytest.approx(0.15) == statistics.snapshot(1.0).by_model["my-deployment"].cost


def test_no_tokens_cost_nothing(statistics, fed):
    """Without tokens the cost is 0, not unknown."""
    fed().begin_attempt().end_attempt().finish()
    stats = statistics.snapshot(1.0)
    assert (0.0, 0, 1) == (stats.cost, stats.unpriced, stats.unmetered)


def test_possibly_billed_attempts_are_counted_once(statistics, fed):
    """Two limiters that settle one failed attempt are one attempt that may be billed."""
    call = fed().begin_attempt().end_attempt("error")
    for layer in ("rate_limited", "other"):
        statistics.hear(Settled(1.0, call.call, layer, None, "possibly billed", {"tokens": 9}, {"tokens": 9}))
    statistics.hear(Settled(1.0, call.call, "rate_limited", None, "usage", {"tokens": 9}, {"tokens": 9}))
    call.begin_attempt().end_attempt("error")
    statistics.hear(Settled(1.0, call.call, "rate_limited", None, "possibly billed", {"tokens": 9}, {"tokens": 9}))
    assert 2 == statistics.snapshot(1.0).possibly_billed


# ------------------------------------------------------------------ times


def test_time_to_first_item_is_of_attempts(statistics, fed):
    """Each attempt that streamed has its own first item, from its own start."""
    fed(model="m").begin_attempt().end_attempt(first_item=0.25).finish(latency=9.0)
    stats = statistics.snapshot(1.0)
    assert (1, 0.25) == (stats.first_item.count, stats.first_item.max)
    assert 1 == stats.by_model["m"].first_item.count


def test_waits_by_reason(statistics, fed):
    """A wait counts under its reason with its length; one of no length is none."""
    call = fed().call
    for started_at in (1.0, 2.0, 4.0):
        statistics.hear(Waited(4.0, call, started_at, "rate_limited", "rate limit wait", {}, None, "rate_limited"))
    assert {"rate_limited": Waits(2, 5.0, 3.0)} == statistics.snapshot(1.0).waits
    assert 2.5 == statistics.snapshot(1.0).waits["rate_limited"].mean


def test_throughput_counts_what_succeeded(statistics, fed, clock):
    """Throughput is answers a second, over the whole time and over the last ten seconds."""
    for second in range(20):
        clock.now = second + 0.5
        for _ in range(10 if second < 10 else 5):
            fed().finish()
        fed().finish("error")
    stats = statistics.snapshot(20.0)
    assert (20.0, 7.5) == (stats.elapsed, stats.throughput)
    assert pytest.approx(45 / 9) == stats.recent_throughput


def test_error_rate_of_the_last_minute(statistics, fed, clock):
    """The error rate forgets what ended a minute ago, and leaves out what was cancelled."""
    for outcome in ("error", "error", "cancelled"):
        fed().finish(outcome)
    clock.now = 30.0
    fed().finish()
    assert pytest.approx(2 / 3) == statistics.snapshot(30.0).error_rate
    assert 0.0 == statistics.snapshot(61.0).error_rate
    assert statistics.snapshot(300.0).error_rate is None


def test_a_call_that_ends_later_than_now_stretches_the_time(statistics, fed, clock):
    """A call that outlives what it is counted for counts, and so does the time until it ended."""
    call = fed()
    clock.now = 50.0
    call.finish()
    assert 50.0 == statistics.snapshot(10.0).elapsed


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("outcome", "error", "kind"),
    [
        ("error", openai_error(429, code="insufficient_quota"), "RateLimitError 429 insufficient_quota"),
        ("error", ConnectionResetError("secret prompt"), "ConnectionResetError"),
        ("rejected", CircuitOpen("open", layer="circuit_breaker"), "CircuitOpen"),
        ("timed out", TimedOut("slow", kind="first item"), "TimedOut (first item)"),
    ],
)
def test_errors_by_kind(statistics, fed, outcome, error, kind):
    """An error's kind is its class with the status and code of its response, never its message."""
    fed().finish(outcome, error=error)
    assert {kind: 1} == statistics.snapshot(1.0).errors


def test_errors_of_attempts_show_what_retries_saved(statistics, fed):
    """What attempts failed with is counted apart from what calls failed with."""
    call = fed().begin_attempt().end_attempt("error", error=openai_error(503))
    call.begin_attempt().end_attempt().finish()
    stats = statistics.snapshot(1.0)
    assert {} == stats.errors
    assert {"InternalServerError 503 overloaded": 1} == stats.attempt_errors


def test_refusals_by_layer(statistics, fed):
    """Each refusal counts for the layer that refused, also if the call went on elsewhere."""
    statistics.hear(CallRejected(1.0, fed().call, "bounded", RateLimited("full")))
    assert {"bounded": 1} == statistics.snapshot(1.0).refusals


def test_bad_ends_are_told(clock):
    """Whoever asked hears of each call that did not succeed, after it was counted, and of no other."""
    told = []
    statistics = Statistics(0.0, on_bad=lambda event: told.append((event.outcome, statistics.last_minute.bad)))
    for outcome in ENDS:
        FedCall(statistics.hear, clock).start().finish(outcome)
    assert [("error", 1), ("rejected", 2), ("timed out", 3)] == told


def test_the_last_call_in_flight_makes_idle(statistics, fed):
    """`on_idle` is called when nothing is in flight any more, not before."""
    told = []
    statistics.on_idle = lambda: told.append(statistics.in_flight)
    first, second = fed(), fed()
    first.finish()
    assert [] == told
    second.finish()
    assert [0] == told


def test_other_events_are_passed_over(statistics):
    """An event that says nothing countable changes nothing."""
    before = statistics.snapshot(1.0)
    statistics.hear(LimitPaused(0.0, None, "rate_limited", None, 1.0, "429"))
    assert before == statistics.snapshot(1.0)


def test_no_finished_call_is_kept(statistics, fed):
    """When a call is over nothing of it is held: no answer, no argument, no error."""
    call = fed(model="cheap").begin_attempt().end_attempt("error").begin_attempt().end_attempt(usage=USAGE).finish()
    answer = weakref.ref(call.attempt.result)
    call = None
    gc.collect()
    assert answer() is None


def test_a_snapshot_is_frozen_and_ready_for_json(statistics, fed):
    """Stats do not change when more is counted, cannot be written to, and survive JSON."""
    fed(model="cheap", tenant="acme").begin_attempt().end_attempt(usage=Usage(1, 2)).finish()
    stats = statistics.snapshot(2.0)
    found = json.loads(json.dumps(stats.to_dict()))
    fed().finish()
    assert found == stats.to_dict()
    assert ("test", 2.0, 1, 1.0, 3) == (
        found["name"],
        found["elapsed"],
        found["calls"],
        found["success_rate"],
        found["tokens"]["total"],
    )
    assert 1 == found["by_tenant"]["acme"]["succeeded"]
    with pytest.raises(TypeError):
        stats.by_model["cheap"] = None
    with pytest.raises(AttributeError):
        stats.calls = 2


def test_the_whole_can_be_had_without_its_parts(statistics, fed, clock):
    """Who looks every second at thousands of tenants wants the sums alone: they are the same."""
    fed(model="cheap", tenant="acme").begin_attempt().end_attempt(usage=USAGE).finish()
    whole, sums = statistics.snapshot(clock.now), statistics.snapshot(clock.now, parts=False)
    assert ({"cheap"}, {"acme"}) == (set(whole.by_model), set(whole.by_tenant))
    assert ({}, {}) == (sums.by_model, sums.by_tenant)
    assert (whole.calls, whole.tokens, whole.cost) == (sums.calls, sums.tokens, sums.cost)
