"""A limiter whose every permit also holds one place in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.algorithms.around import Around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.algorithms.in_flight import InFlight
    from sluiceway.algorithms.limiter import Limiter


class WithPlaces(Around):
    """*limiter* and one place, taken together or not at all (see :mod:`.limiter`).

    Costs are those of *limiter*; the place is always one. ``give`` returns both, for a permit that was never used.
    A call that is over gives only its place back: ``places.give()``.
    """

    __slots__ = ("_take", "places")

    def __init__(self, limiter: Limiter, places: InFlight) -> None:
        super().__init__(limiter)
        self.places = places
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

    def __repr__(self) -> str:
        return f"<WithPlaces {self._limiter!r}, {self.places!r}>"
