"""A queue that stands is told from a burst by the shortest of its waits, and from its grants how long one will wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.sojourn import Sojourn


def test_nothing_is_known_before_somebody_has_waited():
    """And nothing is said."""
    watch = Sojourn(3.0, 30.0)
    watch.seen(100, 0.0)
    assert (None, False) == (watch.expected(100, 1.0), watch.standing(1.0))


def test_a_queue_that_lets_nobody_out_from_its_start_on_is_known_when_it_stands():
    """The first answer may take its time; after target and interval it is late."""
    watch = Sojourn(3.0, 30.0)
    watch.seen(5, 0.0)
    assert (None, 2 * 33.0) == (watch.expected(1, 32.9), watch.expected(1, 33.0))


def test_the_expected_wait_is_the_number_ahead_times_the_mean_gap():
    """And one more, for the call itself."""
    watch = Sojourn(3.0, 30.0)
    for second in range(1, 11):
        watch.granted(min(5.0, second * 0.5), second * 0.5)
    assert 0.5 * 21 == pytest.approx(watch.expected(20, 5.0), rel=0.2)


def test_time_in_which_nobody_waited_is_no_gap():
    """A grant after an hour of rest, of somebody who waited a second, tells of a second."""
    watch = Sojourn(3.0, 30.0)
    watch.granted(1.0, 1.0)
    watch.granted(1.0, 3_601.0)
    assert 1.0 == watch.expected(0, 3_601.0)


def test_a_queue_that_is_held_up_shows_it():
    """With nobody let out, the expected wait grows, and after target and interval the queue stands."""
    watch = Sojourn(3.0, 30.0)
    watch.granted(1.0, 1.0)
    watch.seen(5, 1.0)
    assert watch.expected(5, 21.0) > 5 * watch.expected(5, 1.5)
    assert (False, True) == (watch.standing(33.0), watch.standing(34.0))


def above(watch, start, end):
    """Let one leave each second from *start* to *end* who has waited too long; return at which seconds it stood."""
    stood = []
    for second in range(start, end):
        watch.granted(4.0, float(second))
        watch.seen(9, float(second))
        if watch.standing(float(second)):
            stood.append(second)
    return stood


def test_a_queue_stands_when_all_wait_too_long_for_an_interval():
    """One short wait before, and the interval begins anew."""
    watch = Sojourn(3.0, 30.0)
    assert [] == above(watch, 0, 30)
    watch.granted(2.9, 30.0)
    assert [61, 62] == above(watch, 31, 63)


def test_a_queue_that_stood_stands_until_it_is_empty():
    """Short waits are what it is held at; an empty queue is over, but soon comes back."""
    watch = Sojourn(3.0, 30.0)
    assert [30] == above(watch, 0, 31)
    watch.granted(1.0, 31.0)
    assert watch.standing(31.0)
    watch.seen(0, 32.0)
    assert not watch.standing(32.0)
    assert [36, 37] == above(watch, 33, 38)  # three seconds are enough, now
    watch.seen(0, 38.0)
    assert [130] == above(watch, 100, 131)


def test_a_clock_that_starts_anew_starts_it_anew():
    """What was seen on another clock is forgotten."""
    watch = Sojourn(3.0, 30.0)
    for second in range(1_000, 1_040):
        watch.granted(9.0, float(second))
    watch.seen(3, 0.0)
    assert (False, None) == (watch.standing(0.0), watch.expected(3, 0.0))


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=100))
def test_a_queue_that_begins_to_stand_had_no_short_wait_in_the_last_interval(steps):
    """Whatever the waits and the pauses."""
    watch = Sojourn(3.0, 8.0)
    now, waits = 0.0, []
    for pause, waited in steps:
        now += pause
        watch.granted(waited, now)
        waits.append((now, waited))
        if watch.standing(now):
            assert all(waited >= 3.0 for at, waited in waits if now - at < 8.0)
            return
