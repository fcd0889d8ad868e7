"""Delays in headers: every form that providers use, and what they never should have sent."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.providers import retry_after as module
from sluiceway.providers.retry_after import LONGEST, RetryAfter, date, delay, number, retry_after

NOW = 1_772_366_400.0  # 2026-03-01T12:00:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("1h2m3s", 3723.0),
        ("1m30.951s", 90.951),
        ("0s", 0.0),
        ("1d", 86400.0),
        (" 20ms ", 0.02),
        ("-3s", 0.0),
    ],
)
def test_durations(text, seconds):
    """A reset is read as OpenAI writes it: `120ms` is not 120 minutes and `0s` is zero, not unknown."""
    assert seconds == pytest.approx(delay(text, NOW))


@pytest.mark.parametrize(("text", "seconds"), [("12", 12.0), ("1.5", 1.5), ("0", 0.0), ("-5", 0.0), ("1e2", 100.0)])
def test_plain_numbers_are_seconds(text, seconds):
    """A plain number, as Azure writes under the same names, is a number of seconds, and 0 if negative."""
    assert seconds == delay(text, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-01T12:00:30Z", 30.0),
        ("2026-03-01T12:00:30.5Z", 30.5),
        ("2026-03-01T13:01:00+01:00", 60.0),
        ("2026-03-01T12:00:30", 30.0),
        ("2026-03-01T11:00:00Z", 0.0),
        ("Sun, 01 Mar 2026 12:00:20 GMT", 20.0),
        ("Sunday, 01-Mar-26 12:00:20 GMT", 20.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
    ],
)
def test_dates(text, seconds):
    """A moment, RFC 3339 or an HTTP date, is the time until it, without a zone as UTC, and 0 once past."""
    assert seconds == delay(text, NOW)


@pytest.mark.parametrize(
    "text", ["", "soon", "nan", "inf", "-inf", "1_000", "٣", "1s2", "12 parsecs", "2026-99-99T", "9" * 99]
)
def test_garbage_is_none(text):
    """What is no delay is None, also where `float` would take it, and never an exception."""
    assert delay(text, NOW) is None


@pytest.mark.parametrize("text", ["9" * 30, "1e999", "99999999h", "2999-01-01T00:00:00Z"])
def test_huge_delays_are_bounded(text):
    """A delay beyond a year is reported as `LONGEST`: finite, and still too long for every deadline."""
    assert delay(text, NOW) == LONGEST


def test_milliseconds_come_first():
    """`retry-after-ms` is preferred to `retry-after`, being the finer of the two."""
    said = retry_after({"retry-after-ms": "250", "retry-after": "1"})
    assert RetryAfter(0.25, "retry-after-ms") == said


def test_unreadable_milliseconds_fall_back():
    """An unreadable `retry-after-ms` does not hide a readable `retry-after`."""
    said = retry_after({"retry-after-ms": "soon", "retry-after": "2"})
    assert RetryAfter(2.0, "retry-after") == said


def test_http_date():
    """`retry-after` may be a date, counted from the wall clock's time that we are told."""
    said = retry_after({"retry-after": "Sun, 01 Mar 2026 12:00:20 GMT"}, NOW)
    assert RetryAfter(20.0, "retry-after") == said


def test_clock_is_asked_when_nobody_tells_the_time(monkeypatch):
    """Without `now` a date is counted from the clock."""
    monkeypatch.setattr(module.time, "time", lambda: NOW)
    assert date("2026-03-01T12:00:07Z") == 7.0


@pytest.mark.parametrize("headers", [{}, {"retry-after": "soon"}, {"retry-after-ms": "", "retry-after": ""}])
def test_nothing_said(headers):
    """Without a readable header nothing is asked."""
    assert retry_after(headers) is None


@given(st.text() | st.from_regex(r"[-+0-9.eETZ:smhdu, ]{0,40}"))
def test_never_raises(text):
    """Whatever a header holds, the answer is None or a bounded number of seconds."""
    seconds = delay(text, NOW)
    assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= LONGEST)


@given(st.floats(min_value=0, max_value=1e9).map(repr))
def test_numbers_agree_with_float(text):
    """A plain number means what Python means by it."""
    assert float(text) == number(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_go_durations_add_up(hours, minutes, seconds, milliseconds):
    """A duration is the sum of its parts, whichever of them are written."""
    expected = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert expected == pytest.approx(delay(f"{hours}h{minutes}m{seconds}s{milliseconds}ms"))
