"""Distributions as people write them."""

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.simulator.distributions import Fixed, Lognormal, Uniform, distribution

NUMBERS = st.floats(0.001, 1e6)
ANY = (
    st.builds(Fixed, NUMBERS)
    | st.builds(lambda a, b: Uniform(min(a, b), max(a, b)), NUMBERS, NUMBERS)
    | st.builds(Lognormal, NUMBERS, st.floats(0, 2))
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (0.2, Fixed(0.2)),
        (7, Fixed(7)),
        ("250ms", Fixed(0.25)),
        (timedelta(seconds=2), Fixed(2.0)),
        ("50ms..200ms", Uniform(0.05, 0.2)),
        ("20..400", Uniform(20, 400)),
        (" lognormal(200ms, 0.5) ", Lognormal(0.2, 0.5)),
        (Uniform(1, 2), Uniform(1, 2)),
    ],
)
def test_reads_what_people_write(written, expected):
    """Numbers, strings with and without units, timedeltas and distributions are read."""
    assert expected == distribution(written)


@given(ANY)
def test_is_read_back_from_its_string(drawn):
    """`str` of a distribution is read as the same distribution."""
    assert drawn == distribution(str(drawn))


@given(ANY, st.integers())
def test_draws_are_repeatable_and_not_negative(drawn, seed):
    """The same generator gives the same value, never below 0."""
    value = drawn.draw(random.Random(seed))
    assert value == drawn.draw(random.Random(seed))
    assert value >= 0


def test_lognormal_has_the_median_it_names():
    """Half of the values of a lognormal lie below its median."""
    rng, spread = random.Random(1), Lognormal(0.2, 1.0)
    below = sum(spread.draw(rng) < 0.2 for _ in range(2_000))
    assert 900 < below < 1_100


@pytest.mark.parametrize("written", [-1, "fast", "2..", "200ms..50ms", "lognormal(0, 1)", float("nan"), "-1..2"])
def test_refuses_what_it_cannot_read(written):
    """An unreadable or negative distribution is named in the error."""
    with pytest.raises(ValueError, match="latency="):
        distribution(written, "latency")


@pytest.mark.parametrize("written", [None, True, [1, 2]])
def test_refuses_other_types(written):
    """Other types are a TypeError that says what to write."""
    with pytest.raises(TypeError, match=r"LOW\.\.HIGH"):
        distribution(written, "latency")
