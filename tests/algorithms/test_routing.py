"""Which deployment gets the next call."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.routing import STRATEGIES, Routing, Standing


def failing(n, *, every=0.1):
    """Return a standing with *n* failures in a row, and when the last one came."""
    standing = Standing(1.0)
    at = 0.0
    for _ in range(n):
        at += every
        standing.failed(at, at)
    return standing, at


@pytest.mark.parametrize(("n", "seconds"), [(0, 0.0), (2, 0.0), (3, 1.0)])
def test_three_failures_in_a_row_make_it_avoided(n, seconds):
    """One error among many is nobody's fault."""
    standing, at = failing(n)
    assert seconds == pytest.approx(standing.avoided(at))


def test_every_further_failure_doubles_it_to_half_a_minute():
    """Counting calls that began since it was avoided."""
    standing, at = failing(3)
    pauses = []
    for _ in range(7):
        at += standing.avoided(at)
        standing.failed(at, at)
        pauses.append(round(standing.avoided(at), 9))
    assert [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] == pauses


def test_failures_of_calls_from_before_say_nothing_new():
    """A hundred calls in flight that fail together are one outage."""
    standing, at = failing(3)
    for _ in range(100):
        standing.failed(at + 0.5, 0.0)
    assert 0.5 == pytest.approx(standing.avoided(at + 0.5))


def test_an_answer_ends_it():
    """And the streak with it."""
    standing, at = failing(5, every=10.0)
    standing.begin()
    standing.answered(at, 1.0, 1.0)
    standing.failed(at, at)
    assert 0.0 == standing.avoided(at)


def test_a_peak_counts_at_once_and_fades():
    """To a third in ten seconds, also without calls; what is lower fades in."""
    standing = Standing(1.0)
    standing.calls = 1
    standing.answered(0.0, 6.0, 6.0)
    assert (6.0, 6.0) == (standing.latency(0.0), standing.service)
    assert 2.2 == pytest.approx(standing.latency(10.0), rel=0.01)
    standing.answered(10.0, 1.0, 1.0)
    assert 2.2 + 0.63 == pytest.approx(standing.latency(10.0), rel=0.01)


def standings():
    """Return a strategy for standings with something to do."""
    return st.builds(_busy, st.sampled_from([0.5, 1.0, 3.0]), st.integers(0, 3), st.integers(0, 5))


def _busy(weight, in_flight, calls):
    standing = Standing(weight)
    standing.in_flight, standing.calls = in_flight, calls
    return standing


@given(standings(), standings())
def test_less_to_do_is_less_load(one, other):
    """The two say the same of every pair."""
    assert one.has_less_to_do(other) is (one.load() < other.load())


def test_the_clock_may_be_exchanged():
    """Every remembered time moves along."""
    standing, at = failing(3)
    standing.shift(-at)
    assert 1.0 == pytest.approx(standing.avoided(0.0))


def test_who_is_avoided_is_asked_when_others_would_take_longer():
    """It is a guess that it still fails, and a fact that the others are full."""
    routing = Routing([1, 1], "room")
    for at in (0.0, 0.1, 0.2):
        routing.standings[0].failed(at, at)
    assert 1 == routing.choose({0: (0.0, 1.0), 1: (0.5, 0.0)}, 0.2)
    assert 0 == routing.choose({0: (0.0, 1.0), 1: (5.0, 0.0)}, 0.2)


def test_who_refuses_is_asked_last():
    """But asked, for its error, if there is nobody else."""
    routing = Routing([1, 1], "latency")
    assert 1 == routing.choose({0: (inf, 0.0), 1: (60.0, 0.0)}, 0.0)
    assert 0 == routing.choose({0: (inf, 0.0)}, 0.0)


@given(
    st.sampled_from(STRATEGIES),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.lists(st.sets(st.integers(0, 4), min_size=1), max_size=40),
)
def test_nobody_waits_while_somebody_is_free(strategy, weights, rounds):
    """Whatever the strategy: of those that are free one is chosen."""
    routing = Routing(weights, strategy)
    for free in rounds:
        rooms = {i: (0.0, 0.5) if i in free else (1.0, 0.0) for i in range(len(weights))}
        chosen = routing.choose(rooms, 0.0)
        assert chosen in free or not free & set(rooms)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_weights_are_met_exactly_in_every_round(weights):
    """Of as many calls as the weights add up to, each gets its weight."""
    routing = Routing(weights, "weight")
    rooms = dict.fromkeys(range(len(weights)), (0.0, 1.0))
    chosen = [routing.choose(rooms, 0.0) for _ in range(3 * sum(weights))]
    assert [3 * weight for weight in weights] == [chosen.count(i) for i in range(len(weights))]
