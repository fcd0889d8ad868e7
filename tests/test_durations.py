"""Durations as people write them."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.durations import in_words, optional_seconds, parse, seconds


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (30, 30.0),
        (1.5, 1.5),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("1h 30m 5s", 5405.0),
        (" 5 s ", 5.0),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("10us", 1e-5),
        ("2d", 172800.0),
        (timedelta(hours=1, milliseconds=5), 3600.005),
    ],
    ids=str,
)
def test_numbers_strings_and_timedeltas_are_seconds(written, expected):
    """A number is seconds; a string names its units, largest or smallest first; a timedelta is what it is."""
    assert math.isclose(expected, seconds(written), rel_tol=1e-12)


@pytest.mark.parametrize(
    "written", ["", "5", "s", "5 minutes", "5s!", "-5s", "1e3s", "5S", "ms5", "5m s", "nan", "inf"]
)
def test_what_cannot_be_read_is_refused_with_what_can(written):
    """A number in a string without its unit too: nobody knows whether "5" is seconds."""
    assert parse(written) is None
    with pytest.raises(
        ValueError, match=r'limit=.* is not a duration: write a number of seconds, a string such as "250'
    ):
        seconds(written, "limit")


@pytest.mark.parametrize("written", [None, True, [5], b"5s", 5j, object], ids=repr)
def test_other_types_are_refused(written):
    """True is no number of seconds."""
    with pytest.raises(TypeError, match=r"limit=.* is not a duration"):
        seconds(written, "limit")


@pytest.mark.parametrize(
    "written", [-1, -0.001, math.inf, -math.inf, math.nan, timedelta(seconds=-1), 10**400], ids=lambda t: f"{t}"[:9]
)
def test_negative_and_endless_times_are_refused(written):
    """Time runs forward and ends; zero is refused unless it means something."""
    with pytest.raises(ValueError, match=r"limit=.* must be more than 0 seconds and finite"):
        seconds(written, "limit")
    with pytest.raises(ValueError, match=r"limit=.* must be at least 0 seconds and finite"):
        seconds(written, "limit", zero=True)


@pytest.mark.parametrize("written", [0, 0.0, "0s", timedelta()], ids=repr)
def test_zero_is_a_duration_only_where_it_is_allowed(written):
    """A limit of zero means something, a window of zero does not."""
    assert 0.0 == seconds(written, zero=True)
    with pytest.raises(ValueError, match="more than 0"):
        seconds(written)


def test_none_stays_none_where_there_may_be_no_limit():
    """Everything else is as for `seconds`."""
    assert optional_seconds(None) is None
    assert 5.0 == optional_seconds("5s")
    with pytest.raises(ValueError, match="idle="):
        optional_seconds(0, "idle")
    assert 0.0 == optional_seconds(0, "max_wait", zero=True)


@given(st.text(alphabet="0123456789. smhdu", max_size=20))
def test_any_text_is_a_time_or_none(text):
    """Reading never fails, and what it reads is not negative."""
    found = parse(text)
    assert found is None or found >= 0


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_units_add_up(hours, minutes, whole, millis):
    """A time written in parts is their sum."""
    expected = timedelta(hours=hours, minutes=minutes, seconds=whole, milliseconds=millis).total_seconds()
    assert math.isclose(expected, parse(f"{hours}h{minutes}m{whole}s{millis}ms"), abs_tol=1e-9)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.35, "0.35 s"), (12.4, "12.4 s"), (250, "4 min 10 s"), (11_100, "3 h 05 min"), (216_000, "2.5 days")],
)
def test_seconds_are_written_as_people_say_them(seconds, words):
    """With as many digits as tell something."""
    assert words == in_words(seconds)
