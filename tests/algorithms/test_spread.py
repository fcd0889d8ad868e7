"""Bursts that leave no faster than they can be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.spread import Spread
from sluiceway.algorithms.token_buckets import TokenBuckets


def drain(limiter, n, cost=1.0):
    """Take *n* times, waiting as told; return the times."""
    now, taken = 0.0, []
    while len(taken) < n:
        wait = limiter.take((cost,), now)
        if wait == 0.0:
            taken.append(now)
        else:
            now += wait
    return taken


def test_a_burst_of_ninety_leaves_over_a_third_of_a_second():
    """At 100 a second the first eleven permits leave at once and the burst at 2.5 times the rate."""
    taken = drain(Spread(TokenBuckets([(100, 1.0)]), 100), 90)
    assert [0.0] * 11 == taken[:11]
    assert 0.004 * 79 == pytest.approx(taken[-1], abs=1e-4)


def test_a_small_burst_leaves_at_once():
    """The nine permits that a limit of ten a second holds are not spread."""
    assert [0.0] * 9 == drain(Spread(TokenBuckets([(10, 1.0)]), 10), 9)


def test_a_fast_limit_is_not_slowed_down():
    """At 10,000 a second ten thousand and nine permits take no more than the second that they take anyway."""
    taken = drain(Spread(TokenBuckets([(10_000, 1.0)], burst=0.1), 10_000), 11_000)
    assert 1.0 == pytest.approx(taken[-1], abs=0.01)


def test_its_clock_can_be_exchanged():
    """After a shift the wait for the next permit is what it was."""
    limiter = Spread(TokenBuckets([(100, 1.0)]), 100)
    drain(limiter, 20)
    before = limiter.take((1.0,), 0.03)
    limiter.shift(-1_000.0)
    assert before == pytest.approx(limiter.take((1.0,), 0.03 - 1_000.0), abs=1e-6)


def test_its_rate_can_be_changed():
    """A burst leaves at 2.5 times the rate that holds by then."""
    limiter = Spread(TokenBuckets([(10_000, 1.0)]), 10)
    limiter.resize(4_000)
    taken = drain(limiter, 1_600)
    assert 1 / 10_000 == pytest.approx(taken[-1] - taken[-2], rel=0.01)


@given(st.floats(0.1, 1e5), st.lists(st.floats(0, 0.1), max_size=50))
def test_waiting_as_told_is_enough(rate, gaps):
    """Whatever the rate and the pauses between, who waits exactly as told is admitted."""
    limiter = Spread(TokenBuckets([(rate, 1.0)]), rate)
    now = 0.0
    for gap in gaps:
        now += gap
        wait = limiter.take((1.0,), now)
        if wait != 0.0:
            now += wait
            assert 0.0 == limiter.take((1.0,), now)
