"""Places: never more inside than the limit of the moment lets in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.in_flight import InFlight


def test_shrinking_and_growing_again_lets_nobody_in_early():
    """Shrink 10 to 2 with 10 inside, grow to 4: nobody enters before 7 have left (a limiter elsewhere let 12 in)."""
    places = InFlight(10)
    assert [0.0] * 10 == [places.take() for _ in range(10)]
    places.resize(2)
    assert -8 == places.level()
    places.resize(4)
    entered = []
    for _ in range(7):
        entered.append(places.take())
        places.give()
    assert [None] * 7 == entered
    assert (3, 0.0, None) == (places.held, places.take(), places.take())


@given(st.lists(st.one_of(st.sampled_from(["take", "take", "give"]), st.integers(1, 12)), max_size=200))
def test_nobody_enters_above_the_limit(steps):
    """A take succeeds exactly when it leaves no more inside than the limit of that moment."""
    places, inside = InFlight(3), 0
    limit = 3
    for step in steps:
        if step == "take":
            fits = inside < limit
            assert (0.0 if fits else None) == places.wait() == places.take()
            inside += fits
        elif step == "give":
            if inside:
                places.give()
                inside -= 1
        else:
            limit = step
            places.resize(limit)
        assert inside == places.held


def test_a_place_cannot_come_back_twice():
    """Giving back more than is held is somebody's mistake, and is said at once."""
    places = InFlight(2)
    places.take()
    places.give()
    with pytest.raises(RuntimeError, match="1 places were given back, but only 0 are held"):
        places.give()


def test_rates_do_not_touch_places():
    """Settling, learning and pausing leave the places alone; a cost of 0 always fits."""
    places = InFlight(1)
    places.take()
    places.adjust(5, 0.0)
    places.learn(0, 0.0)
    places.pause(100.0, 0.0)
    assert (0.0, 0.0, None) == (places.take(0), places.wait(0), places.take(1, 100.0))
    places.charge()
    assert (2, 1, "<InFlight 2 of 1>") == (places.held, places.largest(), repr(places))


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_limit_is_a_whole_number(limit, error):
    """At least one place, and no halves."""
    with pytest.raises(error, match=f"limit={limit!r} must be"):
        InFlight(limit)
    places = InFlight(3)
    with pytest.raises(error, match=f"limit={limit!r} must be"):
        places.resize(limit)
    assert 3 == places.limit
