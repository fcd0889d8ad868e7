"""Places: at most so many inside at once."""

from __future__ import annotations

from sluiceway.algorithms.rates import whole


class InFlight:
    """A number of places, told from what is held and never from differences (see :mod:`.limiter`).

    After ``resize`` from 10 to 2 with 10 inside, nobody enters before 9 have left; grown to 4 again, still none
    before 7 have. No time passes here: ``take`` answers 0.0, or None for "when somebody leaves".

    Attributes:
        limit: places in all; change it by :meth:`resize`.
        held: places taken. A caller in a hurry may compare and count these two by hand.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = whole(limit, "limit")
        self.held: float = 0

    def take(self, cost: float = 1, now: float = 0.0) -> float | None:  # noqa: ARG002 - places know no time
        """Return 0.0 and take *cost* places, or None if they are not free."""
        held = self.held + cost
        if held <= self.limit or not cost:
            self.held = held
            return 0.0
        return None

    def wait(self, cost: float = 1, now: float = 0.0) -> float | None:  # noqa: ARG002 - places know no time
        """Return 0.0 if *cost* places are free, else None."""
        return 0.0 if self.held + cost <= self.limit or not cost else None

    def charge(self, cost: float = 1, now: float = 0.0) -> None:  # noqa: ARG002 - places know no time
        """Take *cost* places, free or not."""
        self.held += cost

    def give(self, cost: float = 1, now: float = 0.0, at: float | None = None) -> None:  # noqa: ARG002 - places know no time
        """Give *cost* places back.

        Raises:
            RuntimeError: more places come back than were taken; somebody gave twice.
        """
        if cost > self.held:
            raise RuntimeError(f"{cost:g} places were given back, but only {self.held:g} are held")
        self.held -= cost

    def resize(self, limit: int) -> None:
        """Change the number of places; those inside stay."""
        self.limit = whole(limit, "limit")

    def adjust(self, delta: float, now: float, at: float | None = None) -> None:
        """Do nothing: what a call turned out to cost changes no place."""

    def learn(self, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Do nothing: providers report rates, not places."""

    def pause(self, until: float, now: float) -> None:
        """Do nothing: whoever is inside stays, and rates do the pausing."""

    def shift(self, delta: float) -> None:
        """Do nothing: places know no time."""

    def largest(self) -> float:
        """Return the limit: larger costs are the caller's to refuse."""
        return self.limit

    def level(self, now: float = 0.0) -> float:  # noqa: ARG002 - places know no time
        """Return the free places, negative after the limit shrank below what is held."""
        return self.limit - self.held

    def __repr__(self) -> str:
        return f"<InFlight {self.held:g} of {self.limit:g}>"
