"""A limit that nobody knows: what the laws by which it is found have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from sluiceway.algorithms.rates import positive

_OBSOLETE = 2.0  # times the last peak: whoever gets so far without a refusal deals with another limit


class Adaptive(ABC):
    """A limit that grows while it is what holds the callers back, and falls when the provider refuses.

    It knows no unit: requests a second, or places in flight. `grow` is told for how long the limit has held somebody
    back since it was last told, in seconds for a rate and in round trips for places, so that either way
    ``elapsed * limit`` is a number of calls. Who never waits makes nothing grow, however much time passes.

    In slow start, at first and again after `restart`, it doubles for each unit of `elapsed`, until it falls. After a
    fall the law of the subclass holds; at twice the last peak without another refusal that peak means nothing
    any more, and it doubles again.

    One burst has many refusals, and is one episode: calls that started before the last fall cause none.

    Args:
        initial: where to start.
        least, most: what it never leaves.
        decrease: the share of the peak that is left after a refusal, above 0 and below 1.
        slow_start: whether it ever doubles.

    Attributes:
        limit: as it is now.
        peak: what was in use when it last fell, at first the initial limit.
        slow: whether it is in slow start.

    Raises:
        TypeError: one of the numbers is none.
        ValueError: one of them is out of range, or `initial` not between `least` and `most`.
    """

    __slots__ = ("_doubles", "_fell_at", "decrease", "least", "limit", "most", "peak", "slow")

    def __init__(
        self, initial: float, *, least: float, most: float = math.inf, decrease: float = 0.7, slow_start: bool = True
    ) -> None:
        self.limit = self.peak = positive(initial, "initial")
        self.least = positive(least, "min")
        self.most = most if most == math.inf else positive(most, "max")
        self.decrease = positive(decrease, "decrease")
        if not self.least <= self.limit <= self.most:
            raise ValueError(f"initial={initial!r} must lie between min={least!r} and max={most!r}")
        if self.decrease >= 1:
            raise ValueError(f"decrease={decrease!r} must be below 1")
        self.slow = self._doubles = slow_start
        self._fell_at = -math.inf

    def grow(self, elapsed: float, reach: float = math.inf) -> None:
        """Rise, since the limit held callers back for *elapsed*; not above *reach*, but never fall to it."""
        target = self.limit * 2.0**elapsed if self.slow else self._climb(elapsed)
        target = min(target, reach, self.most)
        if target > self.limit:
            self.limit = target
            if target >= _OBSOLETE * self.peak:
                self.slow = self._doubles

    def refused(self, started: float, now: float, used: float) -> bool:
        """Fall, since a call that *started* then was refused when *used* of the limit was in use; False if it did not.

        The peak becomes ``min(used, limit)`` and the limit ``decrease * peak``.
        """
        if started <= self._fell_at:
            return False
        self.peak = max(self.least, min(self.limit, used))
        self.limit = max(self.least, self.peak * self.decrease)
        self.slow = False
        self._fell_at = now
        self._fell()
        return True

    def eased(self, started: float, now: float, factor: float) -> bool:
        """Step back by *factor*, since a call that *started* then failed otherwise; False if it did not.

        The peak stays: a few errors brake, and do not make it forget what it has found.
        """
        if started <= self._fell_at or factor >= 1.0:
            return False
        if self.slow:
            self.peak = self.limit
            self.slow = False
            self._fell()
        self.limit = max(self.least, self.limit * factor)
        self._fell_at = now
        self._stepped()
        return True

    def restart(self) -> None:
        """Double again: after a long silence nobody knows what the provider allows by now."""
        self.slow = self._doubles

    def restore(self, limit: float) -> None:
        """Start from *limit*, which was good once, without doubling from there."""
        self.limit = self.peak = min(max(limit, self.least), self.most)
        self.slow = False
        self._fell()
        self._stepped()

    def retune(self, fresh: Adaptive) -> None:
        """Take over the settings of *fresh*; what was found out stays, as far as its bounds allow."""
        self.least, self.most, self.decrease, self._doubles = fresh.least, fresh.most, fresh.decrease, fresh._doubles
        limit = min(max(self.limit, self.least), self.most)
        if limit != self.limit:
            self.restore(limit)

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*."""
        self._fell_at += delta

    @abstractmethod
    def _climb(self, elapsed: float) -> float:
        """Return what the limit should be after *elapsed* more."""

    def _fell(self) -> None:  # noqa: B027 - not every law remembers
        """The peak is another."""

    def _stepped(self) -> None:  # noqa: B027 - as above
        """The limit was moved, the peak was not."""
