"""What every limiter promises, whatever its algorithm: the contract of limiter.py over random histories."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.algorithms.composite import Composite
from sluiceway.algorithms.gcra import Gcra
from sluiceway.algorithms.in_flight import InFlight
from sluiceway.algorithms.sliding_window import SlidingWindow
from sluiceway.algorithms.spread import Spread
from sluiceway.algorithms.token_buckets import TokenBuckets
from sluiceway.algorithms.with_places import WithPlaces

MAKERS = {
    "buckets": TokenBuckets,
    "gcra": lambda limits: Composite([Gcra(limit, window) for limit, window in limits]),
    "paced windows": lambda limits: Composite([SlidingWindow(limit, window) for limit, window in limits]),
    "windows": lambda limits: Composite([SlidingWindow(*one, 0.0, paced=False) for one in limits]),
    "mixed": lambda limits: Composite([SlidingWindow(*limits[0]), *(Gcra(*one) for one in limits[1:])]),
    "spread": lambda limits: Spread(TokenBuckets(limits), limits[0][0] / limits[0][1]),
    "with places": lambda limits: WithPlaces(TokenBuckets(limits), InFlight(10_000)),
}
LIMITS = st.lists(
    st.tuples(st.one_of(st.integers(1, 100_000), st.floats(0.5, 1e7)), st.sampled_from([0.5, 1.0, 60.0, 86_400.0])),
    min_size=1,
    max_size=3,
)
STARTS = st.sampled_from([0.0, 7.3, 1e5, 1e7, 1.7e9])
EVERY = pytest.mark.parametrize("make", MAKERS)
SHARES = st.lists(st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1)), min_size=3, max_size=3)
HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "charge", "refund", "learn", "raise", "pause", "back"]),
        SHARES,
        st.one_of(st.sampled_from([0.0, 1e-7, 1.0]), st.floats(0, 1)),
    ),
    max_size=12,
)


def over(**strategies):
    """Run a test over as many random histories of each limiter as a quick suite allows."""
    return lambda test: settings(max_examples=40)(given(**strategies)(test))


class Told:
    """A limiter with a random past."""

    def __init__(self, make, limits, start):
        self.limiter = MAKERS[make](limits)
        self.limits = limits
        self.now = start
        self.seen = start
        self.paused_until = start

    def costs(self, shares):
        """Costs as shares of the limits, whole or not."""
        return [share * limit for share, (limit, _) in zip(shares, self.limits, strict=False)]

    def live(self, history):
        """Let *history* happen; the last step leaves `now` at the latest time told."""
        window = max(window for _, window in self.limits)
        for what, shares, gap in history:
            self.now += gap * window
            self._happen(what, self.costs(shares))
        return self

    def _happen(self, what, costs):
        limiter, now = self.limiter, self.now
        if what == "take":
            limiter.take(costs, now)
        elif what == "charge":
            limiter.adjust(costs, now)
        elif what == "refund":
            limiter.adjust([-cost for cost in costs], now)
        elif what == "learn":
            limiter.learn(0, costs[0], now)
        elif what == "raise":
            limiter.learn(0, costs[0], now, raise_to=costs[0])
        elif what == "pause":
            self.paused_until = max(self.paused_until, now + costs[0] / self.limits[0][0])
            limiter.pause(self.paused_until, now)
        else:
            limiter.take(costs, now - 3.0)


@EVERY
@over(limits=LIMITS, start=STARTS, history=HISTORIES, shares=SHARES)
def test_waiting_exactly_as_told_is_enough(make, limits, start, history, shares):
    """Whatever happened before, whoever waits exactly as long as told, alone, is admitted; at any distance from 0."""
    told = Told(make, limits, start).live(history)
    costs = told.costs(shares)
    wait = told.limiter.wait(costs, told.now)
    assert 0.0 == told.limiter.take(costs, told.now + wait)


@EVERY
@over(limits=LIMITS, start=STARTS, history=HISTORIES, shares=SHARES)
def test_wait_and_take_agree_and_a_refusal_takes_nothing(make, limits, start, history, shares):
    """`take` answers as `wait` does, asking changes nothing, and a refused take leaves every level as it was."""
    told = Told(make, limits, start).live(history)
    costs = told.costs(shares)
    before = told.limiter.levels(told.now)
    wait = told.limiter.wait(costs, told.now)
    assert before == told.limiter.levels(told.now)
    assert wait == told.limiter.take(costs, told.now)
    if wait:
        assert before == told.limiter.levels(told.now)
    else:
        after = [level - cost for level, cost in zip(before, costs, strict=True)]
        assert after == pytest.approx(told.limiter.levels(told.now), rel=1e-6, abs=1e-6 * max(x for x, _ in limits))


@EVERY
@over(limits=LIMITS, start=STARTS, history=HISTORIES, shares=SHARES, early=st.floats(0.0, 0.999))
def test_wait_is_a_lower_bound(make, limits, start, history, shares, early):
    """Nobody who comes clearly earlier than told is admitted."""
    told = Told(make, limits, start).live(history)
    costs = told.costs(shares)
    wait = told.limiter.wait(costs, told.now)
    if wait > 1e-3:
        assert told.limiter.take(costs, told.now + wait * early) > 0.0


@EVERY
@over(limits=LIMITS, start=STARTS, history=HISTORIES)
def test_a_cost_of_zero_never_waits(make, limits, start, history):
    """A call that costs nothing of a resource does not wait for that resource's debt, but for a pause."""
    told = Told(make, limits, start).live(history)
    told.limiter.adjust([limit for limit, _ in limits], told.now)
    wait = told.limiter.wait([0.0] * len(limits), told.now)
    assert (wait > 0.0) == (told.now < told.paused_until)


@EVERY
@over(limits=LIMITS, start=STARTS, history=HISTORIES, shares=SHARES, pause=st.floats(1e-3, 500), at=st.floats(0, 1))
def test_nothing_is_admitted_in_a_pause(make, limits, start, history, shares, pause, at):
    """No cost passes before the end of a pause, whatever is settled or learnt meanwhile; shorter ones do not end it."""
    told = Told(make, limits, start).live(history)
    until = told.now + pause
    told.limiter.pause(until, told.now)
    inside = told.now + pause * at
    told.limiter.pause(inside, told.now)
    told.limiter.adjust([-limit for limit, _ in limits], inside)
    told.limiter.learn(0, limits[0][0], inside, raise_to=limits[0][0])
    costs = told.costs(shares)
    if inside < until:
        assert until - inside <= told.limiter.wait(costs, inside)
        assert until - inside <= told.limiter.take(costs, inside)
        assert until - told.now <= told.limiter.take(costs, told.now)


@pytest.mark.parametrize("make", ["buckets", "gcra", "with places"])
@over(limits=LIMITS, start=STARTS, history=HISTORIES, pause=st.floats(1e-3, 500), refunds=SHARES)
def test_callers_come_back_from_a_pause_paced(make, limits, start, history, pause, refunds):
    """At the end of a pause each level is at most 1, whatever was refunded or learnt during it: no burst."""
    told = Told(make, limits, start).live(history)
    until = max(told.now + pause, told.paused_until)
    told.limiter.pause(until, told.now)
    told.limiter.adjust([-cost for cost in told.costs(refunds)], told.now + pause / 2)
    told.limiter.learn(0, limits[0][0], told.now + pause / 2, raise_to=limits[0][0])
    hair = 1e-6 + max(limit / window for limit, window in limits) * until * 1e-15
    assert all(level <= 1.0 + hair for level in told.limiter.levels(until))


@pytest.mark.parametrize("make", ["buckets", "gcra"])
def test_a_pause_refills_nothing(make):
    """A debt is as deep after a pause as before it, and is worked off from then on."""
    limiter = MAKERS[make]([(60, 60)])
    limiter.take([1], 0.0)
    limiter.adjust([10], 0.0)
    assert [-10.0] == pytest.approx(limiter.levels(0.0))
    limiter.pause(102.0, 2.0)
    assert [-8.0] == pytest.approx(limiter.levels(50.0))
    assert [-8.0] == pytest.approx(limiter.levels(102.0))
    assert [-3.0] == pytest.approx(limiter.levels(107.0))


LAGGING = {
    "buckets": lambda lag: TokenBuckets([(100, 1.0)], lag=lag),
    "gcra": lambda lag: Composite([Gcra(100, 1.0, lag=lag)]),
}
EVERY_LAGGING = pytest.mark.parametrize("make", LAGGING.values(), ids=list(LAGGING))


@EVERY_LAGGING
def test_what_was_idle_refills_a_lag_later(make):
    """A burst of 90 leaves at once; the 91st permit grows 0.2 s later than it would without the lag."""
    limiter = make(0.2)
    assert [0.0] * 90 == [limiter.take([1], 5.0) for _ in range(90)]
    assert 0.21 == pytest.approx(limiter.take([1], 5.0))
    assert [0.0] == pytest.approx(limiter.levels(5.2), abs=1e-6)
    assert [10.0] == pytest.approx(limiter.levels(5.3))


@EVERY_LAGGING
def test_what_was_full_for_a_moment_only_refills_at_once(make):
    """Full for half the lag is no idleness; full for the whole of it is."""
    limiter = make(0.2)
    limiter.take([20], 0.0)
    limiter.take([20], 0.5)  # full since 0.4
    assert [80.0] == pytest.approx(limiter.levels(0.6))
    limiter.take([20], 0.9)  # full since 0.7
    assert [70.0] == pytest.approx(limiter.levels(1.1))


@EVERY_LAGGING
def test_a_lag_costs_a_busy_limit_nothing(make):
    """Taken as fast as it gives, a limiter hands out its burst and its rate, less one lag."""
    limiter = make(0.2)
    now, taken = 0.0, 0
    while now <= 20.0:
        wait = limiter.take([1], now)
        taken += not wait
        now += wait
    assert 90 + 100 * (20 - 0.2) == pytest.approx(taken, abs=1)


@EVERY_LAGGING
def test_a_pause_shorter_than_the_lag_holds(make):
    """A pause that ends before the lag does is a pause all the same."""
    limiter = make(0.2)
    limiter.take([1], 0.0)
    limiter.pause(0.15, 0.1)
    assert limiter.take([1], 0.12) > 0.0
    assert [1.0] == pytest.approx(limiter.levels(0.2))


@EVERY
def test_a_pause_that_is_over_changes_nothing(make):
    """Retry-After: 0 is no reason to give up the burst."""
    limiter = MAKERS[make]([(6000, 60)])
    limiter.take([1], 5.0)
    before = limiter.levels(10.0)
    limiter.pause(10.0, 10.0)
    limiter.pause(9.0, 10.0)
    assert before == limiter.levels(10.0)
    assert 0.0 == limiter.wait([1], 10.0)


@pytest.mark.parametrize(
    "make", sorted(MAKERS.keys() - {"spread"})
)  # which keeps its own distance, whatever the clock says
@over(limits=LIMITS, start=STARTS, history=HISTORIES, shares=SHARES, back=st.floats(0, 1e4))
def test_time_going_backwards_is_the_latest_time(make, limits, start, history, shares, back):
    """A clock that goes backwards neither refills nor takes away."""
    one, other = (Told(make, limits, start).live(history) for _ in range(2))
    costs = one.costs(shares)
    for told in (one, other):
        told.limiter.adjust([1.0] * len(limits), told.now)
    one.limiter.take(costs, one.now - back)
    other.limiter.take(costs, other.now)
    assert one.limiter.levels(one.now) == pytest.approx(other.limiter.levels(other.now))


@EVERY
@over(limits=LIMITS, history=HISTORIES, shares=SHARES, delta=st.sampled_from([-1e5, -0.25, 0.0, 1e5]))
def test_exchanging_the_clock_changes_no_answer(make, limits, history, shares, delta):
    """After `shift` the machine decides on the new clock as it would have on the old one."""
    one, other = (Told(make, limits, 100.0).live(history) for _ in range(2))
    other.limiter.shift(delta)
    costs, now = one.costs(shares), one.now
    tiny = 1e-6 * max(limit for limit, _ in limits)
    assert one.limiter.levels(now) == pytest.approx(other.limiter.levels(now + delta), abs=tiny)
    assert one.limiter.wait(costs, now) == pytest.approx(other.limiter.wait(costs, now + delta), abs=1e-6, rel=1e-6)


@EVERY
@over(limits=LIMITS, start=STARTS, shares=SHARES)
def test_an_unused_permit_is_handed_back_whole(make, limits, start, shares):
    """A permit granted to a caller that was cancelled in the same instant leaves the levels as before."""
    told = Told(make, limits, start)
    costs = told.costs(shares)
    before = told.limiter.levels(start)
    if told.limiter.take(costs, start) == 0.0:
        told.limiter.give(costs, start, start)
    assert before == pytest.approx(told.limiter.levels(start))


@EVERY
@over(limits=LIMITS, start=STARTS, history=HISTORIES, shares=SHARES)
def test_a_refund_never_lifts_a_level_above_its_capacity(make, limits, start, history, shares):
    """However much is refunded, a level ends no higher than a fresh one, unless the provider had said more."""
    told = Told(make, limits, start)
    capacity = told.limiter.levels(start)
    told.live([step for step in history if step[0] != "raise"])
    told.limiter.adjust([-cost for cost in told.costs(shares)], told.now)
    levels = told.limiter.levels(told.now + 1e6)
    assert all(level <= top * (1 + 1e-9) for level, top in zip(levels, capacity, strict=True))


@EVERY
@over(limits=LIMITS, start=STARTS, history=HISTORIES, remaining=st.floats(0, 1))
def test_learning_lowers_and_never_raises(make, limits, start, history, remaining):
    """`level = min(level, remaining)`: a provider that reports more than we believe does not make us faster."""
    told = Told(make, limits, start).live(history)
    told.now = max(told.now, told.paused_until)
    before = told.limiter.levels(told.now)[0]
    told.limiter.learn(0, remaining * limits[0][0], told.now)
    expected = min(before, remaining * limits[0][0])
    assert expected == pytest.approx(told.limiter.levels(told.now)[0], rel=1e-6, abs=1e-6 * limits[0][0])


@EVERY
def test_the_largest_cost_is_the_whole_limit(make):
    """Callers refuse what exceeds the whole limit, and only that; the burst is no bound on one call."""
    limiter = MAKERS[make]([(500, 60), (30_000, 60)])
    assert (500, 30_000) == (limiter.largest(0), limiter.largest(1))
    assert 0.0 == limiter.take([1, 30_000], 0.0)


@EVERY
def test_what_is_settled_or_learnt_after_idleness_counts_from_then(make):
    """Time that passed before a settlement or a header has refilled first; it does not refill what came after it."""
    limiter = MAKERS[make]([(6000, 60)])
    full = limiter.levels(0.0)[0]
    limiter.take([9], 0.0)
    limiter.adjust([5], 1000.0)
    assert [full - 5] == pytest.approx(limiter.levels(1000.0))
    limiter.learn(0, 3, 2000.0)
    assert [3] == pytest.approx(limiter.levels(2000.0))


@EVERY
def test_all_or_nothing(make):
    """A call that lacks tokens takes no request either."""
    limiter = MAKERS[make]([(600, 60), (6_000, 60)])
    assert 0.0 == limiter.take([1, 6_000], 0.0)
    before = limiter.levels(0.5)
    assert limiter.take([1, 6_000], 0.5) > 1.0
    assert before == limiter.levels(0.5)


@EVERY
def test_a_large_cost_gets_its_turn(make):
    """The wait told to a large call shrinks with time alone and ends, as long as nobody is let past it."""
    limiter = MAKERS[make]([(6_000, 60)])
    limiter.take([3_000], 0.0)
    now, waits = 0.0, []
    while wait := limiter.take([6_000], now):
        waits.append(wait)
        now += wait / 2 if wait > 1 else wait
    assert sorted(waits, reverse=True) == waits
    assert now < 62.0


@EVERY
def test_every_limiter_says_what_it_is(make):
    """A repr names the limits, for whoever stops at a breakpoint."""
    assert "600" in repr(MAKERS[make]([(600, 60)]))
