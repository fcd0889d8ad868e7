"""Additive increase, multiplicative decrease: the law of TCP Reno and of Netflix's concurrency-limits."""

from __future__ import annotations

import math

from sluiceway.algorithms.adaptive import Adaptive
from sluiceway.algorithms.rates import positive


class Aimd(Adaptive):
    """A limit that gains `increase` for each unit of time that it holds callers back (see `Adaptive`).

    For places the unit is a round trip: each success brings ``increase / limit``. (One whole place each would double
    the limit every round trip.) Source: D. Chiu and R. Jain, 1989; V. Jacobson, 1988.

    Args:
        initial, least, most, decrease, slow_start: see `Adaptive`.
        increase: what is gained in one unit.
    """

    __slots__ = ("increase",)

    def __init__(
        self,
        initial: float,
        *,
        least: float,
        most: float = math.inf,
        increase: float = 1.0,
        decrease: float = 0.7,
        slow_start: bool = True,
    ) -> None:
        super().__init__(initial, least=least, most=most, decrease=decrease, slow_start=slow_start)
        self.increase = positive(increase, "increase")

    def _climb(self, elapsed: float) -> float:
        return self.limit + self.increase * elapsed

    def __repr__(self) -> str:
        return f"<Aimd {self.limit:.4g}, {'doubling' if self.slow else f'last peak {self.peak:.4g}'}>"
