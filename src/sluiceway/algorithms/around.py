"""A limiter around another one: what it does not change it passes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.algorithms.limiter import Limiter


class Around:
    """Passes everything on to *limiter* (see :mod:`.limiter`)."""

    __slots__ = ("_limiter",)

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    @property
    def limiter(self) -> Limiter:
        """The limiter inside."""
        return self._limiter

    def take(self, costs: Sequence[float], now: float) -> float | None:
        """Return 0.0 and take *costs*, or return the wait and take nothing."""
        return self._limiter.take(costs, now)

    def wait(self, costs: Sequence[float], now: float) -> float | None:
        """Return the seconds until all *costs* could be taken; None if somebody must leave first."""
        return self._limiter.wait(costs, now)

    def give(self, costs: Sequence[float], now: float, at: float | None = None) -> None:
        """Hand back an unused permit of *costs*."""
        self._limiter.give(costs, now, at)

    def adjust(self, deltas: Sequence[float], now: float, at: float | None = None) -> None:
        """Settle by *deltas*."""
        self._limiter.adjust(deltas, now, at)

    def learn(self, i: int, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Lower level *i* to *remaining*; raise it to *raise_to* if given."""
        self._limiter.learn(i, remaining, now, raise_to=raise_to)

    def pause(self, until: float, now: float) -> None:
        """Admit nothing before *until*."""
        self._limiter.pause(until, now)

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*."""
        self._limiter.shift(delta)

    def largest(self, i: int) -> float:
        """Return the largest cost that resource *i* can ever admit."""
        return self._limiter.largest(i)

    def levels(self, now: float) -> tuple[float, ...]:
        """Return what is left of each resource at *now*."""
        return self._limiter.levels(now)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._limiter!r}>"
