"""What becomes of a layer's state when its settings change: kept where only numbers did, else begun anew."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import (
    Deployment,
    Fair,
    Priority,
    RetryBudget,
    adaptive_bound,
    adaptive_rate,
    bounded,
    budgeted,
    cached,
    circuit_breaker,
    hedged,
    rate_limited,
    retry_jitter,
    routed,
    shed,
    timed,
)
from sluiceway.algorithms.aimd import Aimd
from sluiceway.algorithms.budget import Budget
from sluiceway.algorithms.circuit import Circuit
from sluiceway.algorithms.outcome_window import OutcomeWindow
from sluiceway.algorithms.token_buckets import TokenBuckets
from sluiceway.layers.limit_specs import build, carry, specify
from sluiceway.testing import openai_error


def by(call):
    """Return a key."""


KEPT = [
    (lambda: bounded(3, queue=Priority()), lambda: bounded(5, queue=Priority(), max_wait=3, max_queue=2)),
    (lambda: bounded(3, by=by), lambda: bounded(5, by=by)),
    (lambda: rate_limited(rpm=3, tpm=4), lambda: rate_limited(rpm=5, tpm=5, burst="2s", slack="1ms", max_wait=1)),
    (lambda: rate_limited(rpd=3, rpm=1, in_flight=3), lambda: rate_limited(rpd=5, rpm=2, in_flight=4)),
    (lambda: adaptive_bound(10), lambda: adaptive_bound(8, min=2, max=9, decrease=0.5)),
    (lambda: adaptive_rate(10), lambda: adaptive_rate(8, min=2, max=9, decrease=0.5)),
    (circuit_breaker, lambda: circuit_breaker(failure_ratio=0.9, window=5, open_for=3, probes=2, slow_call=3)),
    (lambda: budgeted(tokens=3), lambda: budgeted(tokens=5, unknown="ignore")),
    (lambda: shed(max_wait=3), lambda: shed(max_wait=5, target=1, interval=2, max_queue=3)),
    (hedged, lambda: hedged(max=3)),
]
ANEW = [
    (lambda: bounded(3), lambda: bounded(3, queue=Fair())),
    (lambda: bounded(3), lambda: bounded(3, by=by)),
    (lambda: rate_limited(rpm=3), lambda: rate_limited(rpm=3, tpm=4)),
    (lambda: rate_limited(rpm=3), lambda: rate_limited(rps=3)),
    (lambda: rate_limited(rpm=3), lambda: rate_limited(rpm=3, in_flight=4)),
    (lambda: rate_limited(rpm=3), lambda: rate_limited(rpm=3, algorithm="gcra")),
    (lambda: adaptive_bound(10), lambda: adaptive_bound(10, law="cubic")),
    (lambda: adaptive_rate(10), lambda: adaptive_rate(10, burst=3)),
    (circuit_breaker, lambda: circuit_breaker(by=by)),
    (lambda: budgeted(tokens=3), lambda: budgeted(usd=3)),
    (lambda: budgeted(tokens=3), lambda: budgeted(tokens=3, per="tenant")),
    (shed, lambda: shed(of=[bounded(3)])),
    (hedged, lambda: hedged("p99")),
    (lambda: timed(3), lambda: timed(4)),
]


@pytest.mark.parametrize(("old", "fresh"), KEPT)
def test_only_numbers_changed_so_that_it_is_the_same_object_with_other_settings(old, fresh):
    """What it shows is what was said last."""
    layer, other = old(), fresh()
    assert layer is layer.renewed(other)
    assert dict(other.settings()) == dict(layer.settings())


@pytest.mark.parametrize(("old", "fresh"), ANEW)
def test_more_than_numbers_changed_so_that_it_begins_anew(old, fresh):
    """The old object is left as it was, for the calls that are inside."""
    layer, other = old(), fresh()
    before = dict(layer.settings())
    assert other is layer.renewed(other)
    assert before == dict(layer.settings())


def test_a_budget_of_retries_goes_on():
    """The pipeline's own, and one that was given, with its new numbers; not one in place of the other."""
    old, fresh = retry_jitter(3), retry_jitter(5)
    assert fresh is old.renewed(fresh)
    assert old.budget is fresh.budget
    old, fresh = retry_jitter(budget=RetryBudget(3, 0.2)), retry_jitter(budget=RetryBudget(5, 0.5))
    old.renewed(fresh)
    assert old.budget is fresh.budget
    assert (5, 0.5) == (fresh.budget.minimum, fresh.budget.ratio)
    old, fresh = retry_jitter(), retry_jitter(budget=False)
    old.renewed(fresh)
    assert old.budget is not fresh.budget


def test_answers_stay_in_their_store_when_their_time_changes():
    """A store of another place or size is another one."""
    old = cached(ttl=5)
    assert old._store is old.renewed(cached(ttl=9))._store
    assert old._store is not old.renewed(cached(ttl=5, max_entries=9))._store


def test_what_is_known_of_deployments_stays_while_they_are_the_same():
    """By name and weight."""
    old = routed(Deployment("a"), Deployment("b"))
    assert old._routing is old.renewed(routed(Deployment("a", layers=[bounded(3)]), Deployment("b")))._routing
    assert old._routing is not old.renewed(routed(Deployment("a"), Deployment("c")))._routing


@pytest.mark.virtual_time
@pytest.mark.parametrize("make", [adaptive_bound, adaptive_rate])
async def test_what_was_found_out_stays_within_the_new_bounds(make):
    """A limit that fell to 7 stays there, unless another maximum says less."""
    layer = make(10, slow_start=False)

    @layer
    async def ask():
        raise openai_error(429)

    for _ in range(2):
        await asyncio.sleep(120)
        with pytest.raises(Exception, match="429"):
            await ask()

    def found():
        shot = layer.snapshot()[0]
        return shot.rate if make is adaptive_rate else shot.limit

    before = found()
    layer.renewed(make(20, slow_start=False, decrease=0.5))
    assert before == found()
    layer.renewed(make(1, slow_start=False, max=1))
    assert found() <= 1


def test_another_class_is_never_renewed():
    """Though it may have settings of the same names."""
    assert bounded(3).renewed(adaptive_bound(3)) is not None
    fresh = adaptive_bound(3)
    assert fresh is bounded(3).renewed(fresh)


# ------------------------------------------------------------------ the machines


@given(
    st.floats(0, 50), st.floats(1, 1e4), st.floats(1, 1e4), st.sampled_from(["token_bucket", "gcra", "sliding_window"])
)
def test_a_machine_s_level_is_carried_to_the_next_as_far_as_that_holds_it(taken, first, second, algorithm):
    """Never more than before, never more than it holds, and a debt is not forgiven."""
    specs = [specify({"rpm": limit, "tpm": limit * 10}, None, None) for limit in (first, second)]
    before = build(specs[0], algorithm, 1.0, 0.02)
    before.take([1.0, taken], 5.0)
    level = before.levels(6.0)
    after = carry(before, build(specs[1], algorithm, 1.0, 0.02), specs[1], 6.0)
    full = build(specs[1], algorithm, 1.0, 0.02).levels(6.0)
    for was, now, most, grown in zip(
        level, after.levels(6.0), full, (second - first, 10 * (second - first)), strict=True
    ):
        more = (
            max(0.0, grown) if algorithm == "sliding_window" else 0.0
        )  # a log counts what it saw against the new limit
        assert now <= min(was + more, most) + 1e-6


def test_a_pause_and_a_debt_are_carried():
    """A level below zero stays there."""
    specs = specify({"rpm": 60}, None, None)
    before = build(specs, "token_bucket", 1.0, 0.02)
    before.take([5.0], 0.0)
    assert isinstance(build(specs, "gcra", 1.0, 0.02).limiter, object)
    after = carry(before, build(specs, "token_bucket", 1.0, 0.02), specs, 1.0)
    assert before.levels(1.0) == after.levels(1.0)
    assert -3.0 == pytest.approx(after.levels(1.0)[0])
    assert isinstance(after.limiter, TokenBuckets)


def test_a_circuit_takes_other_settings_and_stays_as_it_is():
    """Open stays open, and its next time open is as long as is said now."""
    circuit, rng = Circuit(min_calls=2, open_for=100.0, max_open_for=100.0), random.Random(3)
    for _ in range(2):
        circuit.failure(circuit.admit(0.0, rng), 0.0)
    assert "open" == circuit.state
    circuit.retune(Circuit(min_calls=2, open_for=1.0, max_open_for=1.0, close_after=1, ramp=0.0), 60.0, 1.0)
    assert "open" == circuit.state
    permit = circuit.admit(3.0, rng)
    assert "half_open" == circuit.state
    circuit.success(permit, 3.0)
    assert "closed" == circuit.state


@given(st.lists(st.booleans(), max_size=30), st.floats(1, 100), st.floats(1, 100))
def test_a_window_that_becomes_another_counts_what_it_counted(outcomes, first, second):
    """Until the new window is over."""
    window = OutcomeWindow(first)
    for failed in outcomes:
        window.count(10.0, failed, False)
    window.resize(second, 10.0)
    assert (len(outcomes), sum(outcomes)) == (window.calls, window.failures)
    window.advance(10.0 + 2 * max(first, second))
    assert 0 == window.calls


def test_a_budget_that_is_cut_below_what_is_spent_lets_nothing_through():
    """And one that is raised lets the difference."""
    budget = Budget((10.0,))
    budget.reserve((8.0,))
    budget.settle((8.0,), (8.0,))
    budget.resize((5.0,))
    assert 0 == budget.reserve((1.0,))
    budget.resize((10.0,))
    assert budget.reserve((2.0,)) is None
    with pytest.raises(ValueError, match="must be 1, as before"):
        budget.resize((1.0, 2.0))


def test_a_law_keeps_its_limit_within_new_bounds():
    """Lower bounds count, too."""
    law = Aimd(10.0, least=1.0)
    law.retune(Aimd(50.0, least=20.0, most=60.0))
    assert 20.0 == law.limit
    law.retune(Aimd(1.0, least=1.0, most=60.0))
    assert 20.0 == law.limit


async def test_whether_calls_in_flight_are_counted_changes_for_those_to_come():
    """Who was not counted on the way in is not on the way out, and the other way round."""
    limiter = rate_limited(rpm=600)
    ask = limiter(asyncio.sleep)
    for burst, counted in (("learn", 0), ("1s", 2)):
        calls = [asyncio.create_task(ask(10)) for _ in range(2)]
        await asyncio.sleep(5)
        assert limiter.renewed(rate_limited(rpm=600, burst=burst)) is limiter
        assert counted == limiter.snapshot()[0].in_flight
        await asyncio.gather(*calls)
        assert 0 == limiter.snapshot()[0].in_flight
