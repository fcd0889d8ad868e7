"""Several token buckets, taken at once or not at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sluiceway.algorithms.rates import EPSILON, at_least_zero, padded, rate_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class TokenBuckets:
    """Requests, tokens and what else is counted per window, as one limiter (see :mod:`.limiter`).

    ``level = min(capacity, level + rate * dt)`` with ``rate = limit / window`` per second and
    ``capacity = max(1, rate * burst)``; a cost waits ``(cost - level) / rate`` seconds.

    A cost above the capacity is admitted at a full bucket and leaves a debt: with 0.9 s of burst a limit of 30,000
    tokens a minute holds 450, and a call of 2,000 must pass. A rolling window that begins with a full bucket sees
    up to ``limit + capacity``: a burst as large as the limit lets twice the limit through.

    A take from buckets that were all full for *lag* or longer begins to refill them *lag* later. The provider's own
    full bucket does not refill before the first request reaches it, while ours would.

    Args:
        limits: ``(limit, window in seconds)`` of each bucket.
        burst: seconds' worth of the rate that a bucket holds.
        lag: seconds that the first request after idleness may be on its way; 0 to refill at once.

    Raises:
        ValueError: there are no limits, or one of the numbers is not above 0.
    """

    __slots__ = ("_at", "_burst", "_idleness", "_lag", "_levels", "_limits", "_spare", "_specs", "_until")

    def __init__(self, limits: Sequence[tuple[float, float]], burst: float = 0.9, lag: float = 0.0) -> None:
        if not limits:
            raise ValueError(f"limits={limits!r} must name at least one (limit, window)")
        self._burst = at_least_zero(burst, "burst")
        self._lag = at_least_zero(lag, "lag")
        self._idleness = self._lag or math.inf  # so long is none
        self._specs = self._specified(limits)
        self._limits = tuple(float(limit) for limit, _ in limits)
        self._levels = [capacity for _, _, capacity, _ in self._specs]
        self._spare = list(self._levels)  # a take writes here and swaps: no list is made, and a refusal changes nothing
        self._at = -math.inf  # of _levels; in a pause its end, so that one comparison finds both
        self._until = -math.inf

    def _specified(self, limits: Sequence[tuple[float, float]]) -> tuple[tuple[int, float, float, float], ...]:
        """Return (index, rate, capacity, what a level may lack of 0) of each bucket."""
        rates = [rate_of(limit, window) for limit, window in limits]
        capacities = [max(1.0, rate * self._burst) for rate in rates]
        return tuple((i, *both, -EPSILON * both[1]) for i, both in enumerate(zip(rates, capacities, strict=True)))

    def take(self, costs: Sequence[float], now: float) -> float:
        """Return 0.0 and take all *costs*, or return the seconds to wait and take nothing."""
        at = now
        elapsed = now - self._at
        if elapsed < 0.0:
            if self._at == self._until:
                return self.wait(costs, now)
            at = self._at
            elapsed = 0.0
        elif elapsed >= self._idleness and self._idle(elapsed - self._lag):
            at = now + self._lag
        levels = self._levels
        left = self._spare
        for i, rate, capacity, hair in self._specs:
            level = levels[i]
            filled = level + rate * elapsed
            if filled > capacity:
                # What was learnt stays, but does not grow.
                filled = capacity if level < capacity else level  # noqa: FURB136 - max() costs a call on the hot path
            rest = filled - costs[i]
            if rest < hair and costs[i] and (costs[i] <= capacity or filled - capacity < hair):
                return self.wait(costs, now)
            left[i] = rest
        self._spare = levels
        self._levels = left
        self._at = at
        return 0.0

    def wait(self, costs: Sequence[float], now: float) -> float:
        """Return the seconds until all *costs* could be taken; 0.0 for now."""
        longest = 0.0
        elapsed = now - self._at
        grows = elapsed if elapsed > 0.0 else 0.0  # noqa: FURB136 - max() costs a call, and who waits comes here
        levels = self._levels
        for i, rate, capacity, hair in self._specs:
            cost = costs[i]
            level = levels[i]
            if level < capacity:
                level += rate * grows
                if level > capacity:  # noqa: PLR1730 - as above
                    level = capacity
            spare = level - (cost if cost < capacity else capacity)  # noqa: FURB136 - as above
            if spare < hair and cost and -spare > longest * rate:
                longest = -spare / rate
        if longest or (elapsed < 0.0 and self._paused(now)):
            return padded(longest - elapsed if elapsed < 0.0 else longest, now)
        return 0.0

    def give(self, costs: Sequence[float], now: float, at: float | None = None) -> None:
        """Hand back an unused permit of *costs*."""
        self.adjust([-cost for cost in costs], now, at)

    def adjust(self, deltas: Sequence[float], now: float, at: float | None = None) -> None:  # noqa: ARG002 - a bucket keeps no entries
        """Settle by *deltas*: charge what is positive, into debt if need be, refund what is negative."""
        self._advance(now)
        levels = self._levels
        for i, _, capacity, _ in self._specs:
            delta = deltas[i]
            level = levels[i] - delta
            if delta < 0.0:
                # Those who were refused during a pause get no burst after it.
                level = min(level, max(levels[i], 1.0 if self._paused(now) else capacity))
            levels[i] = level

    def learn(self, i: int, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Lower level *i* to *remaining*; raise it to *raise_to* if given, up to the whole limit."""
        self._advance(now)
        level = min(self._levels[i], remaining)
        if raise_to is not None and raise_to > level:
            level = max(level, min(raise_to, 1.0 if self._paused(now) else self._limits[i]))
        self._levels[i] = level

    def pause(self, until: float, now: float) -> None:
        """Admit nothing before *until*; see :mod:`.limiter`."""
        self._advance(now)
        if until <= max(now, self._at - self._lag, self._until):
            return
        self._levels = [min(level, 1.0) for level in self._levels]
        self._at = self._until = max(until, self._at)

    def resize(self, limits: Sequence[tuple[float, float]], now: float) -> None:
        """Change the rates; the levels stay, as far as the new capacities hold them.

        Raises:
            ValueError: there are more or fewer limits than before, or one of the numbers is not above 0.
        """
        if len(limits) != len(self._specs):
            raise ValueError(f"limits={limits!r} must have {len(self._specs)} entries, as before")
        specs = self._specified(limits)
        self._advance(now)
        self._limits = tuple(float(limit) for limit, _ in limits)
        for i, _, capacity, _ in self._specs:
            learnt = self._levels[i] > capacity
            self._levels[i] = min(self._levels[i], self._limits[i] if learnt else specs[i][2])
        self._specs = specs

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*; see :mod:`.limiter`."""
        self._at += delta
        self._until += delta

    def largest(self, i: int) -> float:
        """Return the whole limit of bucket *i*: larger costs are the caller's to refuse."""
        return self._limits[i]

    def levels(self, now: float) -> tuple[float, ...]:
        """Return what each bucket holds at *now*, negative in debt."""
        elapsed = max(0.0, now - self._at)
        return tuple(
            max(self._levels[i], min(capacity, self._levels[i] + rate * elapsed))
            for i, rate, capacity, _ in self._specs
        )

    def _idle(self, elapsed: float) -> bool:
        """Return whether all buckets were full when *elapsed* seconds had passed."""
        return all(self._levels[i] + rate * elapsed >= capacity for i, rate, capacity, _ in self._specs)

    def _paused(self, now: float) -> bool:
        return now < self._until == self._at

    def _advance(self, now: float) -> None:
        elapsed = now - self._at
        if elapsed > 0.0:
            levels = self._levels
            for i, rate, capacity, _ in self._specs:
                level = levels[i]
                if level < capacity:
                    filled = level + rate * elapsed
                    levels[i] = filled if filled < capacity else capacity  # noqa: FURB136 - min() costs a call
            self._at = now

    def __repr__(self) -> str:
        limits = ", ".join(f"{limit:g} at {spec[1]:g}/s" for limit, spec in zip(self._limits, self._specs, strict=True))
        return f"<TokenBuckets {limits}, burst {self._burst:g} s>"
