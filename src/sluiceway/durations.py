"""Durations as people write them: 30, 1.5, "250ms", "2m", timedelta(hours=1)."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TypeAlias

Duration: TypeAlias = float | str | timedelta
"""A number of seconds, a string such as ``"250ms"``, ``"1.5s"``, ``"2m"``, ``"1h30m"``, or a ``timedelta``."""

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s|m|h|d)")
_WHOLE = re.compile(rf"\s*(?:{_PART.pattern}\s*)+")
_LONGEST = 1e300  # seconds; an int beyond the floats is no time either
_ALLOWED = 'a number of seconds, a string such as "250ms", "1.5s", "2m", "1h30m", or a timedelta'


def parse(text: str) -> float | None:
    """Return the seconds that *text* names with its units, or None if it is no duration."""
    if not _WHOLE.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def seconds(value: Duration, name: str = "duration", *, zero: bool = False) -> float:
    """Return *value* in seconds.

    Args:
        value: see :data:`Duration`.
        name: what the value is called in the error.
        zero: whether 0 is allowed.

    Raises:
        TypeError: *value* is none of the allowed types.
        ValueError: *value* is negative, not finite, unreadable, or 0 where that is not allowed.
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        parsed = parse(value)
        if parsed is None:
            raise ValueError(f"{name}={value!r} is not a duration: write {_ALLOWED}")
        result = parsed
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        result = value * 1.0 if abs(value) <= _LONGEST else math.inf
    else:
        raise TypeError(f"{name}={value!r} is not a duration: write {_ALLOWED}")
    if not math.isfinite(result) or result < 0 or (result == 0 and not zero):
        raise ValueError(f"{name}={value!r} must be {'at least 0' if zero else 'more than 0'} seconds and finite")
    return result


def in_words(seconds: float) -> str:
    """Write *seconds* as people say them: ``0.35 s``, ``12.4 s``, ``4 min 10 s``, ``3 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours / 24:.1f} days"


def optional_seconds(value: Duration | None, name: str = "duration", *, zero: bool = False) -> float | None:
    """Return *value* in seconds, None for None; otherwise as :func:`seconds`."""
    return None if value is None else seconds(value, name, zero=zero)
