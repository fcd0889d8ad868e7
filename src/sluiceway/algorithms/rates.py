"""Limits as numbers: checked once, and waits that survive rounding."""

from __future__ import annotations

import math

EPSILON = 1e-9
"""Seconds, or the share of a capacity, below which two numbers are the same to a limiter."""

_ULPS = 4.5e-16  # two units in the last place: what `now + wait` and `now - then` may lose together


def positive(value: float, name: str) -> float:
    """Return *value* as a float.

    Raises:
        TypeError: *value* is not a number.
        ValueError: *value* is not finite or not above 0.
    """
    if at_least_zero(value, name) == 0.0:
        raise ValueError(f"{name}={value!r} must be above 0")
    return float(value)


def at_least_zero(value: float, name: str) -> float:
    """Return *value* as a float; errors as :func:`positive`, but 0 is allowed."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} must be a number of at least 0")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name}={value!r} must be at least 0 and finite")
    return float(value)


def share(value: float, name: str) -> float:
    """Return *value* as a float if it lies in (0, 1]; errors as :func:`positive`."""
    if positive(value, name) > 1:
        raise ValueError(f"{name}={value!r} must be at most 1")
    return float(value)


def whole(value: int, name: str) -> int:
    """Return *value* if it is an int of at least 1.

    Raises:
        TypeError: *value* is not an int.
        ValueError: *value* is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} must be a whole number of at least 1")
    if value < 1:
        raise ValueError(f"{name}={value!r} must be at least 1")
    return value


def rate_of(limit: float, window: float) -> float:
    """Return ``limit / window`` per second, both checked by :func:`positive`."""
    rate = positive(limit, "limit") / positive(window, "window")
    if not 0 < rate < math.inf:
        raise ValueError(f"limit={limit!r} per window={window!r} seconds is not a usable rate")
    return rate


def padded(wait: float, now: float) -> float:
    """Return *wait* seconds plus the nanoseconds that rounding of ``now + wait`` may lose.

    Without them a caller that sleeps exactly as told finds itself a hair too early, and is told to sleep for
    nothing again. Event loops, too, run a timer up to one tick of their clock (1 ns) early.
    """
    return wait + 2 * EPSILON + _ULPS * (abs(now) + wait)
