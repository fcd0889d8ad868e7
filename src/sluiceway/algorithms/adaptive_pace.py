"""A rate of requests that adapts to what the provider takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sluiceway.algorithms.around import Around
from sluiceway.algorithms.composite import Composite
from sluiceway.algorithms.gcra import Gcra
from sluiceway.algorithms.send_rate import SendRate
from sluiceway.algorithms.spread import Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.algorithms.adaptive import Adaptive

_AHEAD = 2.0  # times what is really sent, that the rate may be
_QUIET = 60.0  # seconds without a call, after which it doubles again
_DOUBLING = 1.0 / 8.0  # of a doubling that one call may bring: at one a second, a second proves nothing
_BATCH = 0.1  # seconds that a waiting room may put off a wake-up, at the most
_HAIR = 0.002  # a change of the rate by less is not worth the arithmetic


class AdaptivePace(Around):
    """Permits at the rate of *law*, which learns from how they end (see :mod:`.limiter`).

    It grows only where somebody was told to wait before the permit was given, and by the time between two permits: a
    gap, in which nobody came, is none of it. It never gets further ahead than twice what is really sent. After 60 s
    without a call slow start begins anew.

    Args:
        law: whose limit is the rate, in requests a second.
        burst: seconds' worth of the rate that may go at once.
    """

    __slots__ = ("_applied", "_bucket", "_last", "_spread", "_waited", "law", "meter")

    def __init__(self, law: Adaptive, burst: float) -> None:
        self._bucket = Gcra(law.limit, 1.0, burst)
        self._spread = Spread(Composite([self._bucket]), law.limit)
        super().__init__(self._spread)
        self.law = law
        self.meter = SendRate()
        self._applied = law.limit
        self._last = math.inf  # so that the first call comes after no silence
        self._waited = False

    def take(self, costs: Sequence[float], now: float) -> float | None:
        """Return 0.0 and take *costs*, or return the wait and take nothing."""
        wait = self._spread.take(costs, now)
        if wait != 0.0:
            if self._bucket.wait(costs[0], now):  # it is the rate that holds it, and not how bursts are spread
                self._waited = True
            return wait
        self.meter.sent(now)
        if now - self._last > _QUIET:
            self.law.restart()
            self._waited = False
        elif self._waited:
            self._waited = False
            self._grow(now)
        self._last = now
        return wait

    def give(self, costs: Sequence[float], now: float, at: float | None = None) -> None:
        """Hand back an unused permit of *costs*."""
        self.unsent()
        super().give(costs, now, at)

    def unsent(self) -> None:
        """A permit was given and nothing sent: it is none of what the provider bears."""
        self.meter.unsent()

    def holds(self, now: float) -> bool:
        """Whether what was found out still holds at *now*: a call came before slow start would begin anew."""
        return self._last < math.inf and now - self._last <= _QUIET

    def refused(self, started: float, now: float) -> bool:
        """Fall, since the provider refused a call that *started* then for being too fast; False if it did not."""
        self.meter.refused(now)
        return self._told(self.law.refused(started, now, self.meter.at(now)), now)

    def eased(self, started: float, now: float, factor: float) -> bool:
        """Step back by *factor*, since a call that *started* then failed otherwise; False if it did not."""
        return self._told(self.law.eased(started, now, factor), now)

    def restore(self, limit: float, now: float) -> None:
        """Start from *limit*, which was good once."""
        self.law.restore(limit)
        self._apply(now)

    def retune(self, law: Adaptive, now: float) -> None:
        """Take over the settings of *law*, of the same kind; what was found out stays."""
        self.law.retune(law)
        self._apply(now)

    def lean(self, limit: float, now: float) -> None:
        """Go on at *limit*, as others do who share the provider; what was learnt of refusals stays."""
        self.law.limit = min(max(limit, self.law.least), self.law.most)
        self._apply(now)

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*."""
        super().shift(delta)
        self.law.shift(delta)
        self.meter.shift(delta)
        self._last += delta

    def _grow(self, now: float) -> None:
        law = self.law
        elapsed = max(0.0, min(now - self._last, 2.0 / law.limit + _BATCH))
        law.grow(min(elapsed, _DOUBLING) if law.slow else elapsed, _AHEAD * self.meter.at(now))
        if abs(law.limit - self._applied) > _HAIR * self._applied:
            self._apply(now)

    def _told(self, fell: bool, now: float) -> bool:  # noqa: FBT001 - what the law answered
        if fell:
            self._apply(now)
        return fell

    def _apply(self, now: float) -> None:
        self._applied = rate = self.law.limit
        self._bucket.resize(rate, 1.0, now)
        self._spread.resize(rate)

    def __repr__(self) -> str:
        return f"<AdaptivePace {self.law!r}>"
