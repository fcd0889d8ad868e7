"""A rate and a place in flight, taken together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.composite import Composite
from sluiceway.algorithms.gcra import Gcra
from sluiceway.algorithms.in_flight import InFlight
from sluiceway.algorithms.token_buckets import TokenBuckets
from sluiceway.algorithms.with_places import WithPlaces


def make(places=2):
    """Ten requests and a hundred tokens a second, with burst, and two places."""
    return WithPlaces(TokenBuckets([(600, 60), (6000, 60)], burst=1.0), InFlight(places))


def test_without_a_place_only_a_leaver_helps():
    """A full house answers None and takes no permit; a place given back opens it again."""
    limiter = make()
    assert [0.0, 0.0, None] == [limiter.take([1, 10], 0.0) for _ in range(3)]
    assert (8.0, 80.0) == limiter.levels(0.0)
    assert limiter.wait([1, 10], 99.0) is None
    limiter.places.give()
    assert 0.0 == limiter.wait([1, 10], 0.0) == limiter.take([1, 10], 0.0)


def test_without_a_permit_no_place_is_taken():
    """A call never holds a place while it waits for tokens."""
    limiter = make()
    limiter.take([1, 100], 0.0)
    limiter.places.give()
    assert 0.5 == pytest.approx(limiter.take([1, 50], 0.0))
    assert 0 == limiter.places.held


def test_an_unused_permit_returns_its_place_too():
    """Granted and cancelled in one instant: permit and place come back."""
    limiter = make()
    limiter.take([1, 10], 0.0)
    limiter.give([1, 10], 0.0, 0.0)
    assert (0, (10.0, 100.0)) == (limiter.places.held, limiter.levels(0.0))


def test_the_rest_is_the_limiters():
    """Settling, learning, pausing and the largest cost are those of the limiter inside."""
    limiter = make()
    limiter.adjust([0, 30], 0.0)
    limiter.learn(0, 4, 0.0)
    assert (4.0, 70.0) == limiter.levels(0.0)
    limiter.pause(10.0, 0.0)
    assert 10.0 == pytest.approx(limiter.wait([1, 0], 0.0))
    assert (600, 6000) == (limiter.largest(0), limiter.largest(1))
    assert "InFlight 0 of 2" in repr(limiter)


@given(
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["take", "take", "leave", "cancel"]), st.floats(0, 0.5)), max_size=80),
)
def test_places_and_permits_are_conserved(composite, steps):
    """Through any storm of takes, leavers and cancellations the places held are those inside, never above the limit."""
    rate = Composite([Gcra(600, 60), Gcra(6000, 60)]) if composite else TokenBuckets([(600, 60), (6000, 60)])
    limiter, now, inside = WithPlaces(rate, InFlight(3)), 0.0, 0
    for what, gap in steps:
        now += gap
        if what == "take":
            before = limiter.levels(now)
            answer = limiter.take([1, 10], now)
            inside += answer == 0.0
            assert (answer is None) == (inside == 3 and before == limiter.levels(now))
        elif inside:
            inside -= 1
            if what == "leave":
                limiter.places.give()
            else:
                limiter.give([1, 10], now, now)
        assert inside == limiter.places.held <= 3
