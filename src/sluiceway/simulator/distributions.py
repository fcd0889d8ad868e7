"""How long things take and how many tokens answers have: fixed, uniform or lognormal."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from sluiceway import durations

if TYPE_CHECKING:
    import random

_LOGNORMAL = re.compile(r"lognormal\(([^,()]+),([^,()]+)\)")
_ALLOWED = (
    'a number, "LOW..HIGH" (uniform) or "lognormal(MEDIAN, SIGMA)"; durations may have units, as in "50ms..200ms"'
)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always *value*."""

    value: float

    def __post_init__(self) -> None:
        _check(at_least_0={"value": self.value})

    def draw(self, rng: random.Random) -> float:  # noqa: ARG002 - one signature for all distributions
        """Return the value."""
        return self.value

    def __str__(self) -> str:
        return f"{self.value!r}"


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything from *low* to *high*, equally likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check(at_least_0={"low": self.low, "high": self.high})
        if self.high < self.low:
            raise ValueError(f"low={self.low!r} must not be above high={self.high!r}")

    def draw(self, rng: random.Random) -> float:
        """Return a value between the two."""
        return rng.uniform(self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low!r}..{self.high!r}"


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Half the values lie below *median*; *sigma* is the standard deviation of their logarithms.

    With ``sigma=0.5`` one value in a hundred exceeds 3.2 times the median, with 1 ten times.
    """

    median: float
    sigma: float

    def __post_init__(self) -> None:
        _check(at_least_0={"median": self.median, "sigma": self.sigma})
        if self.median == 0:
            raise ValueError("median=0 must be more than 0")

    def draw(self, rng: random.Random) -> float:
        """Return ``median * exp(sigma * N(0, 1))``."""
        return self.median * math.exp(rng.gauss(0.0, self.sigma))

    def __str__(self) -> str:
        return f"lognormal({self.median!r}, {self.sigma!r})"


Distribution: TypeAlias = Fixed | Uniform | Lognormal
Spread: TypeAlias = float | str | timedelta | Distribution
"""A distribution, or what :func:`distribution` reads as one."""


def distribution(value: Spread, name: str = "distribution") -> Distribution:
    """Read a distribution as people write them: ``0.2``, ``"50ms..200ms"``, ``"lognormal(200ms, 0.5)"``.

    A number without a unit is a number of seconds or of tokens, as the setting has it. ``str()`` of a
    distribution is read back as the same one.

    Raises:
        TypeError: *value* is none of the allowed types.
        ValueError: *value* is unreadable, negative or not finite.
    """
    if isinstance(value, (Fixed, Uniform, Lognormal)):
        return value
    if isinstance(value, timedelta):
        return Fixed(value.total_seconds())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _named(name, value, Fixed, value)
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} is not a distribution: write {_ALLOWED}")
    if match := _LOGNORMAL.fullmatch(value.strip()):
        return _named(name, value, Lognormal, _number(name, value, match[1]), _number(name, value, match[2]))
    low, dots, high = value.partition("..")
    if dots:
        return _named(name, value, Uniform, _number(name, value, low), _number(name, value, high))
    return _named(name, value, Fixed, _number(name, value, value))


def _named(name: str, value: Spread, kind: type[Distribution], *arguments: float) -> Distribution:
    try:
        return kind(*arguments)
    except ValueError as error:
        raise ValueError(f"{name}={value!r}: {error}") from None


def _number(name: str, whole: str, text: str) -> float:
    parsed = durations.parse(text)
    if parsed is not None:
        return parsed
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}={whole!r} is not a distribution: write {_ALLOWED}") from None


def _check(at_least_0: dict[str, float]) -> None:
    for name, value in at_least_0.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}={value!r} must be at least 0 and finite")
