"""GCRA is a token bucket that remembers one time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.gcra import Gcra
from sluiceway.algorithms.token_buckets import TokenBuckets

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "adjust", "refund", "learn", "raise", "pause", "resize"]),
        st.one_of(st.sampled_from([0.0, 0.001, 1.0]), st.floats(0, 10)),
        st.one_of(st.integers(0, 300), st.floats(0, 300)),
    ),
    max_size=50,
)


def test_it_decides_as_the_formula_says():
    """`TAT' = max(now, TAT) + n / rate`, allowed if `now >= TAT' - burst`."""
    machine = Gcra(60, 60, burst=3.0)
    tat, now = 0.0, 0.0
    for gap, n in [(0, 1), (0, 2), (0, 1), (0.5, 1), (0.5, 1), (4, 2), (0.25, 2), (1, 1), (9, 3), (0, 1)]:
        now += gap
        moved = max(now, tat) + n
        allowed = now >= moved - 3.0
        assert allowed == (machine.take(n, now) == 0.0)
        if allowed:
            tat = moved


@given(STEPS, st.floats(1, 500), st.floats(0, 3))
def test_it_is_a_token_bucket(steps, limit, burst):
    """Through any history it answers as a bucket does, and what it calls its level is the bucket's."""
    gcra, bucket, now = Gcra(limit, 60, burst), TokenBuckets([(limit, 60)], burst), 100.0
    for what, gap, value in steps:
        now += gap
        if what == "take":
            one, other = gcra.take(value, now), bucket.take([value], now)
            assert one == pytest.approx(other, abs=1e-6)
            if (one == 0.0) != (other == 0.0):  # they differ in the last digit: agree on what happened
                gcra.charge(value if one else 0.0, now)
                bucket.adjust([value if other else 0.0], now)
        elif what in {"adjust", "refund"}:
            delta = value if what == "adjust" else -value
            gcra.adjust(delta, now)
            bucket.adjust([delta], now)
        elif what in {"learn", "raise"}:
            raise_to = value / 2 if what == "raise" else None
            gcra.learn(value, now, raise_to=raise_to)
            bucket.learn(0, value, now, raise_to=raise_to)
        elif what == "pause":
            gcra.pause(now + value / 10, now)
            bucket.pause(now + value / 10, now)
        else:
            gcra.resize(limit + value, 60, now)
            bucket.resize([(limit + value, 60)], now)
        assert bucket.levels(now)[0] == pytest.approx(gcra.level(now), abs=1e-5)


def test_a_cost_above_the_burst_leaves_a_debt():
    """It is admitted when TAT has passed, not before, and pushes TAT beyond the burst."""
    machine = Gcra(60, 60, burst=2.0)
    assert 0.0 == machine.take(10, 0.0)
    assert -8.0 == machine.level(0.0)
    assert 9.0 == pytest.approx(machine.take(1, 0.0))
    assert 10.0 == pytest.approx(machine.take(10, 0.0))


def test_a_burst_shorter_than_one_permit_is_one_permit():
    """With `burst=0` permits are evenly spaced, and the first one does not wait."""
    machine = Gcra(60, 60, burst=0)
    assert 0.0 == machine.take(1, 5.0)
    assert 1.0 == pytest.approx(machine.take(1, 5.0))


def test_what_was_learnt_above_the_burst_goes_first():
    """What the provider grants above the burst neither grows nor shrinks by time, and is spent before the burst."""
    machine = Gcra(600, 60)
    machine.learn(400, 0.0, raise_to=380)
    assert (380.0, 380.0) == (machine.level(0.0), machine.level(100.0))
    assert (0.0, 0.0) == (machine.wait(300, 100.0), machine.take(300, 100.0))
    assert 80.0 == machine.level(110.0)
    assert 0.0 == machine.take(79, 110.0)
    assert 1.0 == pytest.approx(machine.level(110.0))
    assert 0.1 == pytest.approx(machine.take(2, 110.0))
    machine.learn(9000, 110.0, raise_to=9000)
    assert 600.0 == machine.level(110.0)


def test_an_unused_permit_moves_tat_back():
    """What a permit had moved forward, handing it back moves back; but never to before now."""
    machine = Gcra(60, 60, burst=10.0)
    machine.take(4, 0.0)
    machine.take(2, 1.0)
    machine.give(4, 1.0)
    assert 9.0 == pytest.approx(machine.level(1.0))
    machine.give(2, 1.0)
    assert 10.0 == machine.level(1.0)


def test_it_says_what_it_is():
    """A repr names the limit, the rate and the burst."""
    assert "<Gcra 60 at 1/s, burst 0.9 s>" == repr(Gcra(60, 60))


@pytest.mark.parametrize("settings", [{"limit": 0, "window": 60}, {"limit": 1, "window": -1}])
def test_bad_settings_are_refused(settings):
    """Limits and windows are above 0."""
    with pytest.raises(ValueError, match="must be a"):
        Gcra(**settings)
    with pytest.raises(ValueError, match="must be a"):
        Gcra(1, 1).resize(**settings, now=0.0)
