"""One percentile of what comes along, in bounded memory, known at every moment."""

from __future__ import annotations

import math
from typing import Final

from sluiceway.algorithms.rates import EPSILON, at_least_zero, positive

ACCURACY: Final = 0.01
"""How far off the percentile may be, as a share of it."""
SMALLEST: Final = 1e-6
LARGEST: Final = 1e7
"""Values outside count as these, which bounds the number of bins to 1,500."""
_PER_LOG: Final = 1 / math.log((1 + ACCURACY) / (1 - ACCURACY))


class RunningQuantile:
    """The value below which a share of all values lie, off by 1 % of itself at the most.

    Values are counted in bins: bin *k* holds those in ``(g^(k-1), g^k]`` with ``g = (1 + a) / (1 - a)``, so that the
    middle of a bin is within the share *a* of all its values. Source: DDSketch (Masson, Rim, Lee, VLDB 2019). A marker
    stands at the bin that holds the percentile and moves as values come, so that reading costs nothing.

    The last `memory` values count, and up to as many before them. (Halving all counts instead would either keep the
    rare values of the tail for ever or lose them at once.)

    Args:
        share: which one; 0.95 for the 95th percentile.
        memory: how many values count at the least, once there were so many.

    Attributes:
        count: how many values count now.

    Raises:
        ValueError: `share` is not above 0 and below 1, or `memory` is below 1.
    """

    __slots__ = ("_below", "_bins", "_marker", "_memory", "_new", "_old", "_share", "count")

    def __init__(self, share: float, memory: int = 2_000) -> None:
        if positive(share, "share") >= 1:
            raise ValueError(f"share={share!r} must be above 0 and below 1")
        if memory < 1:
            raise ValueError(f"memory={memory!r} must be at least 1")
        self._share = share
        self._memory = memory
        self._bins: dict[int, int] = {}
        self._new: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._marker = 0
        self._below = 0  # how many are counted in bins below the marker
        self.count = 0

    def add(self, value: float) -> None:
        """Count *value*, at least 0.

        Raises:
            ValueError: it is negative or not finite.
        """
        if not SMALLEST <= value <= LARGEST:
            value = min(max(at_least_zero(value, "value"), SMALLEST), LARGEST)
        key = math.ceil(math.log(value) * _PER_LOG)
        bins = self._bins
        if not bins:
            self._marker = key
        bins[key] = bins.get(key, 0) + 1
        new = self._new
        new[key] = new.get(key, 0) + 1
        self.count += 1
        if key < self._marker:
            self._below += 1
        if not self.count % self._memory:  # a generation is full, since the one before it has so many too
            self._forget()
        self._move()

    @property
    def value(self) -> float | None:
        """The percentile: of n values the one at place ``ceil(share * n)`` in order; None before the first."""
        if not self.count:
            return None
        return 2 * math.exp(self._marker / _PER_LOG) / (math.exp(1 / _PER_LOG) + 1)

    def _forget(self) -> None:
        """Let go of the values of the generation before the last."""
        bins = self._bins
        for key, count in self._old.items():
            bins[key] -= count
            if not bins[key]:
                del bins[key]
            if key < self._marker:
                self._below -= count
            self.count -= count
        self._old, self._new = self._new, {}

    def _move(self) -> None:
        """Bring the marker to the bin of the percentile."""
        bins = self._bins
        rank = self._share * self.count - EPSILON
        while self._below >= rank:
            self._marker -= 1
            self._below -= bins.get(self._marker, 0)
        while self._below + bins.get(self._marker, 0) < rank:
            self._below += bins.get(self._marker, 0)
            self._marker += 1

    def __repr__(self) -> str:
        value = "unknown" if self.value is None else f"{self.value:.3g}"
        return f"<RunningQuantile {self._share:g}: {value} of {self.count}>"
