"""Fates: which fault befalls which trip, by a seed."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.fates import Fates, drawn, require_shares


@given(st.integers(), st.integers(0, 10**6), st.lists(st.floats(0, 0.25), max_size=4))
def test_a_fate_is_a_function_of_seed_and_number(seed, number, shares):
    """The same trip has the same fate whatever was asked before, and only a fault with a share befalls it."""
    fates = Fates(tuple(zip("abcd", shares, strict=False)), seed)
    rng, rng_again = Random(1), Random(2)
    fault = fates.of(number, rng)
    fates.of(number + 1, rng_again)
    assert (fault, rng.random()) == (fates.of(number, rng_again), rng_again.random())
    assert fault is None or fault in [name for name, share in fates.shares if share > 0]


def test_faults_come_as_often_as_they_are_likely():
    """Over many trips each fault has its share."""
    fates = Fates((("a", 0.1), ("b", 0.3)), 7)
    rng = Random()
    met = Counter(fates.of(number, rng) for number in range(5000))
    assert {"a": 0.1, "b": 0.3, None: 0.6} == {name: round(count / 5000, 1) for name, count in met.items()}


@pytest.mark.parametrize(
    ("shares", "error", "message"),
    [
        ({"hang": -0.1}, ValueError, "hang must be a probability from 0 to 1, not -0.1"),
        ({"hang": float("nan")}, ValueError, "not nan"),
        ({"hang": "often"}, TypeError, "not 'often'"),
        ({"hang": True}, TypeError, "not True"),
        ({"hang": 0.6, "reset": 0.6}, ValueError, "together must not be likelier than 1, not 1.2"),
    ],
)
def test_probabilities_are_checked(shares, error, message):
    """What is no probability, or too much of it, is refused by its name."""
    with pytest.raises(error, match=message):
        require_shares(shares)


def test_a_latency_is_fixed_drawn_or_computed():
    """A duration, two bounds, or a function of a random generator."""
    rng = Random(0)
    assert 0.25 == drawn("250ms")(rng)
    assert 1 <= drawn((1, "2s"))(rng) <= 2
    assert 7 == drawn(lambda rng: 7)(rng)
    with pytest.raises(ValueError, match="must be a duration or two of them"):
        drawn((1, 2, 3))
