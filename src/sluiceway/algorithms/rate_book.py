"""A rate that many processes share, decided: the book that a store keeps of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from sluiceway.algorithms.rates import EPSILON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BUCKET: Final = 0
WINDOW: Final = 1

_SEEN: Final = 10.0  # seconds after which a worker that says nothing counts no more
_AHEAD: Final = 30.0  # seconds; nothing is promised for later, since who was promised it may be gone by then
_AWAY: Final = 10.0  # seconds after which one who comes back begins another return of all
_TRIES: Final = 32  # entries of a log among which a correction is spread


class RateBook:
    """Permits by reservation: who asks is told *when* it may use what it gets, and never has to ask again for it.

    ``scripts/rate.lua`` does the same inside Redis, line by line; the same tests hold both to it.

    A resource is a bucket ``[0, limit, window, capacity]``, whose level goes below 0 for what is promised, or an exact
    log ``[1, limit, span, granularity, interval, slack]``, each entry of which bears the time that it was promised for.
    A call's slot is the earliest time at which all of its costs are there. Nobody may hold more than his share of what
    comes within a horizon, ``(level + rate * horizon) / workers that wait``, but one call always; so slots go round.

    Question: `id`; `specs`; `lag`; `calls` (``[count, costs]``, in order); `must` (the first of them even beyond the
    share, since nothing is held); `more` (a call to have in advance where there is plenty); `held`; `changes`
    (``[stamp, deltas]``: returned, settled); `learn` (``[i, remaining, raise to]``); `pause`; `resume` (it was away:
    promise nothing from what grew meanwhile); `horizon`; `bye`.

    Answer: `now`; `workers`; `short` (how many wait); `paused` seconds; `levels`; `again` (ask once more after so many
    seconds; -1 for no need); `back` (seconds since the first came back after the store was away, 10 at the most);
    `grants` (``[count, seconds from now, index of the call, -1 for more]``).
    """

    __slots__ = ("_at", "_back_at", "_fresh", "_logs", "_next", "_seen", "_short", "_told", "_until", "levels")

    def __init__(self) -> None:
        self._fresh = True
        self.levels: list[float] = []
        self._logs: list[_Log] = []
        self._next: list[float] = []
        self._at = self._told = self._until = self._back_at = -math.inf
        self._seen: dict[str, float] = {}
        self._short: dict[str, float] = {}

    def exchange(self, ask: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer *ask* at *now*, in seconds of the store's own clock."""
        specs: Sequence[Sequence[float]] = ask["specs"]
        idle = self._advance(specs, now, ask["lag"], resume=ask["resume"])
        if ask["resume"] and now - self._back_at > _AWAY:
            self._back_at = now
        self._heed(specs, ask, now)
        workers, short = self._count(ask, specs, now)
        grants: list[list[float]] = []
        again = -1.0
        if not ask["bye"]:
            again = self._grant(specs, ask, now, short, grants)
            if idle and grants:
                self._at = max(self._at, now + ask["lag"])
        left = [
            level if spec[0] == BUCKET else spec[1] - log.used
            for spec, level, log in zip(specs, self.levels, self._logs, strict=True)
        ]
        return {
            "now": now,
            "workers": workers,
            "short": short,
            "paused": max(0.0, self._until - now),
            "levels": left,
            "again": again,
            "back": min(_AWAY, now - self._back_at),
            "grants": grants,
        }

    def _advance(self, specs: Sequence[Sequence[float]], now: float, lag: float, *, resume: bool) -> bool:
        """Refill until *now*; return whether all buckets had been full for *lag* and longer."""
        if self._fresh or len(specs) != len(self.levels):
            self.levels = [spec[3] for spec in specs]
            self._logs = [_Log() for _ in specs]
            self._next = [-math.inf for _ in specs]
            self._at = now - lag
            self._fresh = False
        elif now < self._told:  # the clock was set back: time stands still instead
            self._shift(now - self._told)
        self._told = now
        elapsed = now - self._at
        idle = lag > 0.0 and elapsed >= lag
        for i, spec in enumerate(specs):
            if spec[0] == BUCKET:
                rate, capacity = spec[1] / spec[2], spec[3]
                idle = idle and self.levels[i] + rate * (elapsed - lag) >= capacity
                if elapsed > 0.0:
                    level = self.levels[i] + rate * elapsed
                    # What was learnt stays, but does not grow.
                    self.levels[i] = min(capacity, level) if self.levels[i] < capacity else self.levels[i]
                if resume:
                    self.levels[i] = min(self.levels[i], 0.0)
            else:
                self._logs[i].expire(now - spec[2])
        self._at = max(self._at, now)
        return idle

    def _heed(self, specs: Sequence[Sequence[float]], ask: Mapping[str, Any], now: float) -> None:
        """Book what came back, what was settled, what the provider said."""
        for stamp, deltas in ask["changes"]:
            for i, delta in enumerate(deltas):
                if specs[i][0] == WINDOW:
                    self._next[i] += self._logs[i].correct(stamp, delta, specs[i][3]) * specs[i][4]
                elif delta > 0.0:
                    self.levels[i] -= delta
                else:
                    most = 1.0 if self._until > now else specs[i][3]
                    self.levels[i] = min(self.levels[i] - delta, max(self.levels[i], most))
        for i, remaining, raise_to in ask["learn"]:
            spec = specs[i]
            if spec[0] == WINDOW:
                foreign = spec[1] - self._logs[i].used - remaining
                if foreign > 0.0:
                    self._logs[i].add(now, foreign, spec[3])
                continue
            level = min(self.levels[i], remaining)
            self.levels[i] = max(level, min(raise_to, 1.0 if self._until > now else spec[1]))
        until = now + ask["pause"]
        if ask["pause"] > 0.0 and until > self._until:
            self.levels = [min(level, 1.0) for level in self.levels]
            self._until = until
            self._at = max(self._at, until)
            self._next = [max(each, until) for each in self._next]

    def _count(self, ask: Mapping[str, Any], specs: Sequence[Sequence[float]], now: float) -> tuple[int, int]:
        """Return how many workers there are, and how many of them wait."""
        ahead = max([0.0, *(-self.levels[i] * s[2] / s[1] for i, s in enumerate(specs) if s[0] == BUCKET)])
        recent = max(2.0, 2.0 * ahead, 4.0 * ask["horizon"])
        name = ask["id"]
        for book, told, oldest in ((self._seen, not ask["bye"], _SEEN), (self._short, bool(ask["calls"]), recent)):
            if told:
                book[name] = now
            else:
                book.pop(name, None)
            for other in [each for each, at in book.items() if at <= now - oldest]:
                del book[other]
        return max(1, len(self._seen)), max(1, len(self._short))

    def _grant(
        self,
        specs: Sequence[Sequence[float]],
        ask: Mapping[str, Any],
        now: float,
        short: int,
        grants: list[list[float]],
    ) -> float:
        """Promise calls in order as far as the share goes; return when to ask again, -1 if there is no need."""
        horizon = ask["horizon"]
        room = [0.0 for _ in specs]
        if horizon:
            for i, spec in enumerate(specs):
                stock = self.levels[i] if spec[0] == BUCKET else 0.0 if spec[4] else spec[1] - self._logs[i].used
                room[i] = (max(0.0, stock) + spec[1] / spec[2] * horizon) / short - ask["held"][i]
        must = ask["must"]
        for j, (count, costs) in enumerate(ask["calls"]):
            for _ in repeat(None, int(count)):
                if not must and any(cost > room[i] + EPSILON for i, cost in enumerate(costs)):
                    return -1.0
                must = False
                slot = self._slot(specs, costs, now)
                if slot - now > _AHEAD:
                    return slot - now - _AHEAD
                self._book(specs, costs, slot)
                room = [left - cost for left, cost in zip(room, costs, strict=True)]
                _note(grants, slot - now, j)
        if ask["more"] and not ask["calls"]:
            self._advance_some(specs, ask["more"], now, grants)
        return -1.0

    def _advance_some(
        self, specs: Sequence[Sequence[float]], more: Sequence[Any], now: float, grants: list[list[float]]
    ) -> None:
        """Hand out calls in advance, as long as half of everything is left for the others."""
        count, costs = more
        for _ in repeat(None, int(count)):
            for i, (spec, cost) in enumerate(zip(specs, costs, strict=True)):
                left = self.levels[i] if spec[0] == BUCKET else spec[1] - self._logs[i].used
                if left - cost < (spec[3] if spec[0] == BUCKET else spec[1]) / 2.0:
                    return
            if self._until > now:
                return
            self._book(specs, costs, now)
            _note(grants, 0.0, -1)

    def _slot(self, specs: Sequence[Sequence[float]], costs: Sequence[float], now: float) -> float:
        slot = max(now, self._until)
        for i, cost in enumerate(costs):
            if not cost:
                continue
            spec = specs[i]
            if spec[0] == BUCKET:
                missing = min(cost, spec[3]) - self.levels[i]
                if missing > EPSILON * spec[1] / spec[2]:
                    slot = max(slot, self._at + missing * spec[2] / spec[1])
                continue
            slot = max(slot, self._next[i])
            excess = self._logs[i].used + cost - spec[1]
            if excess > EPSILON * spec[1]:
                slot = max(slot, self._logs[i].when_free(excess, spec[1]) + spec[2])
        return slot

    def _book(self, specs: Sequence[Sequence[float]], costs: Sequence[float], slot: float) -> None:
        for i, cost in enumerate(costs):
            spec = specs[i]
            if spec[0] == BUCKET:
                self.levels[i] -= cost
            elif cost:
                self._logs[i].add(slot, cost, spec[3])
                self._next[i] = max(self._next[i], slot - spec[5]) + cost * spec[4]

    def _shift(self, delta: float) -> None:
        self._at += delta
        self._until += delta
        self._back_at += delta
        self._next = [each + delta for each in self._next]
        for log in self._logs:
            log.shift(delta)


class _Log:
    """What was promised, by granules: entries of one granule stand under its end, so that they are forgotten late."""

    __slots__ = ("_costs", "_stamps", "used")

    def __init__(self) -> None:
        self._stamps: list[float] = []
        self._costs: dict[float, float] = {}
        self.used = 0.0

    def add(self, stamp: float, cost: float, granularity: float) -> None:
        stamp = math.ceil(stamp / granularity) * granularity
        if stamp in self._costs:
            self._costs[stamp] += cost
        else:
            self._stamps.insert(bisect_right(self._stamps, stamp), stamp)
            self._costs[stamp] = cost
        self.used += cost

    def expire(self, until: float) -> None:
        gone = bisect_right(self._stamps, until)
        for stamp in self._stamps[:gone]:
            self.used -= self._costs.pop(stamp)
        del self._stamps[:gone]
        if not self._stamps:
            self.used = 0.0

    def correct(self, stamp: float, delta: float, granularity: float) -> float:
        """Change by *delta* the entry of *stamp*, a refund also those before it; return what was found of it."""
        before = self.used
        i = bisect_right(self._stamps, stamp + granularity) - 1
        for _ in range(1 if delta > 0.0 else _TRIES):
            if i < 0 or not delta:
                break
            change = max(delta, -self._costs[self._stamps[i]])
            self._costs[self._stamps[i]] += change
            self.used += change
            delta -= change
            i -= 1
        return self.used - before

    def when_free(self, excess: float, limit: float) -> float:
        """Return the stamp with which enough of the oldest entries leave to make up for *excess*."""
        for stamp in self._stamps:
            excess -= self._costs[stamp]
            if excess <= EPSILON * limit / 2.0:
                return stamp
        return self._stamps[-1] if self._stamps else -math.inf

    def shift(self, delta: float) -> None:
        self._costs = {stamp + delta: cost for stamp, cost in self._costs.items()}
        self._stamps = [stamp + delta for stamp in self._stamps]


def _note(grants: list[list[float]], wait: float, j: int) -> None:
    """Add one call to *grants*; those of one moment are one entry."""
    if grants and grants[-1][2] == j and abs(grants[-1][1] - wait) < 1e-6:
        grants[-1][0] += 1
    else:
        grants.append([1, wait, j])
