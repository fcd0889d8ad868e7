"""A limiter whose every permit also holds one place in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.algorithms.in_flight import InFlight
    from sluiceway.algorithms.limiter import Limiter


class WithPlaces:
    """*limiter* and one place, taken together or not at all (see :mod:`.limiter`).

    Costs are those of *limiter*; the place is always one. ``give`` returns both, for a permit that was never used.
    A call that is over gives only its place back: ``places.give()``.
    """

    __slots__ = ("_limiter", "_take", "places")

    def __init__(self, limiter: Limiter, places: InFlight) -> None:
        self.places = places
        self._limiter = limiter
        self._take = limiter.take

    def take(self, costs: Sequence[float], now: float) -> float | None:
        """Return 0.0 and take *costs* and a place, or return the wait and take nothing."""
        places = self.places
        if places.held >= places.limit:
            return None
        wait = self._take(costs, now)
        if wait == 0.0:
            places.held += 1
        return wait

    def wait(self, costs: Sequence[float], now: float) -> float | None:
        """Return the seconds until all *costs* could be taken; None if somebody must leave first."""
        return self._limiter.wait(costs, now) if self.places.held < self.places.limit else None

    def give(self, costs: Sequence[float], now: float, at: float | None = None) -> None:
        """Hand back an unused permit: its *costs* and its place."""
        self.places.give()
        self._limiter.give(costs, now, at)

    def adjust(self, deltas: Sequence[float], now: float, at: float | None = None) -> None:
        """Settle by *deltas*; the place stays."""
        self._limiter.adjust(deltas, now, at)

    def learn(self, i: int, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Lower level *i* to *remaining*; raise it to *raise_to* if given."""
        self._limiter.learn(i, remaining, now, raise_to=raise_to)

    def pause(self, until: float, now: float | None = None) -> None:
        """Admit nothing before *until*."""
        self._limiter.pause(until, now)

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*; see :mod:`.limiter`."""
        self._limiter.shift(delta)

    def largest(self, i: int) -> float:
        """Return the largest cost that resource *i* can ever admit."""
        return self._limiter.largest(i)

    def levels(self, now: float) -> tuple[float, ...]:
        """Return what is left at *now*, without the places."""
        return self._limiter.levels(now)

    def __repr__(self) -> str:
        return f"<WithPlaces {self._limiter!r}, {self.places!r}>"
