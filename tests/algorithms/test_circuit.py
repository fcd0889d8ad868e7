"""When a circuit opens, whom it lets through meanwhile, and how it comes back."""

from copy import deepcopy
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.circuit import Circuit
from sluiceway.algorithms.circuit_facts import Refusal, Transition

RNG = Random(5)
HALF_A_MINUTE = 30.0


def admitted(circuit, now, rng=RNG):
    """Return the permit that *circuit* must give at *now*."""
    permit = circuit.admit(now, rng)
    assert isinstance(permit, int), permit
    return permit


def refused(circuit, now, rng=RNG):
    """Return the refusal that *circuit* must give at *now*."""
    refusal = circuit.admit(now, rng)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def opened(now=0.0, **settings):
    """Return a circuit that 20 failures have opened at *now*."""
    circuit = Circuit(**settings)
    for _ in range(20):
        circuit.failure(admitted(circuit, now), now)
    assert "open" == circuit.state
    return circuit


def half_opened(**settings):
    """Return a circuit that has just let its first probe through, the time, and the probe."""
    circuit = opened(**settings)
    now = refused(circuit, 0.0).retry_after
    return circuit, now, admitted(circuit, now)


def ramping(**settings):
    """Return a circuit that three probes have just closed, and the time."""
    circuit, now, probe = half_opened(**settings)
    circuit.success(probe, now)
    circuit.success(admitted(circuit, now), now)
    circuit.success(admitted(circuit, now), now)
    return circuit, now


def test_it_counts_while_it_refuses_calls_or_has_failures_in_its_window():
    """Who keeps many circuits may forget one that does not count: a new one would do the same."""
    circuit = Circuit()
    assert not circuit.counts(0.0)
    circuit.success(admitted(circuit, 0.0), 0.0)
    assert not circuit.counts(1.0)
    circuit.failure(admitted(circuit, 1.0), 1.0)
    assert (True, False) == (circuit.counts(50.0), circuit.counts(100.0))
    circuit.isolate()
    assert circuit.counts(1e9)


def test_it_counts_from_its_opening_to_the_end_of_its_ramp():
    """One that nobody comes to try counts for the longest time that it may be open."""
    circuit = opened(max_open_for=300.0)
    assert (True, False) == (circuit.counts(299.0), circuit.counts(301.0))
    circuit, now, _ = half_opened(open_for=300.0, max_open_for=300.0)
    assert (True, False) == (circuit.counts(now + 299.0), circuit.counts(now + 301.0))
    circuit, now = ramping(ramp=30.0)
    assert (True, False) == (circuit.counts(now + 29.0), circuit.counts(now + 31.0))


def test_it_opens_at_half_of_twenty():
    """Nineteen failures mean nothing; with the twentieth result and half of them failed it opens."""
    circuit = Circuit()
    for i in range(20):
        assert "closed" == circuit.state
        circuit.failure(0, 1.0) if i % 2 else circuit.success(0, 1.0)
    assert [Transition("closed", "open", 1.0, "10 of 20 calls failed")] == list(circuit.transitions)


def test_a_success_may_be_the_twentieth_result():
    """What counts is the share once there are enough results, whichever kind completes them."""
    circuit = Circuit()
    for _ in range(19):
        circuit.failure(0, 1.0)
    circuit.success(0, 1.0)
    assert "open" == circuit.state


def test_below_the_ratio_it_stays_closed():
    """Nine failures in twenty are not half."""
    circuit = Circuit()
    for i in range(2000):
        circuit.failure(0, i / 100) if i % 2 and i % 20 != 19 else circuit.success(0, i / 100)
    assert ("closed", 0) == (circuit.state, len(circuit.transitions))


def test_failures_are_forgotten_after_the_window():
    """Nineteen failures, an hour of silence and one more: that is one failure (buckets turn by time, not by calls)."""
    circuit = Circuit()
    for _ in range(19):
        circuit.failure(0, 0.0)
    for _ in range(19):
        circuit.failure(0, 3600.0)
    assert ("closed", 19) == (circuit.state, circuit.snapshot(3600.0).calls)
    assert 0 == circuit.snapshot(3700.0).calls


def test_slow_calls_open_it():
    """A provider that answers only after `slow_call` seconds is as good as down; just below it is not."""
    circuit = Circuit(slow_call=5.0, slow_ratio=0.5)
    for _ in range(50):
        circuit.success(0, 0.0, 4.999)
    for _ in range(49):
        circuit.success(0, 0.0, 5.0)
    assert ("closed", 49) == (circuit.state, circuit.snapshot().slow)
    circuit.success(0, 0.0, 5.0)
    assert "50 of 100 calls took 5 s or more" == circuit.transitions[-1].reason


def test_nobody_is_slow_without_a_limit():
    """Without `slow_call` an hour is not slow."""
    circuit = Circuit()
    for _ in range(50):
        circuit.success(0, 0.0, 3600.0)
    assert ("closed", 0) == (circuit.state, circuit.snapshot().slow)


def test_cancelled_callers_do_not_open_it():
    """Callers who leave say nothing about the provider; nor do our own refusals and mistakes."""
    circuit = Circuit(min_calls=1)
    for _ in range(50):
        circuit.neutral(admitted(circuit, 0.0), 0.0)
    assert ("closed", 0) == (circuit.state, circuit.snapshot().calls)


def test_a_429_is_no_failure_while_closed():
    """A provider that says "slow down" is alive."""
    circuit = Circuit(min_calls=1)
    circuit.throttled(admitted(circuit, 0.0), 0.0)
    assert ("closed", 0) == (circuit.state, circuit.snapshot().calls)


def test_a_probe_that_meets_a_429_has_failed():
    """When half-open a 429 means: not yet."""
    circuit, now, probe = half_opened()
    circuit.throttled(probe, now)
    assert "open" == circuit.state


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_it_stays_open_for_a_jittered_and_doubling_time(seed, openings):
    """The i-th opening lasts `b/2 + U(0, b/2)` with `b = min(300, 30 * 2**i)`, and no call passes before its end."""
    rng, now = Random(seed), 100.0
    circuit = opened(now)
    for i in range(openings):
        bound = min(300.0, HALF_A_MINUTE * 2**i)
        wait = refused(circuit, now, rng).retry_after
        assert bound / 2 <= wait <= bound
        assert "open" == refused(circuit, now + wait * 0.999, rng).state
        now += wait
        circuit.failure(admitted(circuit, now, rng), now)
    assert openings + 1 == circuit.snapshot().openings


def test_a_fleet_does_not_probe_in_one_instant():
    """A hundred circuits that opened together come back spread over half the time open."""
    rng = Random(1)
    times = sorted(refused(opened(), 0.0, rng).retry_after for _ in range(100))
    assert times[-1] - times[0] > 13.0
    assert max(later - earlier for earlier, later in pairwise(times)) < 2.0


def test_time_open_passes_while_nobody_asks():
    """Chance is drawn by the first who asks, but counts from the opening."""
    circuit = opened(now=10.0)
    admitted(circuit, 41.0)
    assert "half_open" == circuit.state


def test_one_of_fifty_passes_when_half_open():
    """Fifty callers arrive at once: one is the probe (elsewhere all fifty pass)."""
    circuit = opened()
    now = refused(circuit, 0.0).retry_after
    permits = [circuit.admit(now, RNG) for _ in range(50)]
    assert 1 == sum(isinstance(permit, int) for permit in permits)
    assert Refusal("half_open", 3.0) == permits[-1]


def test_so_many_probes_at_a_time():
    """With `probes=3` three are inside; a result lets the next one in."""
    circuit, now, first = half_opened(probes=3, close_after=10)
    admitted(circuit, now)
    admitted(circuit, now)
    assert "half_open" == refused(circuit, now).state
    circuit.success(first, now)
    admitted(circuit, now)
    refused(circuit, now)
    assert (3, 1) == (circuit.snapshot().probes_inside, circuit.snapshot().successes)


def test_three_successes_close_it():
    """After `close_after` successes, one after the other, it closes with an empty window, at first on a ramp."""
    circuit, _ = ramping()
    assert ["open", "half_open", "ramping"] == [change.new for change in circuit.transitions]
    assert ("ramping", 0) == (circuit.state, circuit.snapshot().calls)


def test_one_failed_probe_opens_it_again():
    """Two successes do not make up for a failure, and the next half-open begins to count anew."""
    circuit, now, probe = half_opened()
    circuit.success(probe, now)
    circuit.success(admitted(circuit, now), now)
    circuit.failure(admitted(circuit, now), now)
    assert ("open", "a probe failed") == (circuit.state, circuit.transitions[-1].reason)
    now += refused(circuit, now).retry_after
    circuit.success(admitted(circuit, now), now)
    assert ("half_open", 1) == (circuit.state, circuit.snapshot().successes)


def test_a_slow_probe_has_failed():
    """A provider that answers its probe too slowly has not recovered."""
    circuit, now, probe = half_opened(slow_call=5.0)
    circuit.success(probe, now, 6.0)
    assert ("open", "a probe took 6 s") == (circuit.state, circuit.transitions[-1].reason)


def test_a_cancelled_probe_gives_its_place_back():
    """It neither closes nor opens the circuit (elsewhere it counts as a success), and the next caller probes."""
    circuit, now, probe = half_opened(close_after=1)
    circuit.neutral(probe, now)
    assert ("half_open", 0) == (circuit.state, circuit.snapshot().probes_inside)
    circuit.success(admitted(circuit, now), now)
    assert "ramping" == circuit.state


def test_a_place_comes_back_once():
    """A probe that reports twice, cancelled and then failed, is heard once."""
    circuit, now, probe = half_opened()
    circuit.neutral(probe, now)
    other = admitted(circuit, now)
    circuit.failure(probe, now)
    circuit.neutral(probe, now)
    assert ("half_open", 1) == (circuit.state, circuit.snapshot().probes_inside)
    circuit.failure(other, now)
    assert "open" == circuit.state


def test_a_hung_probe_does_not_block_for_ever():
    """After `open_for` seconds without a result its place goes to another, and its late result is not heard."""
    circuit, now, hung = half_opened()
    assert 1.0 == pytest.approx(refused(circuit, now + 29.0).retry_after)
    wait = 0.0
    while isinstance(refusal := circuit.admit(now + wait, RNG), Refusal):
        wait += refusal.retry_after
    assert HALF_A_MINUTE == pytest.approx(wait)
    circuit.failure(hung, now + 40.0)
    assert ("half_open", 1) == (circuit.state, circuit.snapshot().probes_inside)


def test_results_of_an_older_generation_are_not_heard():
    """Calls that began before the circuit opened do not count once it has closed again, nor while it probes."""
    circuit = Circuit()
    old = admitted(circuit, 0.0)
    for _ in range(20):
        circuit.failure(old, 0.0)
    now = refused(circuit, 0.0).retry_after
    circuit.failure(old, 1.0)
    admitted(circuit, now)
    for report in (circuit.success, circuit.failure, circuit.neutral, circuit.throttled):
        report(old, now)
    assert ("half_open", 1) == (circuit.state, circuit.snapshot().probes_inside)
    circuit, now = ramping()
    for _ in range(50):
        circuit.failure(old, now)
    assert ("ramping", 0) == (circuit.state, circuit.snapshot().calls)


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.9, 0.95])
def test_the_ramp_lets_a_growing_share_through(part):
    """From a tenth of the calls to all of them over `ramp` seconds; the others are told to come back soon."""
    circuit, now = ramping()
    rng, moment = Random(3), now + part * HALF_A_MINUTE
    answers = [circuit.admit(moment, rng) for _ in range(4000)]
    share = sum(isinstance(answer, int) for answer in answers) / 4000
    assert 0.1 + 0.9 * part == pytest.approx(share, abs=0.03)
    waits = {answer.retry_after for answer in answers if isinstance(answer, Refusal)}
    assert [min(3.0, (1 - part) * HALF_A_MINUTE)] == pytest.approx(list(waits))


def test_after_the_ramp_all_pass_and_doubling_starts_afresh():
    """When the ramp is over the circuit is closed, and its next opening is a first one."""
    circuit, now = ramping()
    now += HALF_A_MINUTE
    permits = [admitted(circuit, now) for _ in range(100)]
    circuit.failure(permits[-1], now)
    assert 1 == circuit.snapshot().calls
    assert ("closed", "the ramp is over", 0) == (
        circuit.state,
        circuit.transitions[-1].reason,
        circuit.snapshot().openings,
    )


def test_failures_on_the_ramp_open_it_again_for_longer():
    """A provider that falls over again while it gets its load back is given twice the time."""
    circuit, now = ramping()
    live = next(answer for answer in (circuit.admit(now, RNG) for _ in range(500)) if isinstance(answer, int))
    for _ in range(20):
        circuit.failure(live, now + 1.0)
    assert ("open", 2) == (circuit.state, circuit.snapshot().openings)
    assert 30.0 <= refused(circuit, now + 1.0).retry_after <= 60.0


def test_failures_after_an_unnoticed_end_of_the_ramp_are_a_first_opening():
    """The ramp ends by time, also if only results, and no callers, come after it."""
    circuit, now = ramping()
    live = next(answer for answer in (circuit.admit(now, RNG) for _ in range(500)) if isinstance(answer, int))
    for _ in range(20):
        circuit.failure(live, now + 31.0)
    assert ["closed", "open"] == [change.new for change in list(circuit.transitions)[-2:]]
    assert 1 == circuit.snapshot().openings


def test_without_a_ramp_it_closes_at_once():
    """`ramp=0` lets all pass after the last probe."""
    circuit, now = ramping(ramp=0)
    assert "closed" == circuit.state
    assert 0 == circuit.snapshot().openings
    assert all(isinstance(circuit.admit(now, RNG), int) for _ in range(50))


def test_isolated_by_hand_it_stays_so():
    """Nothing passes and nothing reopens it, however long; only a person can say until when."""
    circuit = Circuit()
    inside = admitted(circuit, 0.0)
    circuit.isolate(5.0)
    circuit.isolate(6.0)
    circuit.success(inside, 6.0)
    assert Refusal("isolated", None) == refused(circuit, 1e9)
    assert [Transition("closed", "isolated", 5.0, "isolated by hand")] == list(circuit.transitions)


@pytest.mark.parametrize("make", [Circuit, opened, lambda: half_opened()[0], lambda: ramping()[0]])
def test_reset_by_hand_closes_from_any_state(make):
    """At once and without a ramp, with nothing counted; what was inside is not heard any more."""
    circuit = make()
    inside = circuit.admit(1e4, RNG)
    circuit.reset(1e4, "we know better")
    assert ("closed", 0, 0) == (circuit.state, circuit.snapshot().openings, circuit.snapshot().probes_inside)
    if isinstance(inside, int):
        circuit.failure(inside, 1e4)
    assert 0 == circuit.snapshot().calls
    circuit.isolate()
    circuit.reset()
    assert Transition("isolated", "closed", None, "reset by hand") == circuit.transitions[-1]


def test_a_reset_of_a_closed_circuit_is_no_change():
    """It forgets what was counted and is not reported."""
    circuit = Circuit()
    circuit.failure(admitted(circuit, 0.0), 0.0)
    circuit.reset(1.0)
    assert (0, 0) == (circuit.snapshot().calls, len(circuit.transitions))


def test_transitions_wait_for_a_shell_but_not_without_end():
    """Nobody asked for 100 changes: the last 32 are there, oldest first."""
    circuit = Circuit()
    for i in range(50):
        circuit.isolate(float(i))
        circuit.reset(i + 0.5)
    assert (32, 34.0, 49.5) == (len(circuit.transitions), circuit.transitions[0].at, circuit.transitions[-1].at)


@given(
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0.0, 20.0]),
    st.lists(
        st.tuples(
            st.sampled_from(["admit"] * 6 + ["success"] * 3 + ["failure"] * 4 + ["neutral", "throttled", "by hand"]),
            st.one_of(st.sampled_from([0.0, 0.1, 10.0, 31.0]), st.floats(0, 60)),
            st.floats(0, 0.999),
        ),
        max_size=150,
    ),
)
def test_through_any_history_the_promises_hold(seed, probes, close_after, ramp, steps):
    """Never more than `probes` inside when half-open, nobody when open, all when closed; changes form a chain."""
    rng, now, inside = Random(seed), 0.0, []
    circuit = Circuit(min_calls=3, probes=probes, close_after=close_after, ramp=ramp, open_for=10.0, slow_call=20.0)
    told, newest = [], 0
    for what, gap, pick in steps:
        now += gap
        if what == "admit":
            was = circuit.state
            answer = circuit.admit(now, rng)
            if isinstance(answer, int):
                assert answer >= newest
                newest = answer
                inside.append((answer, now))
                assert circuit.state in {"closed", "half_open", "ramping"}
                assert was != "isolated"
            else:
                assert circuit.state == answer.state != "closed"
                assert (answer.retry_after is None) == (answer.state == "isolated")
                assert answer.retry_after is None or answer.retry_after > 0.0
        elif what == "by hand":
            circuit.isolate(now) if pick < 0.3 else circuit.reset(now)
        elif inside:
            permit, since = inside.pop(int(pick * len(inside)))
            report = getattr(circuit, what)
            report(permit, now, now - since) if what == "success" else report(permit, now)
        shot = circuit.snapshot()
        assert shot.probes_inside <= (probes if circuit.state == "half_open" else 0)
        assert shot.successes < close_after
        assert 0 <= shot.failures <= shot.calls >= shot.slow
        told.extend(circuit.transitions)
        circuit.transitions.clear()
    assert all(one.new == other.old and one.at <= other.at for one, other in pairwise(told))
    assert circuit.state == (told[-1].new if told else "closed")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"failure_ratio": 0}, "failure_ratio=0 must be above 0"),
        ({"failure_ratio": 1.1}, r"failure_ratio=1.1 must be at most 1"),
        ({"slow_ratio": -1}, "slow_ratio=-1"),
        ({"window": 0}, "window=0"),
        ({"min_calls": 0}, "min_calls=0"),
        ({"slow_call": 0}, "slow_call=0"),
        ({"open_for": 0}, "open_for=0"),
        ({"open_for": 400}, "max_open_for=300.0 must be at least open_for=400"),
        ({"probes": 0}, "probes=0"),
        ({"close_after": 0}, "close_after=0"),
        ({"ramp": -1}, "ramp=-1"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    """An error names the setting, its value and what is allowed."""
    with pytest.raises(ValueError, match=message):
        Circuit(**settings)


def test_it_says_how_it_is():
    """A repr tells the state and why it is near the next one."""
    circuit = Circuit()
    circuit.failure(0, 0.0)
    assert "<Circuit closed, 1 of 1 calls failed, 0 slow>" == repr(circuit)


@pytest.mark.parametrize("make", [opened, lambda: half_opened()[0], lambda: ramping()[0]])
def test_it_goes_on_by_another_clock(make):
    """Whatever it waits for, open, half-open or ramping, lasts as long on a clock that started anew."""
    kept = make()
    kept.admit(10.0, Random(1))
    shifted = deepcopy(kept)
    shifted.shift(-3600.0)
    for now in range(10, 100):
        ours = shifted.admit(now - 3600.0, Random(now))
        theirs = kept.admit(float(now), Random(now))
        assert (type(theirs), kept.state) == (type(ours), shifted.state)
        if isinstance(theirs, Refusal):
            assert theirs.retry_after == pytest.approx(ours.retry_after)
