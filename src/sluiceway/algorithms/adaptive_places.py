"""Places in flight, as many as the provider turns out to bear."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sluiceway.algorithms.in_flight import InFlight
from sluiceway.algorithms.rates import EPSILON, padded

if TYPE_CHECKING:
    from sluiceway.algorithms.adaptive import Adaptive

_QUIET = 60.0  # seconds without a success, after which it doubles again


class AdaptivePlaces(InFlight):
    """Places whose number is that of *law*, rounded down; it learns from how calls end (see `InFlight`).

    A success brings the share of a round trip that it is, ``1 / limit``, and only where the places are what holds us:
    at least half of them are taken, or somebody waits. After a pause nobody is let in at once: who is refused
    leaves his place within milliseconds, and a bound alone would hammer a provider that asked to be left alone. After
    60 s without a success slow start begins anew.

    Args:
        law: whose limit is the number of places.
    """

    __slots__ = ("_last", "_paused", "_told", "law", "until")

    def __init__(self, law: Adaptive) -> None:
        super().__init__(int(law.limit))
        self.law = law
        self.until = -math.inf
        self._paused = False
        self._last = math.inf  # so that the first success comes after no silence
        self._told = -math.inf

    def take(self, cost: float = 1, now: float = 0.0) -> float | None:
        """Return 0.0 and take *cost* places, the seconds until a pause ends, or None if they are not free."""
        if self._paused:
            if now < self.until:
                return padded(self.until - now, now)
            self._paused = False
            self._apply()
        return super().take(cost, now)

    def wait(self, cost: float = 1, now: float = 0.0) -> float | None:
        """Return 0.0 if *cost* places are free, else the seconds until a pause ends, or None."""
        if self._paused and now < self.until:
            return padded(self.until - now, now)
        return 0.0 if self.held + cost <= self._places() or not cost else None

    def pause(self, until: float, now: float) -> None:  # noqa: ARG002 - places do not refill
        """Let nobody in before *until*: the limit is 0, for who looks at it instead of taking, until who takes."""
        if until > self.until:
            self.until = until
            self._paused = True
            self.limit = 0

    def holds(self, now: float) -> bool:
        """Whether it is paused at *now*, or was told how a call ended before slow start would begin anew."""
        return now < self.until or now - self._told <= _QUIET

    def succeeded(self, now: float, *, waiting: bool) -> bool:
        """Grow, since a call that still holds its place succeeded; True if there are more places now."""
        law = self.law
        if now - self._last > _QUIET:
            law.restart()
        self._last = self._told = now
        if not waiting and 2 * self.held < self._places():
            return False
        law.grow(1.0 / law.limit)
        return self._apply()

    def refused(self, started: float, now: float) -> bool:
        """Fall, since the provider refused a call that *started* then; False if it did not."""
        self._told = now
        fell = self.law.refused(started, now, self.held)
        self._apply()
        return fell

    def eased(self, started: float, now: float, factor: float) -> bool:
        """Step back by *factor*, since a call that *started* then failed otherwise; False if it did not."""
        self._told = now
        fell = self.law.eased(started, now, factor)
        self._apply()
        return fell

    def restore(self, limit: float) -> None:
        """Start from *limit*, which was good once."""
        self.law.restore(limit)
        self._apply()

    def retune(self, law: Adaptive) -> None:
        """Take over the settings of *law*, of the same kind; what was found out stays."""
        self.law.retune(law)
        self._apply()

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*."""
        self.until += delta
        self._last += delta
        self._told += delta
        self.law.shift(delta)

    def _places(self) -> int:
        return max(1, int(self.law.limit + EPSILON))

    def _apply(self) -> bool:
        before = self.limit
        self.limit = 0 if self._paused else self._places()
        return self.limit > before

    def __repr__(self) -> str:
        return f"<AdaptivePlaces {self.held:g} of {self.limit:g}, {self.law!r}>"
