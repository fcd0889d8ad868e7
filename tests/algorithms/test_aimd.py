"""Additive increase."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.aimd import Aimd


def fallen(peak, **settings):
    law = Aimd(peak, least=0.1, **settings)
    law.refused(0, 1, peak)
    return law


@given(st.floats(1, 1e4), st.floats(0.01, 10), st.integers(1, 100))
def test_it_gains_the_increase_each_unit(peak, increase, steps):
    """However the unit is cut up."""
    law = fallen(peak, increase=increase)
    for _ in range(steps):
        law.grow(1 / steps)
    assert min(peak * 0.7 + increase, 10 * peak) == pytest.approx(law.limit) or law.slow


@given(st.integers(10, 1000))
def test_a_success_brings_the_share_of_a_round_trip(places):
    """With 1 / L a success, L successes bring one place, where one place each would double it."""
    law = fallen(float(places))
    before = law.limit
    for _ in range(int(before)):
        law.grow(1 / law.limit)
    assert before + 1 == pytest.approx(law.limit, rel=0.1)
    assert law.limit <= before + 1


def test_its_repr_names_the_peak():
    """Or that it doubles."""
    assert "<Aimd 10, doubling>" == repr(Aimd(10, least=1))
    assert "<Aimd 70, last peak 100>" == repr(fallen(100))
