"""The last minute, and when its error rate becomes high."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluiceway.telemetry.last_minute import RECENT, WINDOW, Episodes, LastMinute

calls = st.lists(st.tuples(st.floats(0, 400), st.booleans()), max_size=80).map(sorted)


def note(minute, now, *, bad):
    if now >= minute.until:
        minute.advance(now)
    if bad:
        minute.bad += 1
    else:
        minute.good += 1


@given(calls, st.floats(0, 200))
def test_a_call_is_seen_for_a_minute_in_whole_seconds(ended, later):
    """Seen are the calls of the current second and of the 59 before it, whatever pauses lie between."""
    minute = LastMinute(0.0)
    for at, bad in ended:
        note(minute, at, bad=bad)
    now = (ended[-1][0] if ended else 0.0) + later
    inside = [bad for at, bad in ended if int(at) > int(now) - WINDOW]
    assert (sum(inside), len(inside)) == minute.seen(now)


@given(calls, st.floats(0, 30))
def test_recent_throughput_counts_successes_of_ten_seconds(ended, later):
    """The recent throughput is the successes of the current second and the nine before, by the time they took."""
    minute = LastMinute(0.0)
    for at, bad in ended:
        note(minute, at, bad=bad)
    now = (ended[-1][0] if ended else 0.0) + later
    good = sum(not bad for at, bad in ended if int(at) > int(now) - RECENT)
    span = now - max(int(now) - RECENT + 1, 0.0)
    assert (good / span if span > 0 else 0.0) == minute.recent(now, since=0.0)


def test_a_young_session_is_not_averaged_over_time_before_it():
    """Two seconds after its start the throughput is that of two seconds."""
    minute = LastMinute(100.0)
    for _ in range(30):
        note(minute, 101.0, bad=False)
    assert 15.0 == minute.recent(102.0, since=100.0)


def test_time_that_goes_back_counts_as_now():
    """A call that ended in an earlier second counts as of the current one."""
    minute = LastMinute(0.0)
    note(minute, 50.0, bad=True)
    note(minute, 10.0, bad=True)
    assert (2, 2) == minute.seen(50.0)
    assert (2, 2) == minute.seen(109.0)
    assert (0, 0) == minute.seen(110.0)


def test_an_episode_needs_enough_calls():
    """However many fail, fewer than 50 calls are no rate."""
    episodes = Episodes(0.05)
    assert [False] * 49 == [episodes.begins(n, n) for n in range(1, 50)]
    assert episodes.begins(50, 50)


def test_an_episode_begins_above_the_threshold_not_at_it():
    """5 of 100 are not over 5 %, 6 are."""
    episodes = Episodes(0.05)
    assert not episodes.begins(5, 100)
    assert episodes.begins(6, 100)


def test_a_rate_that_wavers_is_one_episode():
    """An episode ends at half the threshold, not where it began."""
    episodes = Episodes(0.05)
    assert [True, False, False, False] == [episodes.begins(bad, 100) for bad in (6, 5, 6, 4)]
    assert not episodes.begins(3, 100)  # 2 of 99 before it: over
    assert episodes.begins(6, 100)


def test_silence_ends_an_episode():
    """After a minute without calls the next failures are another episode."""
    episodes = Episodes(0.05)
    assert episodes.begins(60, 60)
    assert [*[False] * 49, True] == [episodes.begins(n, n) for n in range(1, 51)]
