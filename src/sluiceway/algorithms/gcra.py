"""A token bucket in one number: the generic cell rate algorithm (ATM Forum, Traffic Management 4.0, section 4.4.2)."""

from __future__ import annotations

import math

from sluiceway.algorithms.rates import EPSILON, at_least_zero, padded, rate_of


class Gcra:
    """One limited resource that keeps only its theoretical arrival time, TAT (see :mod:`.limiter`).

    ``TAT' = max(now, TAT) + cost / rate``, allowed if ``now >= TAT' - burst``, with ``rate = limit / window`` and
    a burst of at least one permit. It decides as a token bucket of capacity ``max(1, rate * burst)`` does, whose
    level is ``capacity - max(0, TAT - now) * rate``. A cost above the burst is admitted once ``TAT <= now`` and
    leaves a debt. TAT does not move closer for *lag* seconds after a take that followed idleness of at least *lag*:
    see :class:`.TokenBuckets`.

    Args:
        limit: permits per window.
        window: seconds.
        burst: seconds' worth of the rate that may pass at once after idleness.
        lag: seconds that the first request after idleness may be on its way; 0 to go on at once.

    Raises:
        ValueError: one of the numbers is not above 0.
    """

    __slots__ = ("_at", "_burst", "_capacity", "_interval", "_lag", "_limit", "_surplus", "_tat", "_tau", "_until")

    def __init__(self, limit: float, window: float, burst: float = 0.9, lag: float = 0.0) -> None:
        self._burst = at_least_zero(burst, "burst")
        self._lag = at_least_zero(lag, "lag")
        self._specify(limit, window)
        self._tat = -math.inf
        self._surplus = 0.0  # permits above the burst that the provider told us of; they go first
        self._at = -math.inf  # the last time told; in a pause its end, so that one comparison finds both
        self._until = -math.inf

    def _specify(self, limit: float, window: float) -> None:
        rate = rate_of(limit, window)
        self._limit = float(limit)
        self._interval = 1.0 / rate
        self._capacity = max(1.0, rate * self._burst)
        self._tau = self._capacity * self._interval * (1.0 + EPSILON)

    def take(self, cost: float, now: float) -> float:
        """Return 0.0 and take *cost*, or return the seconds to wait and take nothing."""
        at = now
        if now < self._at:
            if self._at == self._until:
                return self.wait(cost, now)
            at = self._at
        # Compared as a backlog and not as two points in time: far from 0 the clock's rounding would eat the burst.
        backlog = self._tat - at
        if backlog < 0.0:
            if -backlog >= self._lag:
                at += self._lag
            backlog = 0.0
        backlog += cost * self._interval
        if backlog > self._tau or self._surplus:
            wait = self.wait(cost, now)
            if wait == 0.0:
                self.charge(cost, now)
            return wait
        self._tat = at + backlog
        self._at = at
        return 0.0

    def wait(self, cost: float, now: float) -> float:
        """Return the seconds until *cost* could be taken; 0.0 for now."""
        told = now if now > self._at else self._at  # noqa: FURB136 - max() costs a call; a composite asks here
        backlog = self._tat - told if self._tat > told else 0.0
        backlog += (cost if cost < self._capacity else self._capacity) * self._interval  # noqa: FURB136 - as above
        if backlog <= self._tau and now == told:
            return 0.0
        late = backlog - self._capacity * self._interval if backlog > self._tau and cost else 0.0
        if late or self._paused(now):
            return padded(late + max(0.0, self._at - now), now)
        return 0.0

    def charge(self, cost: float, now: float) -> None:
        """Take *cost* whatever the level."""
        if self._surplus:
            self._put(self.level(now) - cost, now)
            return
        self._at = max(self._at, now)
        tat = max(self._at, self._tat)
        self._tat = tat + cost * self._interval

    def give(self, cost: float, now: float, at: float | None = None) -> None:
        """Hand back an unused permit of *cost*."""
        self.adjust(-cost, now, at)

    def adjust(self, delta: float, now: float, at: float | None = None) -> None:  # noqa: ARG002 - TAT keeps no entries
        """Settle by *delta*: move TAT, but by a refund never to before *now*."""
        level = self.level(now)
        top = 1.0 if self._paused(now) else self._capacity
        self._put(level - delta if delta > 0.0 else min(level - delta, max(level, top)), now)

    def learn(self, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Lower the level to *remaining*; raise it to *raise_to* if given, up to the whole limit."""
        level = min(self.level(now), remaining)
        if raise_to is not None and raise_to > level:
            level = max(level, min(raise_to, 1.0 if self._paused(now) else self._limit))
        self._put(level, now)

    def pause(self, until: float, now: float) -> None:
        """Admit nothing before *until*; see :mod:`.limiter`."""
        if until <= max(now, self._at - self._lag, self._until):
            return
        level = min(self.level(now), 1.0)
        self._at = self._until = max(until, self._at)
        self._put(level, until)

    def resize(self, limit: float, window: float, now: float) -> None:
        """Change the rate; the level stays, as far as the new burst holds it.

        Raises:
            ValueError: one of the numbers is not above 0.
        """
        level = self.level(now)
        learnt = self._surplus > 0.0
        self._specify(limit, window)
        self._put(min(level, self._limit if learnt else self._capacity), now)

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*; see :mod:`.limiter`."""
        self._tat += delta
        self._at += delta
        self._until += delta

    def largest(self) -> float:
        """Return the whole limit: larger costs are the caller's to refuse."""
        return self._limit

    def level(self, now: float) -> float:
        """Return the permits that could be taken at *now*, negative in debt."""
        backlog = max(0.0, self._tat - max(now, self._at))
        return self._capacity - backlog / self._interval + self._surplus

    def _put(self, level: float, now: float) -> None:
        """Make *level* that of *now*."""
        self._at = max(now, self._at)
        self._surplus = max(0.0, level - self._capacity)
        self._tat = self._at + max(0.0, self._capacity - level) * self._interval

    def _paused(self, now: float) -> bool:
        return now < self._until == self._at

    def __repr__(self) -> str:
        return f"<Gcra {self._limit:g} at {1 / self._interval:g}/s, burst {self._burst:g} s>"
