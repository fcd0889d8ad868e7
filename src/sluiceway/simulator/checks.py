"""Checks of settings: each returns the value as it is kept, or raises an error that names it and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from sluiceway import durations


def aiohttp_is_installed() -> None:
    """Raise an ImportError that says what to install when aiohttp is missing."""
    if find_spec("aiohttp") is None:
        raise ImportError("the simulator needs aiohttp: pip install 'sluiceway[simulator]'")


def rate(name: str, value: float) -> float:
    """Return a probability from 0 to 1; True is 1."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} must be a rate from 0 to 1")
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r} must be a rate from 0 to 1")
    return float(value)


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse a value that is none of the *allowed*."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}")


def switch(name: str, value: object) -> None:
    """Refuse what is not a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} must be True or False")


def positive(name: str, value: float) -> None:
    """Refuse what is not a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r} must be a number above 0")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value!r} must be more than 0 and finite")


def whole(name: str, value: object, *, least: int | None = None, most: int | None = None) -> None:
    """Refuse what is not a whole number within the bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} must be a whole number")
    if (least is not None and value < least) or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}={value!r} must be {bounds}")


def status(name: str, value: int | str) -> None:
    """Refuse what is no status of an error."""
    whole(name, value, least=400, most=599)


def status_or(name: str, value: object, *words: str) -> None:
    """Refuse what is neither the status of an error nor one of the *words*."""
    if value in words or (isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599):
        return
    allowed = " or ".join(map(repr, words))
    raise ValueError(f"{name}={value!r} must be a status from 400 to 599, or {allowed}")


def error_rates(name: str, value: Mapping[Any, float]) -> Mapping[int, float]:
    """Return rates by status; a status may be text, as JSON has it, and all rates together are at most 1."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={value!r} must map a status to a rate, such as {{503: 0.02}}")
    kept = {}
    for key, share in value.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        status(f"{name}: status", number)
        kept[number] = rate(f"{name}[{number}]", share)
    if sum(kept.values()) > 1:
        raise ValueError(f"{name}={value!r}: the rates must not add up to more than 1")
    return MappingProxyType(kept)


def spans(name: str, value: Sequence[Sequence[float | str]]) -> tuple[tuple[float, float], ...]:
    """Return (start, end) pairs in seconds, each end after its start."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name}={value!r} must hold (start, end) pairs")
    kept = []
    for pair in value:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"{name}={value!r} must hold (start, end) pairs")
        start = durations.seconds(pair[0], f"{name}: start", zero=True)
        end = durations.seconds(pair[1], f"{name}: end")
        if end <= start:
            raise ValueError(f"{name}={value!r}: the end {end:g} must be after the start {start:g}")
        kept.append((start, end))
    return tuple(kept)
