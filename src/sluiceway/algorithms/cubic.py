"""A limit that returns fast to where it was refused, stays there for a while, and then looks for more."""

from __future__ import annotations

import math

from sluiceway.algorithms.adaptive import Adaptive
from sluiceway.algorithms.rates import positive

_CALLS = 50.0  # on the way back to the peak at the least: one refusal in so many calls is 2 %
_LONGEST = 60.0  # ... but who was refused down to next to nothing must come back within minutes


class Cubic(Adaptive):
    """A limit on a cubic curve through its last peak (see `Adaptive`).

    With the peak w, ``b = decrease`` and t the time that it held callers back since it fell:
    ``limit = c * (t - K)**3 + w``, where ``K = cbrt(w * (1 - b) / increase)`` and ``c = increase``. It begins at
    ``b * w``, is flat around w at ``t = K``, and grows ever faster after that.

    At w = 1 that K is 0.9 seconds, and every third call would be refused. So K is never shorter than 50 calls take,
    ``50 / w`` (60 at the most), and c then flatter: ``w * (1 - b) / K**3``.

    Sources: S. Ha, I. Rhee and L. Xu, 2008 (RFC 9438); botocore's adaptive retry mode, for rates.

    Args:
        initial, least, most, decrease, slow_start: see `Adaptive`.
        increase: how steep the curve is at the most, per cubed unit of time.
    """

    __slots__ = ("_held", "_slope", "_way", "increase")

    def __init__(
        self,
        initial: float,
        *,
        least: float,
        most: float = math.inf,
        increase: float = 0.4,
        decrease: float = 0.7,
        slow_start: bool = True,
    ) -> None:
        super().__init__(initial, least=least, most=most, decrease=decrease, slow_start=slow_start)
        self.increase = positive(increase, "increase")
        self._fell()
        self._stepped()

    def _fell(self) -> None:
        deep = self.peak * (1.0 - self.decrease)
        self._way = max(math.cbrt(deep / self.increase), min(_CALLS / self.peak, _LONGEST))
        self._slope = deep / self._way**3
        self._held = 0.0

    def _stepped(self) -> None:
        """Go to the place on the curve where the limit is now."""
        self._held = self._way + math.cbrt((self.limit - self.peak) / self._slope)

    def _climb(self, elapsed: float) -> float:
        self._held += elapsed
        return self._slope * (self._held - self._way) ** 3 + self.peak

    def __repr__(self) -> str:
        return f"<Cubic {self.limit:.4g}, {'doubling' if self.slow else f'last peak {self.peak:.4g}'}>"
