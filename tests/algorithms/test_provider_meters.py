"""What a provider's bucket and rolling window promise, as properties over all histories."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.provider_meters import BucketMeter, Level, Limit, Meter, RollingMeter

STARTS = st.floats(0, 1e7)
GAPS = st.floats(0, 3)
COSTS = st.integers(1, 30)
HISTORIES = st.lists(st.tuples(GAPS, COSTS), max_size=150)


def accepted(meter, start, history):
    """Return (time, cost) of what *meter* accepts of a history of (gap, cost)."""
    taken, now = [], start
    for gap, cost in history:
        now += gap
        if meter.wait(now, cost) == 0:
            meter.take(now, cost)
            taken.append((now, cost))
    return taken


@given(STARTS, HISTORIES, st.integers(30, 600))
def test_rolling_window_never_accepts_more_than_its_limit(start, history, per_window):
    """No half-open window of the limit's length holds more than the limit."""
    taken = accepted(RollingMeter(Limit(per_window * 60, "rolling", 1.0)), start, history)
    for begin, _ in taken:
        assert sum(cost for at, cost in taken if begin <= at < begin + 1.0) <= per_window


@given(STARTS, HISTORIES, st.floats(30, 600))
def test_bucket_never_accepts_more_than_capacity_and_refill(start, history, capacity):
    """Between any two times a bucket accepts at most its capacity plus the rate times the time between."""
    meter = BucketMeter(Limit(capacity * 60 / 2, burst=2.0))
    taken = accepted(meter, start, history)
    for first, (begin, _) in enumerate(taken):
        total = 0
        for at, cost in taken[first:]:
            total += cost
            assert total <= capacity + meter.limit.rate * (at - begin) + 1e-5


@pytest.mark.parametrize("metering", ["bucket", "rolling"])
@given(start=STARTS, history=HISTORIES, cost=COSTS, penalties=st.integers(0, 40))
def test_waiting_as_told_is_enough(metering, start, history, cost, penalties):
    """Whatever happened before, whoever waits as long as told is accepted then, if nobody else comes."""
    meter = Meter.of(Limit(1800, metering, 1.0))
    accepted(meter, start, history)
    now = start + sum(gap for gap, _ in history)
    for _ in range(penalties):
        meter.penalize(now, 1)
    assert meter.wait(now + meter.wait(now, cost), cost) == 0


@given(STARTS, HISTORIES, COSTS)
def test_bucket_does_not_tell_to_wait_longer_than_needed(start, history, cost):
    """A tenth of a millisecond before the time it told, a bucket still refuses."""
    meter = BucketMeter(Limit(1800, window=1.0))
    accepted(meter, start, history)
    now = start + sum(gap for gap, _ in history)
    wait = meter.wait(now, cost)
    if wait > 0.001:
        assert meter.wait(now + wait - 0.0001, cost) > 0


@pytest.mark.parametrize("metering", ["bucket", "rolling"])
@given(corrections=st.lists(st.tuples(GAPS, COSTS, st.integers(0, 90)), max_size=60))
def test_levels_stay_between_nothing_and_capacity(metering, corrections):
    """However charges are corrected, what remains is neither negative nor above the capacity."""
    meter, now = Meter.of(Limit(1800, metering, 1.0)), 0.0
    charges = []
    for gap, cost, actual in corrections:
        now += gap
        if meter.wait(now, cost) == 0:
            charges.append(meter.take(now, cost))
        if charges:
            meter.correct(now, charges[actual % len(charges)], actual)
        level = meter.level(now)
        assert 0 <= level.remaining <= 30
        assert level.reset >= 0


def test_correcting_down_gives_room():
    """What was reserved and not used is free again at once."""
    for metering in ("bucket", "rolling"):
        meter = Meter.of(Limit(6000, metering, 1.0))
        charge = meter.take(5.0, 100)
        assert meter.wait(5.0, 60) > 0
        meter.correct(5.0, charge, 40)
        assert meter.wait(5.0, 60) == 0


def test_correcting_up_leaves_a_debt():
    """What was used beyond the reservation delays the next."""
    bucket = BucketMeter(Limit(6000, window=1.0))
    bucket.correct(0.0, bucket.take(0.0, 100), 200)
    assert bucket.wait(0.0, 50) == pytest.approx(1.5, abs=1e-5)
    assert bucket.level(0.0) == Level(6000, 0.0, 2.0)


def test_correcting_a_charge_outside_the_window_changes_nothing():
    """A rolling window owes nothing for what has left it."""
    rolling = RollingMeter(Limit(600, "rolling", 1.0))
    charge = rolling.take(0.0, 5)
    rolling.correct(1.0, charge, 500)
    assert rolling.level(1.0).remaining == 10


def test_oversized_cost_passes_a_full_bucket_and_leaves_a_debt():
    """A cost above the bucket and within a minute's worth passes when the bucket is full and is paid off."""
    bucket = BucketMeter(Limit(30_000, burst=1.0))
    assert bucket.wait(0.0, 2_000) == 0
    bucket.take(0.0, 2_000)
    assert bucket.wait(0.0, 1) == pytest.approx(3.002, abs=1e-4)


@pytest.mark.parametrize(("limit", "cost"), [(Limit(600, window=1.0), 601), (Limit(600, "rolling", 1.0), 11)])
def test_a_cost_beyond_the_largest_waits_for_ever(limit, cost):
    """A cost that can never be accepted is told to wait for ever."""
    assert limit.largest == cost - 1
    assert Meter.of(limit).wait(0.0, cost) == math.inf


def test_a_storm_of_refusals_does_not_fill_memory():
    """A rolling window remembers no more refusals than can matter."""
    rolling = RollingMeter(Limit(600, "rolling", 60.0))
    for number in range(10_000):
        rolling.penalize(number * 0.001, 1)
    assert len(rolling._log) == 600


def test_penalties_leave_a_bucket_empty_not_in_debt():
    """A bucket that refuses a storm is usable one request's time after it."""
    bucket = BucketMeter(Limit(600, window=1.0))
    for _ in range(100):
        bucket.penalize(0.0, 1)
    assert bucket.wait(0.0, 1) == pytest.approx(0.1, abs=1e-5)


def test_a_clock_that_goes_back_counts_as_standing_still():
    """A time before the last one neither refills a bucket nor empties a window."""
    for metering in ("bucket", "rolling"):
        meter = Meter.of(Limit(60, metering, 1.0))
        meter.take(10.0, 1)
        assert meter.wait(3.0, 1) == pytest.approx(1.0, abs=1e-5)


def test_becoming_smaller_caps_the_bucket():
    """A smaller limit leaves no more than its own capacity."""
    bucket = BucketMeter(Limit(6000, window=1.0))
    bucket.become(0.0, Limit(600, window=1.0))
    assert bucket.level(0.0) == Level(600, 10.0, 0.0)


def test_a_window_that_grows_does_not_remember_what_it_forgot():
    """A correction of a charge that had left the shorter window does not come back in the longer one."""
    rolling = RollingMeter(Limit(600, "rolling", 1.0))
    charge = rolling.take(0.0, 5)
    rolling.become(2.0, Limit(600, "rolling", 60.0))
    rolling.correct(2.0, charge, 50)
    assert rolling.level(2.0).remaining == 600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"per_minute": 0}, "per_minute=0"),
        ({"per_minute": math.nan}, "per_minute=nan"),
        ({"per_minute": 60, "window": -1}, "window=-1"),
        ({"per_minute": 60, "burst": math.inf}, "burst=inf"),
        ({"per_minute": 60, "metering": "leaky"}, "'leaky'"),
        ({"per_minute": 60, "metering": "rolling", "burst": 1.0}, "only a window"),
        ({"per_minute": 30, "metering": "rolling", "window": 1.0}, "at least 1"),
    ],
)
def test_a_limit_refuses_nonsense(arguments, message):
    """A limit says at construction which value is wrong."""
    with pytest.raises(ValueError, match=message):
        Limit(**arguments)
