"""A rate that adapts, as the limiter that a waiting room asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.adaptive_pace import AdaptivePace
from sluiceway.algorithms.aimd import Aimd
from sluiceway.algorithms.cubic import Cubic

ONE = (1.0,)


def paced(initial=10.0, law=Cubic, burst=0.25, **settings):
    return AdaptivePace(law(initial, least=0.1, **settings), burst)


def saturate(pace, since, seconds):
    """Take whenever it can be taken; return the times."""
    taken, now = [], since
    while now < since + seconds:
        wait = pace.take(ONE, now)
        if wait == 0.0:
            taken.append(now)
        else:
            now += wait
    return taken


def test_saturated_it_doubles_each_second():
    """From 10 a second: about 10, 20 and 40 calls in the first three seconds, and 80 a second after them."""
    pace = paced()
    taken = saturate(pace, 0.0, 3.0)
    counts = [sum(1 for at in taken if second <= at < second + 1) for second in range(3)]
    assert [14, 29, 58] == pytest.approx(counts, rel=0.25)
    assert 80 == pytest.approx(pace.law.limit, rel=0.25)


def test_at_low_rates_a_doubling_takes_eight_calls():
    """One a second is not 16 after four seconds and four calls."""
    pace = paced(1.0)
    taken = saturate(pace, 0.0, 4.0)
    assert 4 <= len(taken) <= 6
    assert 2 ** ((len(taken) - 1) / 8) == pytest.approx(pace.law.limit)


@given(st.lists(st.floats(0.11, 5), max_size=50))
def test_whoever_never_waits_makes_nothing_grow(gaps):
    """At less than the rate it stays what it is, however long."""
    pace, now = paced(), 0.0
    for gap in gaps:
        now += gap
        assert 0.0 == pace.take(ONE, now)
    assert 10.0 == pace.law.limit


def test_a_gap_is_no_time_of_growth():
    """After 50 s in which nobody came, one who waits makes it grow by what he waits, not by 50 s."""
    pace = paced(law=Aimd, slow_start=False)
    saturate(pace, 0.0, 1.0)
    before = pace.law.limit
    now = 51.0
    while pace.take(ONE, now) == 0.0:
        pass
    saturate(pace, now, 2.0)
    assert before < pace.law.limit < before + 3


def test_after_a_minute_of_silence_it_doubles_again():
    """But not after half a minute."""
    for silence, doubling in ((30.0, False), (61.0, True)):
        pace = paced(100.0)
        saturate(pace, 0.0, 1.0)
        pace.refused(0.9, 1.0)
        pace.take(ONE, 1.0 + silence)
        assert doubling == pace.law.slow


def test_it_gets_no_further_ahead_than_twice_what_is_sent():
    """Callers who wait now and then, but send 20 a second, do not bring a rate of 100."""
    pace = paced(20.0, burst=0.05)
    now = 0.0
    for _ in range(4000):
        now += 0.05
        assert pace.take(ONE, now) == 0.0
        pace.take((1e9,), now)  # somebody who waits and leaves again
    assert 20 < pace.law.limit <= 42.1


def test_a_refusal_lowers_the_rate_at_which_it_lets_through():
    """To 0.7 of what was sent and not refused, from the next permit on."""
    pace = paced(100.0, law=Aimd, slow_start=False)
    saturate(pace, 0.0, 2.0)
    assert pace.refused(1.99, 2.0)
    assert 70 == pytest.approx(pace.law.limit, abs=3)
    assert 71 == pytest.approx(len(saturate(pace, 2.0, 1.0)), abs=4)


def test_a_burst_of_refusals_is_one_episode():
    """Ten refusals of calls sent together do not multiply to 0.7^10, but are counted off what the provider takes."""
    pace = paced(100.0, slow_start=False)
    saturate(pace, 0.0, 2.0)
    assert [True] + [False] * 9 == [pace.refused(1.9, 2.0 + i / 1000) for i in range(10)]
    assert pace.law.limit > 65
    assert pace.meter.at(2.01) < 95


@given(st.integers(1, 40), st.floats(0.5, 100))
def test_what_was_never_sent_is_given_back(taken, rate):
    """Permits that come back unused leave the bucket as it was."""
    pace = paced(rate)
    before = pace.levels(0.0)
    got = sum(1 for _ in range(taken) if pace.take(ONE, 0.0) == 0.0)
    for _ in range(got):
        pace.give(ONE, 0.0)
    assert before == pytest.approx(pace.levels(0.0))


@given(st.lists(st.tuples(st.sampled_from(["take", "refused", "eased", "give"]), st.floats(0, 1)), max_size=80))
def test_no_history_admits_more_than_its_rate(history):
    """In any stretch of time there are at most a burst and the highest rate's worth of permits."""
    pace, now, taken, top = paced(10.0), 0.0, [], 10.0
    for step, gap in history:
        now += gap
        if step == "take":
            while pace.take(ONE, now) == 0.0:
                taken.append(now)
        elif step == "refused":
            pace.refused(now - 0.01, now)
        elif step == "eased":
            pace.eased(now - 0.01, now, 0.9)
        elif taken:
            pace.give(ONE, now)
            taken.pop()
        top = max(top, pace.law.limit)
    for i, start in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= max(1.0, top * 0.25) + top * (taken[j] - start) + 1 + 1e-6


@given(st.floats(-1e5, 1e5))
def test_another_clock_changes_nothing(delta):
    """Moved to another clock it waits as long, and knows its episode."""
    pace = paced()
    saturate(pace, 0.0, 1.0)
    pace.refused(0.9, 1.0)
    wait = pace.wait(ONE, 1.0)
    pace.shift(delta)
    assert wait == pytest.approx(pace.wait(ONE, 1.0 + delta), abs=1e-6)
    assert not pace.refused(0.95 + delta, 1.1 + delta)


def test_it_starts_where_it_was():
    """A restored rate holds at once."""
    pace = paced()
    pace.restore(80.0, 0.0)
    assert 80 == pytest.approx(len(saturate(pace, 0.0, 1.0)), rel=0.3)
    assert "<AdaptivePace <Cubic 8" in repr(pace)
