"""A running percentile, held against all values in order."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.running_quantile import ACCURACY, RunningQuantile


@given(
    st.lists(st.floats(1e-5, 1e6), min_size=1, max_size=200),
    st.floats(0.01, 0.99),
)
def test_it_is_within_one_percent_of_the_value_at_its_place(values, share):
    """Of n values the one at place ceil(share * n) in order, whatever came in which order."""
    found = RunningQuantile(share)
    for count, value in enumerate(values, 1):
        found.add(value)
        rank = max(1, math.ceil(share * count - 1e-9))
        exact = sorted(values[:count])[rank - 1]
        assert found.value == pytest.approx(exact, rel=ACCURACY * 1.001)


def test_it_knows_nothing_before_the_first_value():
    """None, not 0."""
    assert RunningQuantile(0.95).value is None


@pytest.mark.parametrize(("value", "counts_as"), [(0.0, 1e-6), (1e-9, 1e-6), (1e12, 1e7)])
def test_what_is_out_of_range_counts_as_its_end(value, counts_as):
    """Nothing of the kind is lost or kept in bins of its own."""
    found = RunningQuantile(0.5)
    found.add(value)
    assert counts_as == pytest.approx(found.value, rel=ACCURACY)


def test_it_forgets():
    """After a change the new values decide within a few times its memory."""
    found = RunningQuantile(0.95, memory=200)
    rng = Random(1)
    for _ in range(1000):
        found.add(rng.uniform(9.0, 10.0))
    for _ in range(600):
        found.add(rng.uniform(0.9, 1.0))
    assert 1.0 == pytest.approx(found.value, rel=0.05)
    assert found.count < 400


def test_it_is_bounded():
    """A hundred thousand different values need at most 1,500 bins."""
    found = RunningQuantile(0.95)
    rng = Random(2)
    for _ in range(100_000):
        found.add(math.exp(rng.uniform(-20, 20)))
    assert len(found._bins) <= 1_500


@pytest.mark.parametrize(("share", "memory"), [(0.0, 10), (1.0, 10), (-1, 10), (float("nan"), 10), (0.5, 0)])
def test_bad_settings_are_refused(share, memory):
    """By their value."""
    with pytest.raises(ValueError, match="must be"):
        RunningQuantile(share, memory)


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_bad_values_are_refused(value):
    """Times are not negative, and finite."""
    with pytest.raises(ValueError, match="value="):
        RunningQuantile(0.5).add(value)


def test_its_repr_says_what_it_knows():
    """Which percentile of how many."""
    found = RunningQuantile(0.95)
    assert "<RunningQuantile 0.95: unknown of 0>" == repr(found)
    found.add(2.0)
    assert "<RunningQuantile 0.95: 1.99 of 1>" == repr(found)
