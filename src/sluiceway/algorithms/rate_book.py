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

    Each resource is kept by itself, under its name and kind, so that two who ask for others under one key, as an old
    and a new configuration do for a while, share what both have. A bucket that has become smaller holds no more.

    Question: `id`; `specs`; `names` of them; `lag`; `calls` (``[count, costs]``, in order); `must` (the first of them
    even beyond the share, since nothing is held); `more` (a call to have in advance where there is plenty); `held`;
    `changes` (``[stamp, deltas]``: returned, settled); `learn` (``[i, remaining, raise to]``); `pause`; `resume` (it
    was away: promise nothing from what grew meanwhile); `used` (of logs, while it was away; empty for nothing);
    `horizon`; `bye`.

    Answer: `now`; `workers`; `short` (how many wait); `paused` seconds; `levels`; `again` (ask once more after so many
    seconds; -1 for no need); `back` (seconds since the first came back after the store was away, 10 at the most);
    `grants` (``[count, seconds from now, index of the call, -1 for more]``).
    """

    __slots__ = ("_back_at", "_kept", "_seen", "_short", "_told", "_until")

    def __init__(self) -> None:
        self._kept: dict[tuple[float, str], _Resource] = {}
        self._told = self._until = self._back_at = -math.inf
        self._seen: dict[str, float] = {}
        self._short: dict[str, float] = {}

    def exchange(self, ask: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer *ask* at *now*, in seconds of the store's own clock."""
        specs: Sequence[Sequence[float]] = ask["specs"]
        if now < self._told:  # the clock was set back: time stands still instead
            self._until += now - self._told
            self._back_at += now - self._told
        self._told = now
        asked = [self._resource(spec, name, now, ask["lag"]) for spec, name in zip(specs, ask["names"], strict=True)]
        idle = ask["lag"] > 0.0 and all(each.idle(now, ask["lag"]) for each in asked)
        for each in asked:
            each.advance(now, resume=ask["resume"])
        if ask["resume"] and now - self._back_at > _AWAY:
            self._back_at = now
        self._heed(asked, ask, now)
        workers, short = self._count(ask, asked, now)
        grants: list[list[float]] = []
        again = -1.0
        if not ask["bye"]:
            again = self._grant(asked, ask, now, short, grants)
            if idle and grants:
                for each in asked:
                    each.at = max(each.at, now + ask["lag"])
        return {
            "now": now,
            "workers": workers,
            "short": short,
            "paused": max(0.0, self._until - now),
            "levels": [each.left() for each in asked],
            "again": again,
            "back": min(_AWAY, now - self._back_at),
            "grants": grants,
        }

    def _resource(self, spec: Sequence[float], name: str, now: float, lag: float) -> _Resource:
        """Return what is kept under *name*, new or as it was, and that it is *spec* from now on."""
        kept = self._kept.get((spec[0], name))
        if kept is None:
            kept = self._kept[spec[0], name] = _Resource(spec, now, lag)
        kept.go_on(spec, now)
        kept.pause(self._until)
        return kept

    def _heed(self, asked: Sequence[_Resource], ask: Mapping[str, Any], now: float) -> None:
        """Book what came back, what was settled, what the provider said."""
        paused = self._until > now
        for stamp, deltas in ask["changes"]:
            for each, delta in zip(asked, deltas, strict=True):
                each.correct(stamp, delta, paused=paused)
        for each, amount in zip(asked, ask["used"], strict=False):
            each.use(amount, now)
        for i, remaining, raise_to in ask["learn"]:
            asked[i].learn(remaining, raise_to, now, paused=paused)
        if ask["pause"] > 0.0 and now + ask["pause"] > self._until:
            self._until = now + ask["pause"]
            for each in asked:
                each.pause(self._until)

    def used(self, names: Sequence[str], now: float) -> list[float]:
        """Return what the log of each of *names* holds at *now*; 0 where it has none."""
        logs = [self._kept.get((WINDOW, name)) for name in names]
        for each in logs:
            if each is not None:
                each.advance(now, resume=False)
        return [0.0 if each is None else each.log.used for each in logs]

    def _count(self, ask: Mapping[str, Any], asked: Sequence[_Resource], now: float) -> tuple[int, int]:
        """Return how many workers there are, and how many of them wait."""
        ahead = max([0.0, *(-each.level / each.rate for each in asked if each.bucket)])
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
        self, asked: Sequence[_Resource], ask: Mapping[str, Any], now: float, short: int, grants: list[list[float]]
    ) -> float:
        """Promise calls in order as far as the share goes; return when to ask again, -1 if there is no need."""
        horizon = ask["horizon"]
        room = [0.0 for _ in asked]
        if horizon:
            for i, each in enumerate(asked):
                room[i] = (max(0.0, each.stock()) + each.rate * horizon) / short - ask["held"][i]
        must = ask["must"]
        for j, (count, costs) in enumerate(ask["calls"]):
            for _ in repeat(None, int(count)):
                if not must and any(cost > room[i] + EPSILON for i, cost in enumerate(costs)):
                    return -1.0
                must = False
                slot = max(now, self._until)
                for each, cost in zip(asked, costs, strict=True):
                    slot = each.slot(cost, slot)
                if slot - now > _AHEAD:
                    return slot - now - _AHEAD
                for each, cost in zip(asked, costs, strict=True):
                    each.book(cost, slot)
                room = [left - cost for left, cost in zip(room, costs, strict=True)]
                _note(grants, slot - now, j)
        if ask["more"] and not ask["calls"] and self._until <= now:
            _advance_some(asked, ask["more"], now, grants)
        return -1.0


def _advance_some(asked: Sequence[_Resource], more: Sequence[Any], now: float, grants: list[list[float]]) -> None:
    """Hand out calls in advance, as long as half of everything is left for the others."""
    count, costs = more
    for _ in repeat(None, int(count)):
        if any(each.left() - cost < each.whole() / 2.0 for each, cost in zip(asked, costs, strict=True)):
            return
        for each, cost in zip(asked, costs, strict=True):
            each.book(cost, now)
        _note(grants, 0.0, -1)


class _Resource:
    """One limit: a level that is told at `at`, or a log."""

    __slots__ = ("at", "bucket", "level", "log", "next", "rate", "spec", "told", "until")

    def __init__(self, spec: Sequence[float], now: float, lag: float) -> None:
        self.level = spec[3]
        self.log = _Log()
        self.next = -math.inf  # when the next permit may pass, by pace
        self.until = -math.inf  # the end of the last pause that it knows of
        self.at = now - lag
        self.told = now
        self.spec = spec
        self.go_on(spec, now)

    def go_on(self, spec: Sequence[float], now: float) -> None:
        """Be *spec* from *now* on."""
        if now < self.told:
            delta = now - self.told
            self.at += delta
            self.next += delta
            self.until += delta
            self.log.shift(delta)
        if spec[3] != self.spec[3]:
            self.level = min(self.level, spec[3])
        self.told = now
        self.spec = spec
        self.bucket = spec[0] == BUCKET
        self.rate = spec[1] / spec[2]

    def idle(self, now: float, lag: float) -> bool:
        """Whether it had been full for *lag* and longer."""
        elapsed = now - self.at
        return elapsed >= lag and (not self.bucket or self.level + self.rate * (elapsed - lag) >= self.spec[3])

    def advance(self, now: float, *, resume: bool) -> None:
        """Refill until *now*."""
        if not self.bucket:
            self.log.expire(now - self.spec[2])
        else:
            elapsed, capacity = now - self.at, self.spec[3]
            if elapsed > 0.0 and self.level < capacity:  # what was learnt stays, but does not grow
                self.level = min(capacity, self.level + self.rate * elapsed)
            if resume:
                self.level = min(self.level, 0.0)
        self.at = max(self.at, now)

    def pause(self, until: float) -> None:
        """Pass nothing before *until*, and no burst then."""
        if until > self.until:
            self.until = until
            self.level = min(self.level, 1.0)
            self.at = max(self.at, until)
            self.next = max(self.next, until)

    def correct(self, stamp: float, delta: float, *, paused: bool) -> None:
        """Book *delta* more than was promised for *stamp*."""
        if not self.bucket:
            self.next += self.log.correct(stamp, delta, self.spec[3]) * self.spec[4]
        elif delta > 0.0:
            self.level -= delta
        else:
            self.level = min(self.level - delta, max(self.level, 1.0 if paused else self.spec[3]))

    def use(self, amount: float, now: float) -> None:
        """Log *amount* that was taken elsewhere."""
        if not self.bucket and amount > 0.0:
            self.log.add(now, amount, self.spec[3])

    def learn(self, remaining: float, raise_to: float, now: float, *, paused: bool) -> None:
        """Believe that no more than *remaining* is left, and no less than *raise_to*."""
        limit = self.spec[1]
        if not self.bucket:
            foreign = limit - self.log.used - remaining
            if foreign > 0.0:
                self.log.add(now, foreign, self.spec[3])
            return
        self.level = max(min(self.level, remaining), min(raise_to, 1.0 if paused else limit))

    def left(self) -> float:
        """Return what is not promised yet."""
        return self.level if self.bucket else self.spec[1] - self.log.used

    def whole(self) -> float:
        """Return what there is at the most."""
        return self.spec[3] if self.bucket else self.spec[1]

    def stock(self) -> float:
        """Return what could pass at once."""
        return 0.0 if not self.bucket and self.spec[4] else self.left()

    def slot(self, cost: float, earliest: float) -> float:
        """Return the first moment from *earliest* on at which *cost* is there."""
        if not cost:
            return earliest
        spec = self.spec
        if self.bucket:
            missing = min(cost, spec[3]) - self.level
            return max(earliest, self.at + missing / self.rate) if missing > EPSILON * self.rate else earliest
        slot = max(earliest, self.next)
        excess = self.log.used + cost - spec[1]
        if excess > EPSILON * spec[1]:
            slot = max(slot, self.log.when_free(excess, spec[1]) + spec[2])
        return slot

    def book(self, cost: float, slot: float) -> None:
        """Promise *cost* for *slot*."""
        if self.bucket:
            self.level -= cost
        elif cost:
            self.log.add(slot, cost, self.spec[3])
            self.next = max(self.next, slot - self.spec[5]) + cost * self.spec[4]


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
