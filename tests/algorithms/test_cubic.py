"""The curve of a cubic limit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.cubic import Cubic


def fallen(peak, **settings):
    law = Cubic(peak, least=0.01, **settings)
    law.refused(0, 1, peak)
    return law


def climbed(law, seconds, steps=100):
    for _ in range(steps):
        law.grow(seconds / steps)
    return law.limit


@given(st.floats(60, 1e5), st.floats(0, 2))
def test_it_is_botocores_curve_where_calls_are_many(w, way):
    """The limit is 0.4 (t - K)^3 + w with K = cbrt(0.3 w / 0.4), from 0.7 w, flat at w, and on up to twice of it."""
    k = math.cbrt(w * 0.3 / 0.4)
    t = way * k
    assert 0.4 * (t - k) ** 3 + w == pytest.approx(climbed(fallen(w), t))


@given(st.floats(1, 15))
def test_at_low_limits_the_way_back_takes_fifty_calls(w):
    """It is back at its peak after 50 / w seconds, not after the second that botocore takes."""
    law = fallen(w)
    assert climbed(law, 25 / w) < w
    assert w == pytest.approx(climbed(law, 25 / w))
    law.grow(10 / w)
    assert w < law.limit < 1.01 * w


def test_the_way_back_never_takes_longer_than_a_minute():
    """Who was refused down to 0.1 a second is not condemned to stay there."""
    law = fallen(0.1)
    assert 0.1 == pytest.approx(climbed(law, 60))


@given(st.floats(1, 1e4), st.floats(0.1, 0.9), st.floats(0.01, 5))
def test_it_begins_at_the_decrease_and_never_turns_back(w, decrease, increase):
    """From `decrease * w` it rises all the way, fast at first and slowly near w."""
    law = fallen(w, decrease=decrease, increase=increase)
    assert decrease * w == pytest.approx(law.limit)
    gains = []
    for _ in range(10):
        before = law.limit
        law.grow(0.1 * max(math.cbrt(w * (1 - decrease) / increase), 50 / w) * 0.99)
        gains.append(law.limit - before)
    assert sorted(gains, reverse=True) == gains
    assert law.limit <= w


def test_an_error_goes_back_on_the_curve():
    """After a timeout the climb goes on from where on the curve that limit is, to the same peak."""
    law = fallen(100)
    climbed(law, 3)
    law.eased(2, 3, 0.9)
    stepped = law.limit
    other = fallen(100)
    while other.limit < stepped:
        other.grow(0.001)
    assert climbed(other, 1) == pytest.approx(climbed(law, 1), rel=0.01)


def test_steady_errors_brake_and_do_not_stop_it():
    """With two of 100 calls a second failing by the provider's fault it still holds most of its peak."""
    law = fallen(100)
    for i in range(1, 600):
        climbed(law, 0.5, 5)
        law.eased(i, i + 0.9, 0.98)
    assert law.limit > 90


def test_its_repr_names_the_peak():
    """Or that it doubles."""
    assert "<Cubic 10, doubling>" == repr(Cubic(10, least=1))
    assert "<Cubic 70, last peak 100>" == repr(fallen(100))
