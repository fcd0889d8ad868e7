"""How a provider counts what was taken of one resource: a bucket that refills, or an exact rolling window.

Times are seconds of any monotonic clock; a time before the last one counts as the last one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Metering: TypeAlias = Literal["bucket", "rolling"]

# Added to every wait, so that rounding of floats never makes it too short by one digit.
_TICK = 1e-6
# A level this share of the capacity below the cost still counts as enough.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Limit:
    """What a provider allows of one resource.

    Attributes:
        per_minute: the advertised amount per minute; the rate is a 60th of it per second.
        metering: ``"bucket"`` fills at the rate up to its capacity, and starts full; ``"rolling"`` accepts at
            most the capacity in any half-open window ``[t, t + window)``.
        window: seconds; the capacity is what the rate yields in them.
        burst: seconds' worth of the rate that a bucket holds, when that is not *window*.
        rate: the amount per second.
        capacity: what a full bucket holds, or the most in a rolling window.

    Raises:
        ValueError: a number is not positive and finite, *metering* is unknown, *burst* is given for a rolling
            window, or a rolling window would hold less than 1.
    """

    per_minute: float
    metering: Metering = "bucket"
    window: float = 60.0
    burst: float | None = None
    rate: float = field(init=False, repr=False, compare=False)  # not properties: meters ask them often
    capacity: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.metering not in ("bucket", "rolling"):
            raise ValueError(f'metering={self.metering!r} must be "bucket" or "rolling"')
        for name in ("per_minute", "window", "burst"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value!r} must be more than 0 and finite")
        object.__setattr__(self, "rate", self.per_minute / 60)
        seconds = self.window if self.burst is None else self.burst
        object.__setattr__(self, "capacity", self.rate * seconds)
        if self.metering == "rolling" and self.burst is not None:
            raise ValueError(f"burst={self.burst!r} is for a bucket: a rolling window has only a window")
        if self.metering == "rolling" and self.capacity < 1:
            share = f"per_minute={self.per_minute:g} is {self.capacity:g} in a rolling {self.window:g} s"
            raise ValueError(f"{share}, which must be at least 1")

    @property
    def largest(self) -> float:
        """The largest cost that can ever be accepted.

        A bucket lets a cost above its capacity through when it is full, and owes the rest, up to a minute's
        worth; a rolling window could not without breaking its promise.
        """
        return self.capacity if self.metering == "rolling" else max(self.capacity, self.per_minute)


@dataclass(frozen=True, slots=True)
class Level:
    """What response headers say of a resource: limit per minute, what remains, seconds until all is back."""

    limit: float
    remaining: float
    reset: float


@dataclass(slots=True)
class Charge:
    """What a meter charged, and when; :meth:`Meter.correct` wants it back."""

    at: float
    cost: float


class Meter(ABC):
    """The count of what was taken of one resource."""

    limit: Limit

    @staticmethod
    def of(limit: Limit) -> Meter:
        """Make the meter that *limit* asks for."""
        return BucketMeter(limit) if limit.metering == "bucket" else RollingMeter(limit)

    @abstractmethod
    def wait(self, now: float, cost: float) -> float:
        """Return the seconds until *cost* is accepted if nobody else comes: 0 for now, infinity for never."""

    @abstractmethod
    def take(self, now: float, cost: float) -> Charge:
        """Charge *cost*, which :meth:`wait` has allowed."""

    @abstractmethod
    def penalize(self, now: float, cost: float) -> None:
        """Charge *cost* for a request that was refused."""

    @abstractmethod
    def correct(self, now: float, charge: Charge, cost: float) -> None:
        """Make an earlier charge the actual *cost*; more than was charged may leave a debt."""

    @abstractmethod
    def level(self, now: float) -> Level:
        """Return what headers say at *now*."""

    @abstractmethod
    def become(self, now: float, limit: Limit) -> None:
        """Take a new limit of the same metering; what was taken stays taken."""


class BucketMeter(Meter):
    """Token bucket: ``level = min(capacity, level + rate * dt)``, full at first.

    A refusal takes what is there, at most its cost: it never leaves a debt.
    """

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._level = limit.capacity
        self._at = -math.inf

    def _advance(self, now: float) -> None:
        if now > self._at:
            if self._level < self.limit.capacity:
                self._level = min(self.limit.capacity, self._level + self.limit.rate * (now - self._at))
            self._at = now

    def wait(self, now: float, cost: float) -> float:
        """Return ``(min(cost, capacity) - level) / rate``, or 0 or infinity."""
        if cost > self.limit.largest:
            return math.inf
        self._advance(now)
        missing = min(cost, self.limit.capacity) - self._level
        if missing <= self.limit.capacity * _SLACK:
            return 0.0
        return missing / self.limit.rate + _TICK

    def take(self, now: float, cost: float) -> Charge:
        """Lower the level by *cost*."""
        self._advance(now)
        self._level -= cost
        return Charge(now, cost)

    def penalize(self, now: float, cost: float) -> None:
        """Lower the level by *cost*, but not below 0."""
        self._advance(now)
        self._level -= min(cost, max(0.0, self._level))

    def correct(self, now: float, charge: Charge, cost: float) -> None:
        """Move the level by the difference, never above the capacity."""
        self._advance(now)
        self._level = min(self.limit.capacity, self._level + charge.cost - cost)
        charge.cost = cost

    def level(self, now: float) -> Level:
        """Return the level, not below 0, and the seconds until the bucket is full."""
        self._advance(now)
        full_in = max(0.0, self.limit.capacity - self._level) / self.limit.rate
        return Level(self.limit.per_minute, max(0.0, self._level), full_in)

    def become(self, now: float, limit: Limit) -> None:
        """Keep the level, capped by the new capacity."""
        self._advance(now)
        self.limit = limit
        self._level = min(self._level, limit.capacity)


class RollingMeter(Meter):
    """Exact log: a charge counts from its time ``t`` until just before ``t + window``."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._log: deque[Charge] = deque()
        self._total = 0.0
        self._now = -math.inf

    def _advance(self, now: float) -> float:
        now = self._now = max(now, self._now)
        log, window = self._log, self.limit.window
        while log and log[0].at + window <= now:
            self._forget()
        if not log:
            self._total = 0.0
        return now

    def _forget(self) -> None:
        oldest = self._log.popleft()
        self._total -= oldest.cost
        oldest.at = -math.inf  # so that a later correction finds it outside any window

    def wait(self, now: float, cost: float) -> float:
        """Return the seconds until enough of the oldest charges have left the window, or 0 or infinity."""
        capacity = self.limit.capacity
        if cost > capacity:
            return math.inf
        now = self._advance(now)
        excess = self._total + cost - capacity
        if excess <= capacity * _SLACK:
            return 0.0
        for charge in self._log:
            excess -= charge.cost
            if excess <= capacity * _SLACK:
                return charge.at + self.limit.window - now + _TICK
        return self.limit.window + _TICK

    def take(self, now: float, cost: float) -> Charge:
        """Log *cost* at *now*."""
        charge = Charge(self._advance(now), cost)
        self._log.append(charge)
        self._total += cost
        return charge

    def penalize(self, now: float, cost: float) -> None:
        """Log *cost*, and forget the oldest charges that no longer matter: a storm must not fill memory."""
        self.take(now, cost)
        while self._total - self._log[0].cost >= self.limit.capacity:
            self._forget()

    def correct(self, now: float, charge: Charge, cost: float) -> None:
        """Change the charge where it stands; one that has left the window is over."""
        if charge.at + self.limit.window > self._advance(now):
            self._total += cost - charge.cost
        charge.cost = cost

    def level(self, now: float) -> Level:
        """Return what the window has left and the seconds until it is empty."""
        now = self._advance(now)
        remaining = max(0.0, self.limit.capacity - self._total)
        empty_in = self._log[-1].at + self.limit.window - now if self._log else 0.0
        return Level(self.limit.per_minute, remaining, empty_in)

    def become(self, now: float, limit: Limit) -> None:
        """Keep the log; what a shorter window has already forgotten stays forgotten."""
        self._advance(now)
        self.limit = limit
