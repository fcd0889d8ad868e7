"""An exact log: what no rolling window ever sees, what pacing yields, what is kept and corrected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.sliding_window import SlidingWindow

NANO = 1e-9  # what rounding of times may make of a window
SETTINGS = st.fixed_dictionaries(
    {
        "limit": st.one_of(st.integers(1, 40), st.floats(0.5, 40)),
        "window": st.sampled_from([0.25, 1.0, 60.0]),
        "margin": st.sampled_from([0.0, 0.02]),
        "paced": st.booleans(),
        "granularity": st.sampled_from([None, 0, 0.01, 0.1]),
    }
)
STARTS = st.sampled_from([0.0, 3.3, 1e6])
ARRIVALS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 0.5, 0.001]), st.floats(0, 1)),
        st.one_of(st.sampled_from([1.0, 0.1]), st.floats(0.001, 1)),
        st.sampled_from(["wait as told", "come", "come", "come", "pause", "refund", "settle", "learn"]),
    ),
    max_size=60,
)


def busiest(admitted, window):
    """Return the largest sum of costs in any half-open span of *window* seconds."""
    worst, total, first = 0.0, 0.0, 0
    for at, cost in admitted:
        total += cost
        while admitted[first][0] <= at - window + NANO:
            total -= admitted[first][1]
            first += 1
        worst = max(worst, total)
    return worst


def greedy(machine, costs, seconds, late=0.0):
    """Return what one caller gets who wakes *late* seconds after the time told, every time."""
    now, admitted = 0.0, []
    while now < seconds:
        cost = costs[len(admitted) % len(costs)]
        wait = machine.take(cost, now)
        if wait:
            now += wait + late
        else:
            admitted.append((now, cost))
    return admitted


def share_used(admitted, limit, window):
    """Return the share of the limit used after the first window."""
    last = admitted[-1][0]
    return sum(cost for at, cost in admitted if at >= window) / (limit * (last - window) / window)


@given(SETTINGS, STARTS, ARRIVALS)
def test_no_rolling_window_ever_exceeds_the_limit(settings, start, arrivals):
    """Whoever comes whenever: no half-open span of `window` seconds sees more than `limit`, refunds included."""
    settings["granularity"] = settings["granularity"] and settings["granularity"] * settings["window"]
    machine = SlidingWindow(**settings)
    limit, window, now, admitted = settings["limit"], settings["window"], start, []
    for gap, share, what in arrivals:
        now += gap * window
        cost = share * limit
        if what == "wait as told":
            now += machine.wait(cost, now)
        if what == "pause":
            machine.pause(now + share, now)
        elif what == "learn":
            machine.learn(cost, now, raise_to=limit)
        elif what == "refund" and admitted:
            i = int(share * (len(admitted) - 1))
            at, kept = admitted[i]
            machine.adjust(-kept / 2, now, at)
            admitted[i] = at, kept / 2
        elif what == "settle" and admitted:
            at, kept = admitted[-1]
            machine.adjust(-kept / 2, now)  # nobody says which: the log must not forget too much
            admitted[-1] = at, kept / 2
        elif machine.take(cost, now) == 0.0:
            admitted.append((now, cost))
    assert busiest(admitted, window) <= limit * (1 + 1e-6)


@given(
    st.integers(1, 20),
    st.integers(1, 16),
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 10)), max_size=80),
)
def test_without_margin_pace_and_granules_it_is_the_textbook_log(limit, window, arrivals):
    """With all three off, whole numbers pass exactly when the last `window` seconds hold no more than `limit`."""
    machine, log, now = SlidingWindow(limit, window, 0.0, paced=False, granularity=0), [], 0
    for gap, share in arrivals:
        now += gap
        cost = max(1, share * limit // 10)
        log = [(at, spent) for at, spent in log if at + window > now]
        fits = sum(spent for _, spent in log) + cost <= limit
        assert fits == (machine.take(cost, now) == 0.0)
        if fits:
            log.append((now, cost))
        else:
            free = next(at + window for i, (at, _) in enumerate(log) if sum(s for _, s in log[i + 1 :]) + cost <= limit)
            assert free - now == pytest.approx(machine.wait(cost, now))


@pytest.mark.parametrize("granularity", [None, 0, 0.25])
@pytest.mark.parametrize("window", [1.0, 60.0])
def test_cost_equal_to_the_limit_passes_when_the_window_is_empty(window, granularity):
    """The largest cost there is passes at once, and again one window and margin later."""
    machine = SlidingWindow(500.5, window, granularity=granularity)
    assert 0.0 == machine.take(500.5, 10.0)
    assert window + 0.02 == pytest.approx(machine.take(500.5, 10.0))
    assert 0.0 == machine.take(500.5, 10.0 + machine.wait(500.5, 10.0))


def test_fractions_leave_no_crumbs():
    """An emptied log is empty, whatever adding and subtracting fractions made of the sum."""
    machine = SlidingWindow(1.0, 1.0, 0.0, paced=False, granularity=0)
    for i in range(10):
        assert 0.0 == machine.take(0.1, i * 0.01)
    assert 1.0 == machine.level(5.0)
    assert 0.0 == machine.take(1.0, 5.0)


@pytest.mark.parametrize(("late", "least"), [(0.0, 0.95), (0.01, 0.90)])
@pytest.mark.parametrize(
    ("limit", "window", "costs"),
    [
        (1, 1.0, [1]),
        (3, 1.0, [1]),
        (100, 1.0, [1]),
        (1000, 1.0, [1]),
        (600, 60.0, [1]),
        (30_000, 60.0, [200]),
        (30_000, 60.0, [200, 2000, 50]),
        (100_000, 1.0, [1, 37, 900]),
    ],
)
def test_pacing_costs_little_throughput(limit, window, costs, late, least):
    """More than 95 % of the limit is used by callers who wake on time, over 90 % by those always 10 ms late."""
    admitted = greedy(SlidingWindow(limit, window), costs, 5 * window, late)
    assert least < share_used(admitted, limit, window)
    assert busiest(admitted, window) <= limit


@given(st.integers(1, 2000), st.lists(st.floats(0, 0.04), min_size=50, max_size=50))
def test_pacing_spreads_permits_over_the_window(limit, gaps):
    """No tenth of a window sees more than its share, 50 ms worth and one permit."""
    machine, now, admitted = SlidingWindow(limit, 1.0), 0.0, []
    for gap in gaps:
        now += gap
        while machine.take(1, now) == 0.0:
            admitted.append((now, 1))
    assert busiest(admitted, 0.1) <= limit * 0.15 + 1


def test_without_pacing_a_window_may_go_at_once():
    """A day's limit is counted, not spread: 1,000 a day would otherwise be one in 86 seconds."""
    machine = SlidingWindow(1000, 86_400, paced=False)
    assert all(machine.take(1, 0.0) == 0.0 for _ in range(1000))
    assert 86_400.02 == pytest.approx(machine.take(1, 0.0))


@given(st.sampled_from([None, 0.001, 0.1]), st.lists(st.floats(0, 0.003), max_size=400))
def test_memory_is_bounded_by_the_granules(granularity, gaps):
    """However many permits pass, the log keeps about one entry a granule."""
    machine, now = SlidingWindow(1e9, 0.5, paced=False, granularity=granularity), 0.0
    for gap in gaps:
        now += gap
        machine.take(1, now)
        assert len(machine._stamps) <= 0.52 / (granularity or 0.5 / 1440) + 2


def test_a_day_of_permits_fits_in_a_minute_each():
    """A day at one permit a second keeps some 1,440 entries, and still refuses at the limit."""
    machine = SlidingWindow(86_400, 86_400, paced=False)
    assert all(machine.take(1, float(second)) == 0.0 for second in range(86_400))
    assert len(machine._stamps) <= 1442
    assert machine.take(1, 86_400.0) > 0.0


def test_merged_entries_are_forgotten_late_not_early():
    """Two permits of one granule leave together, when the later one may."""
    machine = SlidingWindow(2, 10.0, 0.0, paced=False, granularity=1.0)
    machine.take(1, 0.0)
    machine.take(1, 0.9)
    assert machine.take(1, 10.5) > 0.0
    assert 0.0 == machine.take(2, 10.9)


def test_a_correction_finds_its_entry():
    """Settling with the permit's time frees what it had reserved, and no other permit's share later on."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False, granularity=0)
    machine.take(60, 0.0)
    machine.take(40, 5.0)
    machine.adjust(-50, 6.0, 0.0)
    assert 50 == machine.level(6.0)
    assert 60 == machine.level(10.0)
    assert 100 == machine.level(15.0)


def test_a_correction_of_a_forgotten_permit_changes_nothing():
    """A call longer than the window settles what nobody counts any more; its neighbour's entry stays."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False, granularity=1.0)
    machine.take(60, 0.0)
    machine.take(40, 1.0)
    machine.adjust(-60, 10.5, 0.0)
    machine.adjust(500, 10.5, 0.0)
    assert 60 == machine.level(10.5)


def test_a_correction_within_a_merged_granule_takes_that_granule():
    """The permit's time lies inside the granule whose stamp is later."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False, granularity=1.0)
    machine.take(10, 0.0)
    machine.take(20, 0.4)
    machine.take(30, 0.8)
    machine.take(40, 2.0)
    machine.adjust(-20, 3.0, 0.4)
    assert [20, 60, 100] == [machine.level(3.0), machine.level(10.8), machine.level(12.0)]


def test_settling_upwards_is_a_debt_that_only_delays_later_ones():
    """Usage above the limit makes the level negative until the entry leaves the window."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False)
    machine.take(50, 0.0)
    machine.adjust(200, 1.0, 0.0)
    assert -150 == machine.level(1.0)
    assert 9.0 == pytest.approx(machine.take(1, 1.0))
    assert 0.0 == machine.take(100, 10.0)


def test_a_charge_without_a_time_counts_from_now():
    """Nobody says when: it is kept as long as if it had happened just now."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False)
    machine.take(10, 0.0)
    machine.adjust(20, 4.0)
    assert [70, 80, 100] == [machine.level(4.0), machine.level(10.0), machine.level(14.0)]


def test_a_refund_without_a_time_is_taken_from_the_oldest():
    """Nobody says when: what would have been forgotten first is given back, so that nothing is forgotten early."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False)
    machine.take(60, 0.0)
    machine.take(40, 5.0)
    machine.adjust(-70, 6.0)
    assert [70, 70, 100] == [machine.level(6.0), machine.level(10.0), machine.level(15.0)]
    machine.take(20, 20.0)
    machine.adjust(-50, 20.0)
    assert 100 == machine.level(20.0)


def test_a_refund_also_hastens_the_pace():
    """An estimate that was ten times too high does not keep the next permit waiting for it."""
    machine = SlidingWindow(6000, 60.0, 0.0)
    machine.take(1000, 0.0)
    machine.take(1000, machine.wait(1, 0.0))
    before = machine.wait(1, 10.0)
    machine.adjust(-900, 10.0, 0.0)
    assert 9.0 == pytest.approx(before - machine.wait(1, 10.0), abs=0.1)


def test_a_pause_ends_with_one_permit_and_the_pace():
    """After a pause a paced window sends one at once and the others at their distance; no burst."""
    machine = SlidingWindow(600, 60.0, 0.0)
    machine.take(1, 0.0)
    machine.pause(30.0, 1.0)
    machine.adjust(-1, 20.0, 0.0)
    assert 29.0 == pytest.approx(machine.wait(1, 1.0))
    assert 0.0 == machine.take(1, 30.0)
    assert 0.1 == pytest.approx(machine.take(1, 30.0))
    assert 1 == len([1 for _ in range(5) if machine.take(1, 30.14) == 0.0])


def test_a_pause_takes_the_slack_that_late_callers_have():
    """Waiting out a pause earns no catching up: after it the second permit comes one full distance after the first."""
    machine = SlidingWindow(600, 60.0, 0.0)
    machine.take(1, 0.0)
    machine.pause(30.0, 1.0)
    assert 0.0 == machine.take(1, 30.0)
    assert 0.1 == pytest.approx(machine.take(1, 30.0))


def test_a_pause_without_pace_is_a_gate():
    """A day's count opens again as it was: its pace is that of the other limits beside it."""
    machine = SlidingWindow(1000, 86_400.0, paced=False)
    machine.pause(30.0, 1.0)
    machine.adjust(-1, 20.0, 0.0)
    assert 29.0 == pytest.approx(machine.take(1, 1.0))
    assert all(machine.take(1, 30.0) == 0.0 for _ in range(1000))


def test_a_wait_told_in_a_pause_includes_what_comes_after_it():
    """Who asks during a pause is told when the window will have room, not merely when the pause ends."""
    machine = SlidingWindow(10, 60.0, 0.0, paced=False)
    machine.take(10, 0.0)
    machine.pause(20.0, 5.0)
    assert 55.0 == pytest.approx(machine.wait(1, 5.0))
    assert 0.0 == machine.take(1, 5.0 + machine.wait(1, 5.0))


def test_what_the_provider_counts_of_others_ends_after_a_window():
    """Remaining below ours means that somebody else uses the key: that is charged until it must have left."""
    machine = SlidingWindow(100, 60.0, 0.0, paced=False)
    machine.take(10, 0.0)
    machine.learn(30, 5.0)
    assert 30 == machine.level(5.0)
    assert 0.0 == machine.take(30, 6.0)
    assert 54.0 == pytest.approx(machine.take(1, 6.0))
    assert 10 == machine.level(60.0)
    assert 70 == machine.level(65.0)


def test_others_share_ends_without_permits_of_ours_too():
    """A key that only others use is learnt once and forgotten after a window."""
    machine = SlidingWindow(100, 60.0, 0.0, paced=False)
    machine.learn(30, 5.0)
    assert [30, 100] == [machine.level(64.0), machine.level(65.0)]


def test_the_provider_may_take_back_others_share_but_not_our_own():
    """`raise_to` lowers what was learnt; permits of our own stay in the log, so the window stays exact."""
    machine = SlidingWindow(100, 60.0, 0.0, paced=False)
    machine.take(40, 0.0)
    machine.learn(20, 1.0)
    machine.learn(50, 2.0, raise_to=50)
    assert 50 == machine.level(2.0)
    machine.learn(100, 3.0, raise_to=100)
    assert 60 == machine.level(3.0)


def test_waits_look_at_ours_and_others_in_order():
    """The wait for room counts what leaves first, be it in our log or learnt."""
    machine = SlidingWindow(100, 60.0, 0.0, paced=False, granularity=0)
    machine.take(10, 0.0)
    machine.learn(50, 10.0)
    machine.take(50, 20.0)
    assert 40.0 == pytest.approx(machine.wait(10, 20.0))
    assert 50.0 == pytest.approx(machine.wait(50, 20.0))
    assert 60.0 == pytest.approx(machine.wait(100, 20.0))


def test_a_cost_above_a_shrunken_limit_passes_alone():
    """A call that was let into the queue before the limit shrank is not stuck there: it takes an empty window."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False)
    machine.take(5, 0.0)
    machine.resize(20, 10.0, 1.0)
    assert 9.0 == pytest.approx(machine.take(50, 1.0))
    assert 0.0 == machine.take(50, 10.0)
    assert -30 == machine.level(10.0)


def test_resizing_keeps_the_log():
    """A smaller limit counts what passed under the larger one; a longer window keeps what the log still has."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False, granularity=0)
    machine.take(60, 0.0)
    machine.resize(50, 10.0, 1.0)
    assert -10 == machine.level(1.0)
    machine.resize(50, 20.0, 2.0)
    assert -10 == machine.level(15.0)
    assert 50 == machine.level(20.0)
    assert 50 == machine.largest()


def test_resizing_keeps_the_granules_share_of_the_window():
    """The number of entries that memory is bounded by does not depend on how often the window changed."""
    machine = SlidingWindow(1e6, 10.0, 0.0, paced=False, granularity=1.0)
    machine.resize(1e6, 100.0, 0.0)
    for i in range(1000):
        machine.take(1, i / 10)
    assert len(machine._stamps) <= 12


def test_a_shorter_window_forgets_sooner():
    """After a day's window became a second's, permits no longer share the minute that a day merges."""
    machine = SlidingWindow(2, 86_400.0, 0.0, paced=False)
    machine.take(1, 0.0)
    machine.resize(2, 1.0, 0.5)
    assert 0.0 == machine.take(1, 0.6)
    assert 0.4 == pytest.approx(machine.take(1, 0.6))
    assert 0.0 == machine.take(1, 1.0)
    assert 0.6 == pytest.approx(machine.take(1, 1.0))


def test_the_level_follows_a_shorter_window_at_once():
    """What a shorter window would have forgotten is forgotten at its time, also if nobody asks for a permit."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False)
    machine.take(60, 0.0)
    machine.resize(100, 2.0, 1.0)
    assert [40, 100] == [machine.level(1.9), machine.level(2.0)]


def test_what_was_forgotten_stays_so_on_another_clock():
    """After the clock was exchanged a late settlement still finds that its permit has left the window."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False, granularity=5.0)
    machine.take(60, 0.0)
    machine.take(40, 6.0)
    assert 60 == machine.level(11.0)
    machine.shift(1000.0)
    machine.adjust(-60, 1011.0, 1000.0)
    assert 60 == machine.level(1011.0)
    machine.take(10, 1010.9)
    assert [50, 90] == [machine.level(1015.9), machine.level(1016.0)]


def test_a_correction_of_a_permit_nobody_took_changes_nothing():
    """A time after the last entry names none."""
    machine = SlidingWindow(100, 10.0, 0.0, paced=False)
    machine.take(10, 0.0)
    machine.adjust(-5, 6.0, 5.0)
    assert 90 == machine.level(6.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 0}, "limit=0"),
        ({"window": -1}, "window=-1"),
        ({"margin": -0.1}, "margin=-0.1"),
        ({"granularity": 31}, "at most half of window=60"),
        ({"granularity": -1}, "granularity=-1"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    """An error names the setting, its value and what is allowed."""
    with pytest.raises(ValueError, match=message):
        SlidingWindow(**{"limit": 10, "window": 60} | settings)


def test_a_bad_new_size_changes_nothing():
    """A refused resize leaves the machine as it was."""
    machine = SlidingWindow(10, 60)
    with pytest.raises(ValueError, match="limit=-1"):
        machine.resize(-1, 60, 0.0)
    assert 10 == machine.largest()
    assert "<SlidingWindow 10 of 10 left in 60.02 s, paced>" == repr(machine)
