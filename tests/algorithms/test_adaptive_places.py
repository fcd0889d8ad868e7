"""Places whose number adapts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.adaptive_places import AdaptivePlaces
from sluiceway.algorithms.aimd import Aimd
from sluiceway.algorithms.cubic import Cubic


def places(initial=10, law=Aimd, **settings):
    return AdaptivePlaces(law(initial, least=1, **settings))


def test_slow_start_brings_nearly_a_place_for_each_success():
    """Ten successes of ten full places make about twenty."""
    found = places()
    found.held = 10
    for _ in range(10):
        found.succeeded(0.0, waiting=True)
        found.held = found.limit
    assert 16 <= found.limit <= 20


def test_later_a_round_trip_brings_one_place():
    """After a refusal, as many successes as there are places bring one."""
    found = places(100, slow_start=False)
    found.held = 100
    assert found.refused(0.0, 1.0)
    assert 70 == found.limit
    grew = [found.succeeded(2.0, waiting=True) for _ in range(71)]
    assert (71, 1) == (found.limit, grew.count(True))


def test_it_grows_only_where_the_places_are_what_holds_us():
    """With fewer than half of them taken and nobody waiting, a success says nothing."""
    found = places(10)
    found.held = 4
    for _ in range(100):
        assert not found.succeeded(0.0, waiting=False)
    assert 10 == found.limit
    found.held = 5
    for _ in range(10):
        found.succeeded(0.0, waiting=False)
    assert found.limit > 10


def test_it_falls_from_what_was_in_flight():
    """Of 100 places with 40 taken, 28 are left; a burst of refusals is one."""
    found = places(100)
    found.held = 40
    assert found.refused(0.0, 1.0)
    assert 28 == found.limit
    assert not found.refused(0.5, 1.1)


def test_in_a_pause_nobody_enters():
    """Until it ends, also for who compares held and limit by hand; then there are as many places as before."""
    found = places(10)
    found.pause(5.0, 0.0)
    assert 0 == found.limit
    assert 5.0 == pytest.approx(found.take(1, 0.0))
    assert 2.0 == pytest.approx(found.wait(1, 3.0))
    found.pause(4.0, 3.0)
    assert 5.0 == found.until
    assert 0.0 == found.wait(1, 5.1)
    assert 0.0 == found.take(1, 5.1)
    assert (1, 10) == (found.held, found.limit)


def test_after_a_minute_without_success_it_doubles_again():
    """Nobody knows what the provider bears by now."""
    found = places(10)
    found.held = 10
    found.succeeded(0.0, waiting=True)
    found.refused(0.0, 1.0)
    found.succeeded(30.0, waiting=True)
    assert not found.law.slow
    found.succeeded(91.0, waiting=True)
    assert found.law.slow


storms = st.lists(
    st.tuples(st.sampled_from(["take", "give", "refused", "eased", "pause", "restore", "shift"]), st.floats(0, 3)),
    max_size=80,
)


@given(st.sampled_from([Aimd, Cubic]), st.integers(1, 20), storms)
def test_whatever_happens_places_are_conserved(law, initial, storm):
    """Never more enter than the limit, never in a pause; who is inside stays, and in the end there is a place."""
    found, now, inside = places(initial, law, most=50), 0.0, 0
    for step, amount in storm:
        now += amount
        if step == "take":
            answer = found.take(1, now)
            if answer == 0.0:
                inside += 1
                assert inside <= found.limit <= 50
                assert now >= found.until
            else:
                assert answer is None or answer > 0
        elif step == "give" and inside:
            found.succeeded(now, waiting=False)
            found.give()
            inside -= 1
        elif step == "refused":
            found.refused(now - amount, now)
        elif step == "eased":
            found.eased(now - amount, now, 0.9)
        elif step == "pause":
            found.pause(now + amount, now)
        elif step == "restore":
            found.restore(1 + amount * 10)
        elif step == "shift":
            found.shift(amount)
            now += amount
        assert inside == found.held
        assert 1 <= found.law.limit <= 50
    for _ in range(inside):
        found.give()
    assert 0.0 == found.take(1, now + 100)


def test_its_repr_shows_places_and_law():
    """For snapshots and debuggers."""
    assert "<AdaptivePlaces 0 of 10, <Aimd 10, doubling>>" == repr(places())
