"""Permits that a store has promised, in hand and to come, as a limiter."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from sluiceway.algorithms.rates import EPSILON, padded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class LeasedPool:
    """What a store has promised this process, handed out as it becomes due (see :mod:`.limiter`).

    Nothing grows here. `deliver` brings permits, each for a moment from which it holds; where there are none, `hungry`
    is called and the wait is that until the next one to come, None if nobody knows. What is settled is not ours but
    the store's: it waits in `changes` to be told, as what was learnt does in `learnt`.

    Args:
        limits: of each resource, for :meth:`largest`.
        fresh: seconds for which a permit in hand may be used; infinity for any time. An exact log in the store holds
            them to the moment that they were promised for; what is not used by then goes back.
        hungry: called when there is not enough.

    Attributes:
        open: whether everything passes, since the store is away and that was asked for.
        low: call `hungry` already when less than this is left in hand of the first resource.
        used: how much of the first resource was handed out, ever.
        asked_at: when it last refused.
        changes: ``[at, deltas]`` for the store, oldest first, by our clock.
        learnt: ``[remaining, at, raise to]`` by resource.
        pause_asked: until when the provider asked for a pause that the store does not know of.
        told: the levels of the store, as last heard.
    """

    __slots__ = (
        "_coming",
        "_free",
        "_fresh",
        "_hand",
        "_limits",
        "_parts",
        "asked_at",
        "changes",
        "hungry",
        "learnt",
        "low",
        "open",
        "pause_asked",
        "paused_until",
        "told",
        "used",
    )

    def __init__(self, limits: Sequence[float], fresh: float, hungry: Callable[[], None]) -> None:
        self._limits: Final = tuple(limits)
        self._fresh = fresh
        self._hand = [0.0 for _ in limits]
        self._parts: deque[list[float]] = deque()  # of what is in hand: its time, then how much; only where that counts
        self._coming: deque[tuple[float, Sequence[float]]] = deque()
        self.hungry = hungry
        self.open = False
        self._free = [math.inf, -math.inf]  # from when until when what was taken was nobody's, the last time
        self.low = 0.0
        self.used = 0.0
        self.asked_at = -math.inf
        self.changes: list[tuple[float, list[float]]] = []
        self.learnt: dict[int, tuple[float, float, float]] = {}
        self.pause_asked = self.paused_until = -math.inf
        self.told: Sequence[float] = self._limits

    def take(self, costs: Sequence[float], now: float) -> float | None:
        """Return 0.0 and take all *costs*; or take nothing, ask for more, and return the wait."""
        if self.open:
            self._free = [min(now, self._free[0]), now]
            return 0.0
        if (self._coming and self._coming[0][0] <= now) or self._parts:
            self._arrive(now)
        hand = self._hand
        if now >= self.paused_until:
            for have, cost in zip(hand, costs, strict=True):
                if have + EPSILON < cost:
                    break
            else:
                for i, cost in enumerate(costs):
                    hand[i] -= cost
                if self._parts:
                    self._use(costs)
                self.used += costs[0]
                if hand[0] < self.low:
                    self.hungry()
                return 0.0
        self.asked_at = now
        self.hungry()
        return self.wait(costs, now)

    def wait(self, costs: Sequence[float], now: float) -> float | None:
        """Return the seconds until what is promised suffices; None if it never does."""
        if self.open:
            return 0.0
        if self._parts:
            self._arrive(now)
        missing: Sequence[float] = [cost - have for cost, have in zip(costs, self._hand, strict=True)]
        at = max(now, self.paused_until)
        for due, amounts in self._coming:
            if max(missing) <= EPSILON:
                break
            at = max(at, due)
            missing = [short - amount for short, amount in zip(missing, amounts, strict=True)]
        if max(missing) > EPSILON:
            return None
        return padded(at - now, now) if at > now else 0.0

    def _was_free(self, at: float) -> bool:
        """Whether what was taken at *at* was nobody's."""
        return self.open or self._free[0] <= at <= self._free[1]

    def let_pass(self) -> None:
        """Let everything pass from now on."""
        if not self.open:
            self.open = True
            self._free = [math.inf, -math.inf]

    def deliver(self, at: float, amounts: Sequence[float]) -> None:
        """Hold *amounts* from *at* on."""
        if self._coming and at < self._coming[-1][0]:
            self._coming.append((at, amounts))
            self._coming = deque(sorted(self._coming, key=lambda each: each[0]))
        else:
            self._coming.append((at, amounts))

    def held(self) -> list[float]:
        """Return what is in hand and to come."""
        columns: list[Sequence[float]] = [self._hand, *(amounts for _, amounts in self._coming)]
        return [max(0.0, sum(column)) for column in zip(*columns, strict=True)]

    def last_due(self) -> float:
        """Return when the last permit is due that was promised."""
        return self._coming[-1][0] if self._coming else -math.inf

    def put_back(self, now: float) -> None:
        """Give all that is in hand and to come back to the store."""
        if any(self._hand) and not self._parts:
            self._back(now, self._hand)
        for stamp, *left in self._parts:
            self._back(stamp, left)
        for due, amounts in self._coming:
            self._back(due, amounts)
        self.forget()

    def forget(self) -> None:
        """Hold nothing any more."""
        self._coming.clear()
        self._parts.clear()
        self._hand = [0.0 for _ in self._limits]

    def give(self, costs: Sequence[float], now: float, at: float | None = None) -> None:
        """Take an unused permit back into hand; it is as old as it was. One that just passed is nobody's."""
        if self._was_free(now if at is None else at):
            return
        self.used -= costs[0]
        if self._fresh < math.inf:
            self._parts.appendleft([now if at is None else at, *costs])
        for i, cost in enumerate(costs):
            self._hand[i] += cost

    def adjust(self, deltas: Sequence[float], now: float, at: float | None = None) -> None:
        """Have the store settle by *deltas* what was taken at *at*."""
        if self._was_free(now if at is None else at):
            return
        self.changes.append((now if at is None else at, list(deltas)))
        if len(self.changes) == 1:
            self.hungry()

    def learn(self, i: int, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Have the store told what remains."""
        self.learnt[i] = (remaining, now, -math.inf if raise_to is None else raise_to)

    def pause(self, until: float, now: float) -> None:  # noqa: ARG002 - every limiter is told the time
        """Admit nothing before *until*, and have the others told."""
        if until > self.paused_until:
            self.paused_until = self.pause_asked = until
            self.hungry()

    def shift(self, delta: float) -> None:
        """Forget what was promised by another clock."""
        self.forget()
        self._free = [each + delta for each in self._free]
        self.changes.clear()
        self.learnt.clear()
        self.paused_until += delta
        self.pause_asked = -math.inf

    def largest(self, i: int) -> float:
        """Return the whole limit of resource *i*: larger costs are the caller's to refuse."""
        return self._limits[i]

    def levels(self, now: float) -> tuple[float, ...]:
        """Return what the store had when it last answered, and what is in hand."""
        self._arrive(now)
        return tuple(told + have for told, have in zip(self.told, self._hand, strict=True))

    def _arrive(self, now: float) -> None:
        """Take into hand what is due, and give back what is too old to be used."""
        coming, parts, hand = self._coming, self._parts, self._hand
        while coming and coming[0][0] <= now:
            due, amounts = coming.popleft()
            for i, amount in enumerate(amounts):
                hand[i] += amount
            if self._fresh < math.inf:
                parts.append([due, *amounts])
        while parts and parts[0][0] + self._fresh < now:
            stamp, *amounts = parts.popleft()
            for i, amount in enumerate(amounts):
                hand[i] = max(0.0, hand[i] - amount)
            self._back(stamp, amounts)

    def _use(self, costs: Sequence[float]) -> None:
        """Take *costs* out of the oldest parts."""
        for i, cost in enumerate(costs):
            left = cost
            for part in self._parts:
                used = min(left, part[i + 1])
                part[i + 1] -= used
                left -= used
                if left <= 0.0:
                    break
        while self._parts and max(self._parts[0][1:]) <= EPSILON:
            self._parts.popleft()

    def _back(self, stamp: float, amounts: Sequence[float]) -> None:
        if max(amounts) > EPSILON:
            self.changes.append((stamp, [-max(0.0, amount) for amount in amounts]))

    def __repr__(self) -> str:
        held = ", ".join(f"{have:g} of {limit:g}" for have, limit in zip(self.held(), self._limits, strict=True))
        return f"<LeasedPool {held}>"
