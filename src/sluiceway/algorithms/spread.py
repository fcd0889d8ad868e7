"""A limiter whose bursts leave no faster than a client can send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.algorithms.around import Around
from sluiceway.algorithms.rates import padded, positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.algorithms.limiter import Limiter

_LONGEST = 0.004  # seconds: a busy client takes about as long to build and send one request
_SLACK = 10 * _LONGEST
_FASTER = 2.5  # how much faster than the limit's own rate a burst may leave


class Spread(Around):
    """*limiter*, whose permits leave ten at once and then one each 4 ms, or faster if 2.5 times its rate is.

    A permit's time is not its request's time: handed out all at once, a burst of 90 keeps a client busy for 0.2
    seconds before the last request is on its way, and by then 20 further permits have grown. Together they reach a
    server that metered neither, and are refused. Handed out as they can be sent, they arrive as they were permitted.

    Args:
        limiter: what admits.
        rate: of the limiter's first resource, per second; its cost decides the spread.
    """

    __slots__ = ("_each", "_next", "_take")

    def __init__(self, limiter: Limiter, rate: float) -> None:
        super().__init__(limiter)
        self._take = limiter.take
        self._each = 1.0 / (_FASTER * positive(rate, "rate"))
        self._next = float("-inf")

    def take(self, costs: Sequence[float], now: float) -> float | None:
        """Return 0.0 and take *costs*, or return the wait and take nothing."""
        ready = self._next
        if now < ready:
            return self.wait(costs, now)
        wait = self._take(costs, now)
        if wait == 0.0:
            interval = costs[0] * self._each
            if interval > _LONGEST:  # noqa: PLR1730 - min() costs a call on the hot path, and so does max()
                interval = _LONGEST
            earliest = now - _SLACK
            self._next = interval + (earliest if ready < earliest else ready)  # noqa: FURB136 - as above
        return wait

    def wait(self, costs: Sequence[float], now: float) -> float | None:
        """Return the seconds until all *costs* could be taken; None if somebody must leave first."""
        wait = self._limiter.wait(costs, now)
        if wait is None or now >= self._next:
            return wait
        return max(wait, padded(self._next - now, now))

    def resize(self, rate: float) -> None:
        """Take another rate; the limiter is the caller's to resize."""
        self._each = 1.0 / (_FASTER * positive(rate, "rate"))

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*."""
        self._next += delta
        self._limiter.shift(delta)
