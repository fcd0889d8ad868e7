"""Counts of outcomes over the last so many seconds, in ten buckets of time."""

from __future__ import annotations

import math

from sluiceway.algorithms.rates import positive

_BUCKETS = 10


class OutcomeWindow:
    """Calls, failures and slow calls of the last *window* seconds, to within a tenth of it.

    Buckets are turned by time and not by arrivals: after an idle gap the first result finds every bucket that the
    gap has outlived empty.

    Attributes:
        calls: results counted, as of the last one; so are the others.
        failures: failed ones among them.
        slow: slow ones among them.

    Raises:
        ValueError: *window* is not above 0 seconds.
    """

    __slots__ = ("_bucket", "_buckets", "_end", "_slot", "_width", "calls", "failures", "slow")

    def __init__(self, window: float) -> None:
        self._width = positive(window, "window") / _BUCKETS
        self.clear()

    def clear(self) -> None:
        """Forget all results."""
        self._buckets = [[0, 0, 0] for _ in range(_BUCKETS)]
        self._bucket = self._buckets[0]  # the current one
        self._end = -math.inf  # of it
        self._slot = 0
        self.calls = self.failures = self.slow = 0

    def resize(self, window: float, now: float) -> None:
        """Look back *window* seconds from now on; what was counted counts as counted at *now*: late, but not lost.

        Raises:
            ValueError: *window* is not above 0 seconds.
        """
        width = positive(window, "window") / _BUCKETS
        if width == self._width:
            return
        self.advance(now)
        counted = [self.calls, self.failures, self.slow]
        self._width = width
        self.clear()
        self.advance(now)
        self._bucket[:] = counted
        self.calls, self.failures, self.slow = counted

    def count(self, now: float, failed: bool, slow: bool) -> None:  # noqa: FBT001 - the hot path passes by position
        """Count one result."""
        if now >= self._end:
            self.advance(now)
        bucket = self._bucket
        bucket[0] += 1
        self.calls += 1
        if failed:
            bucket[1] += 1
            self.failures += 1
        if slow:
            bucket[2] += 1
            self.slow += 1

    def advance(self, now: float) -> None:
        """Drop the buckets that have left the window at *now*; a *now* of the past drops none."""
        slot = math.floor(now / self._width)
        for gone in range(max(self._slot + 1, slot - _BUCKETS + 1), slot + 1):
            bucket = self._buckets[gone % _BUCKETS]
            self.calls -= bucket[0]
            self.failures -= bucket[1]
            self.slow -= bucket[2]
            bucket[:] = (0, 0, 0)
        if slot > self._slot or self._end == -math.inf:
            self._slot = slot
            self._bucket = self._buckets[slot % _BUCKETS]
            self._end = (slot + 1) * self._width

    def shift(self, delta: float) -> None:
        """Go on by a clock on which the same moment reads *delta* seconds later, to within half a bucket."""
        slots = round(delta / self._width)
        self._buckets = [self._buckets[(place - slots) % _BUCKETS] for place in range(_BUCKETS)]
        self._slot += slots
        self._end += slots * self._width
