"""How fast calls go out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.send_rate import SendRate


@given(st.floats(0.01, 2000), st.floats(0, 1e6), st.integers(60, 300))
def test_a_steady_stream_is_measured(rate, start, calls):
    """At any rate, from any moment, it is right within a tenth and one call."""
    meter = SendRate()
    now = start
    for i in range(max(calls, int(2 * rate))):
        now = start + i / rate
        meter.sent(now)
    assert rate == pytest.approx(meter.at(now), rel=0.1, abs=1.0)


def test_little_is_known_before_eight_calls():
    """Seven calls are no rate."""
    meter = SendRate()
    for i in range(7):
        meter.sent(i)
    assert math.inf == meter.at(7)
    meter.sent(7)
    assert 1.0 == pytest.approx(meter.at(7.6), abs=0.1)


def test_refusals_are_taken_off():
    """Of 100 a second with 70 refused the provider takes 30."""
    meter = SendRate()
    for i in range(200):
        meter.sent(i / 100)
        if i % 10 < 7:
            meter.refused(i / 100)
    assert 30 == pytest.approx(meter.at(1.99), abs=2)


def test_what_never_left_is_not_counted():
    """A permit that comes back unused was no call."""
    meter = SendRate()
    for i in range(100):
        meter.sent(i / 50)
        if i % 2:
            meter.unsent()
    assert 25 == pytest.approx(meter.at(1.98), abs=2)


def test_it_forgets_what_is_older_than_a_second():
    """After 100 in a second and then one each second it is at about one, after eight of those."""
    meter = SendRate()
    for i in range(100):
        meter.sent(i / 100)
    for i in range(2, 11):
        meter.sent(float(i))
    assert 1.0 == pytest.approx(meter.at(10.6), abs=0.1)


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=60), st.floats(-1e4, 1e4))
def test_another_clock_changes_nothing(history, delta):
    """Moved in the midst, it measures what one measures that was not."""
    meter, moved, now = SendRate(), SendRate(), 0.0
    for gap, refused in history:
        now += gap + 0.01
        meter.sent(now)
        moved.sent(now)
        if refused:
            meter.refused(now)
            moved.refused(now)
    moved.shift(delta)
    assert meter.at(now) == pytest.approx(moved.at(now + delta), rel=0.01, abs=1.0)
