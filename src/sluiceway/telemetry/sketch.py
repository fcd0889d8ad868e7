"""Percentiles in bounded memory, with a bounded relative error.

The bins are DDSketch's (Masson, Rim, Lee: "DDSketch", VLDB 2019): bin *k* holds the values in ``(g^(k-1), g^k]`` with
``g = (1 + a) / (1 - a)``, so that whatever is read from it is off by at most the share *a*. Adding to the package's
own sketch takes 0.9 us a value, which is as much as the rest of a call's statistics; so values are collected, their
bins counted many at a time (0.15 us), and the package's sketch is made of the bins when somebody reads.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ACCURACY: Final = 0.01
"""How far off a percentile may be, as a share of it."""

SMALLEST: Final = 1e-6
"""Seconds; what is shorter counts as 0."""

LARGEST: Final = 1e7
"""Seconds; what is longer counts as this in percentiles, which bounds the number of bins to 1,500."""

BATCH: Final = 256
_PER_LOG: Final = 1 / math.log((1 + ACCURACY) / (1 - ACCURACY))


@dataclass(frozen=True, slots=True)
class Latency:
    """How long something took, in seconds.

    Attributes:
        count: how many were measured.
        mean, max: exact; None if nothing was measured.
        p50, p95, p99: percentiles, off by at most 1 % of themselves; None if nothing was measured.
    """

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Sketch:
    """Collects durations in seconds, at least 0; at most 256 of them and 1,500 bins are kept.

    Attributes:
        new: durations whose bins are not counted yet. On the hot path they are appended here, with `fold` to follow
            when there are `BATCH`; elsewhere there is `add`.
    """

    __slots__ = ("_bins", "_longest", "_sum", "_zeros", "new")

    def __init__(self) -> None:
        self.new: list[float] = []
        self._bins: Counter[int] = Counter()
        self._zeros = 0
        self._sum = 0.0
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Take in a duration."""
        self.new.append(seconds)
        if len(self.new) >= BATCH:
            self.fold()

    def fold(self) -> None:
        """Count the bins of what is new."""
        new, self.new = self.new, []  # event loops of other threads may add meanwhile
        if not new:
            return
        total, longest = math.fsum(new), max(new)
        self._sum += total
        self._longest = max(self._longest, longest)
        log, ceil, per_log = math.log, math.ceil, _PER_LOG
        keys = [ceil(log(value) * per_log) for value in new if SMALLEST < value < LARGEST]
        self._bins.update(keys)
        if len(keys) < len(new):
            huge = sum(value >= LARGEST for value in new)
            self._zeros += len(new) - len(keys) - huge
            if huge:
                self._bins[ceil(log(LARGEST) * per_log)] += huge

    def read(self) -> tuple[Counter[int], int, float, float]:
        """Return the count by bin, the number of zeros, the sum and the longest."""
        self.fold()
        return self._bins, self._zeros, self._sum, self._longest


def summarize(sketches: Iterable[Sketch]) -> Latency:
    """Return the `Latency` of everything that *sketches* collected."""
    bins: Counter[int] = Counter()
    zeros, total, longest = 0, 0.0, 0.0
    for sketch in sketches:
        its_bins, its_zeros, its_total, its_longest = sketch.read()
        bins.update(its_bins)
        zeros += its_zeros
        total += its_total
        longest = max(longest, its_longest)
    count = zeros + bins.total()
    if not count:
        return Latency()
    p50, p95, p99 = _percentiles(bins, zeros, longest)
    return Latency(count, total / count, p50, p95, p99, longest)


def _percentiles(bins: Counter[int], zeros: int, longest: float) -> list[float]:
    from ddsketch.ddsketch import BaseDDSketch  # noqa: PLC0415 - 16 ms that `import sluiceway` does not pay
    from ddsketch.mapping import LogarithmicMapping  # noqa: PLC0415 - see above
    from ddsketch.store import CollapsingLowestDenseStore  # noqa: PLC0415 - see above

    mapping = LogarithmicMapping(ACCURACY)
    store, negative = CollapsingLowestDenseStore(2048), CollapsingLowestDenseStore(1)
    sketch = BaseDDSketch(mapping=mapping, store=store, negative_store=negative, zero_count=0.0)
    for key, count in bins.items():
        sketch.add(mapping.value(key), count)
    if zeros:
        sketch.add(0.0, zeros)
    found = [sketch.get_quantile_value(share) for share in (0.50, 0.95, 0.99)]
    # The middle of the last bin may lie above everything that was measured.
    return [min(value or 0.0, longest) for value in found]
