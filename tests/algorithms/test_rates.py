"""Settings are checked once, by name; waits survive rounding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms import rates


@pytest.mark.parametrize("check", [rates.positive, rates.at_least_zero, rates.share])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), -0.001])
def test_numbers_out_of_range_are_value_errors(check, value):
    """A negative or endless number is refused with its name and value."""
    with pytest.raises(ValueError, match=f"knob={value!r} must be at least 0"):
        check(value, "knob")


@pytest.mark.parametrize("check", [rates.positive, rates.at_least_zero, rates.share, rates.whole])
@pytest.mark.parametrize("value", ["1", None, True])
def test_what_is_no_number_is_a_type_error(check, value):
    """Strings, None and booleans are refused with their name and value."""
    with pytest.raises(TypeError, match=f"knob={value!r} must be"):
        check(value, "knob")


def test_the_edges_are_where_they_are_said_to_be():
    """0 is allowed only where it is said; a share goes up to 1; whole numbers begin at 1."""
    assert (0.0, 1.0, 1) == (rates.at_least_zero(0, "x"), rates.share(1, "x"), rates.whole(1, "x"))
    for check in (rates.positive, rates.share):
        with pytest.raises(ValueError, match="must be above 0"):
            check(0, "x")
    with pytest.raises(ValueError, match="must be at most 1"):
        rates.share(1.01, "x")
    with pytest.raises(ValueError, match="must be at least 1"):
        rates.whole(0, "x")
    with pytest.raises(ValueError, match="not a usable rate"):
        rates.rate_of(1e-200, 1e200)


@given(st.floats(-1e10, 1e10), st.floats(0, 1e6))
def test_a_padded_wait_reaches_its_end(now, wait):
    """`now + padded(wait)` is never before `now + wait`, and hardly after."""
    padded = rates.padded(wait, now)
    assert (now + padded) - now >= wait
    assert padded - wait <= 1e-8 + 1e-15 * (abs(now) + wait)
