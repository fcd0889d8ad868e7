"""The delays between attempts: the formulas, the cap, and chance that is handed in."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.backoff import Backoff, ceiling, delay_after

ALL = ["full", "equal", "decorrelated", "none"]
SEEDS = st.integers(0, 2**32)
RETRIES = st.one_of(st.integers(0, 12), st.sampled_from([63, 64, 1023, 1024, 5000, 10**30]))
BASES = st.one_of(st.sampled_from([0.0, 0.5, 1e-300]), st.floats(0, 100))


@given(SEEDS, RETRIES, BASES, st.floats(0, 1000))
def test_full_jitter_is_anything_up_to_the_bound(seed, i, base, cap):
    """`d = U(0,1) * min(cap, base * 2**i)`."""
    delay = Backoff(base, cap, "full").delay(i, Random(seed))
    assert ceiling(i, base, cap) * Random(seed).random() == pytest.approx(delay)


@given(SEEDS, RETRIES, BASES, st.floats(0, 1000))
def test_equal_jitter_keeps_half(seed, i, base, cap):
    """`b/2 + U(0, b/2)`."""
    bound = ceiling(i, base, cap)
    delay = Backoff(base, cap, "equal").delay(i, Random(seed))
    assert bound / 2 + bound / 2 * Random(seed).random() == pytest.approx(delay)


@given(SEEDS, st.floats(0.01, 10), st.floats(10, 1000), st.floats(1, 50))
def test_decorrelated_jitter_grows_from_the_last_delay(seed, base, cap, times):
    """`U(base, 3 * previous)`, as long as that stays under the cap; the first follows the base."""
    backoff, chance = Backoff(base, cap, "decorrelated"), Random(seed).random()
    assert base + chance * (min(cap, 3 * base) - base) == pytest.approx(backoff.delay(0, Random(seed)))
    previous = base * times
    expected = base + chance * (min(cap, 3 * previous) - base)
    assert expected == pytest.approx(backoff.delay(9, Random(seed), previous=previous))


def test_without_jitter_it_doubles_up_to_the_cap():
    """`b = min(cap, base * 2**i)`: half a second, one, two, and so on."""
    backoff = Backoff(0.5, 30.0, "none")
    assert [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] == [backoff.delay(i, Random(0)) for i in range(8)]


@pytest.mark.parametrize("jitter", ALL)
@given(SEEDS, RETRIES, BASES, st.floats(0, 1000), st.booleans())
def test_no_delay_exceeds_the_cap(jitter, seed, i, base, cap, throttled):
    """Attempt 5,000 overflows nothing, and no delay lies outside 0 and the cap."""
    backoff, rng, previous = Backoff(base, cap, jitter), Random(seed), None
    for _ in range(4):
        previous = backoff.delay(i, rng, previous=previous, throttled=throttled)
        assert 0.0 <= previous <= cap


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated"])
def test_at_the_cap_clients_still_spread(jitter):
    """2,000 clients at the cap return over at least half of it, no two percent at one instant."""
    backoff, rng = Backoff(0.5, 30.0, jitter), Random(7)
    delays = sorted(backoff.delay(20, rng, previous=30.0) for _ in range(2000))
    assert delays[-1] - delays[0] > 14.0
    assert 40 > max(sum(1 for other in delays if d <= other < d + 0.1) for d in delays)


def test_a_429_doubles_the_base():
    """The first bound after a 429 is twice that after another error, and the cap stays."""
    assert [1.0, 2.0, 30.0] == [Backoff(0.5, 30.0, "none").delay(i, Random(0), throttled=True) for i in (0, 1, 9)]
    assert 1.0 <= Backoff(0.5, 30.0, "decorrelated").delay(0, Random(0), throttled=True) <= 3.0


def test_the_previous_delay_belongs_to_one_call():
    """The backoff remembers nothing: two calls with the same chance and the same past wait the same time."""
    backoff = Backoff(0.5, 30.0, "decorrelated")
    alone = backoff.delay(1, Random(1), previous=2.0)
    backoff.delay(1, Random(2), previous=29.0)
    assert alone == backoff.delay(1, Random(1), previous=2.0)
    with pytest.raises(AttributeError):
        backoff.base = 1.0


@given(SEEDS, st.floats(0, 200), st.floats(0, 30), st.floats(1, 60))
def test_retry_after_is_kept_but_for_the_cap(seed, retry_after, jittered, cap):
    """`max(jittered, min(retry_after, cap)) + U(0, 10 %)`: never earlier than asked, and siblings spread."""
    asked = max(jittered, min(retry_after, cap))
    delay = delay_after(retry_after, jittered, cap, Random(seed))
    assert asked * (1 + 0.1 * Random(seed).random()) == pytest.approx(delay)
    assert asked <= delay <= asked * 1.1 + 1e-9


def test_an_hour_of_retry_after_is_capped():
    """A header that asks for an hour does not hang the call for one."""
    assert 30.0 <= delay_after(3600.0, 1.0, 30.0, Random(0)) <= 33.0
    assert 30.0 <= delay_after(float("inf"), 1.0, 30.0, Random(0)) <= 33.0


@pytest.mark.parametrize("retry_after", [None, -1.0, float("nan")])
def test_an_unusable_retry_after_leaves_the_backoff(retry_after):
    """Without a number of seconds the jittered delay stands as it is."""
    assert 1.25 == delay_after(retry_after, 1.25, 30.0, Random(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"base": -1}, "base=-1"), ({"cap": float("inf")}, "cap=inf"), ({"jitter": "some"}, "'full', 'equal'")],
)
def test_bad_settings_are_refused_by_name(settings, message):
    """An error names the setting, its value and what is allowed."""
    with pytest.raises(ValueError, match=message):
        Backoff(**settings)
