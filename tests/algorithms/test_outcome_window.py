"""Outcomes of the last so many seconds, to within a tenth of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.outcome_window import OutcomeWindow

RESULTS = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 1.0, 6.0, 59.0, 60.0, 3600.0]), st.floats(0, 70)), st.booleans()),
    max_size=80,
)


@given(st.sampled_from([0.0, 123.4, 1e6]), RESULTS)
def test_it_counts_the_buckets_that_the_window_still_touches(start, results):
    """After each result the counts are those of the ten buckets of time up to now, also across idle gaps."""
    window, seen, now = OutcomeWindow(60.0), [], start
    for gap, failed in results:
        now += gap
        window.count(now, failed, not failed)
        seen.append((math.floor(now / 6.0), failed))
        live = [was for slot, was in seen if slot > math.floor(now / 6.0) - 10]
        assert (len(live), sum(live)) == (window.calls, window.failures)
        assert window.calls - window.failures == window.slow


def test_an_idle_gap_forgets_what_is_old():
    """Turned by time, not by arrivals: the first result after an hour stands alone."""
    window = OutcomeWindow(60.0)
    for _ in range(50):
        window.count(0.0, True, False)
    window.count(3600.0, False, False)
    assert (1, 0) == (window.calls, window.failures)


def test_half_the_window_is_remembered_after_half_the_window():
    """A gap shorter than the window drops only the buckets it has outlived."""
    window = OutcomeWindow(10.0)
    for second in range(10):
        window.count(float(second), True, False)
    window.advance(14.0)
    assert (5, 5) == (window.calls, window.failures)
    window.advance(3.0)
    assert (5, 5) == (window.calls, window.failures)


@given(st.integers(-600, 600), RESULTS, RESULTS)
def test_it_goes_on_by_another_clock(buckets, before, after):
    """Shifted by whole buckets it counts as one that kept its clock."""
    kept, shifted, now = OutcomeWindow(60.0), OutcomeWindow(60.0), 0.0
    for gap, failed in before:
        now += int(gap)
        kept.count(now, failed, False)
        shifted.count(now, failed, False)
    shifted.shift(6.0 * buckets)
    for gap, failed in after:
        now += int(gap)
        kept.count(now, failed, False)
        shifted.count(now + 6.0 * buckets, failed, False)
        assert (kept.calls, kept.failures) == (shifted.calls, shifted.failures)


def test_it_can_be_cleared():
    """A cleared window is a new one."""
    window = OutcomeWindow(10.0)
    window.count(5.0, True, True)
    window.clear()
    assert (0, 0, 0) == (window.calls, window.failures, window.slow)
    window.count(1.0, False, False)
    assert 1 == window.calls


def test_a_window_has_a_length():
    """A window of no seconds is refused."""
    with pytest.raises(ValueError, match="window=0 must be above 0"):
        OutcomeWindow(0)
