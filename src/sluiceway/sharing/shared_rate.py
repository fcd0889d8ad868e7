"""A rate limit's permits, fetched from a store in small blocks."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Final

from sluiceway.algorithms.leased_pool import LeasedPool
from sluiceway.algorithms.rate_book import BUCKET, WINDOW, RateBook
from sluiceway.algorithms.rates import EPSILON
from sluiceway.sharing.asking import book_specs, needed, summed
from sluiceway.sharing.feeder import Feeder
from sluiceway.sharing.line import StoreAwayError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from sluiceway.admission import WaitingRoom
    from sluiceway.sharing.asking import Limit
    from sluiceway.sharing.store import SharedStore

_SETTLE: Final = 0.05  # seconds for which what was settled may wait for company
_LINGER: Final = 0.1  # seconds for which permits are kept that nobody wants, and two blocks
_SOON: Final = 0.002
_EARLY: Final = 0.005  # seconds ahead of its need, and two trips, that a block is asked for
_AGAIN: Final = 5.0  # seconds until those ask again for whom nothing can be promised yet: others may give some back
_SPREAD: Final = 5.0  # seconds over which they do: what can be promised lasts longer
_LONGEST: Final = 1.0  # seconds that a block covers, where answers take long
_FAR: Final = -1e18
_LOOK: Final = 0.25  # seconds between two looks at whether the store is back
_SPAN: Final = 60.0  # seconds; what was used of longer windows is told at each look, since others return before us
_GRACE: Final = 3.0  # seconds in which everybody has looked, more than the longest pause between two tries


class SharedRate(Feeder):
    """Keeps a pool of permits filled as the callers in a room need them.

    Args:
        store: where the limits are kept.
        key: whose they are.
        limits: each of them; names: theirs, under which the store keeps each.
        exact: whether all are exact windows.
        burst, margin, lag: seconds; see `rate_limited` and `TokenBuckets`.
    """

    kind = "rate"

    def __init__(
        self,
        store: SharedStore,
        key: object,
        limits: Sequence[Limit],
        *,
        names: Sequence[str],
        exact: bool,
        burst: float,
        margin: float,
        lag: float,
    ) -> None:
        super().__init__(store, key)
        self._settings: Any = {"exact": exact, "burst": burst, "margin": margin}
        self._exact = exact
        self._names = list(names)
        self._lag = lag
        self.pool = LeasedPool([limit for limit, _, _ in limits], margin if exact else math.inf, self._hungry)
        self.room: WaitingRoom | None = None
        self.resize(limits)
        self._own: RateBook | None = None  # while the store is away
        self._resume = False
        self._parts = 1  # of how many we are one, then
        self._seed = (-math.inf, [0.0 for _ in limits])  # when it began, and what of its logs is not ours
        self._owned_up = [0.0 for _ in limits]  # of what was used alone
        self._looking: asyncio.Task[None] | None = None
        self._look_at = self._back_for = -math.inf
        self._speed = 0.0  # permits a second that go, smoothed
        self._seen = (-math.inf, 0.0)  # when, and how much was used then
        self._share = [0.0 for _ in limits]
        self._typical: Sequence[float] = [1.0 for _ in limits]
        self._deaf_until = -math.inf
        self._news_at = math.inf  # since when there is something settled to be told
        self._moved_at = -math.inf

    def resize(self, limits: Sequence[Limit]) -> None:
        """Take other limits; who waits and what is held stays."""
        self._limits = tuple(limits)
        self._specs = book_specs(limits, block=self.store.block, **self._settings)

    def _hungry(self) -> None:
        """The pool ran short, or has something to tell: that others wait for, even while there is nothing to ask."""
        loop = self._loop
        news = bool(self.pool.changes) and self._news_at == math.inf
        if news or self._task is None or loop is None or loop.time() >= self._deaf_until:
            self.kick()

    # ------------------------------------------------------------------ a turn

    async def turn(self, now: float) -> float | None:
        """Ask for what is needed, tell what there is to tell; return when to do so again."""
        pool = self.pool
        self._measure(now)
        calls, covered = self._needed(now)
        ahead = self._ahead(now) if not calls and not covered else []
        lead = _EARLY + 2.0 * (self.line.trip if self.line is not None else 0.0)
        due = pool.last_due() - lead
        if not calls and not ahead and self._idle(now):
            pool.put_back(now)
            if not (pool.changes or self._untold(now) or self._owes(now)):
                return None
        self._news_at = min(now, self._news_at) if pool.changes else math.inf
        late = now - self._news_at >= _SETTLE
        asks = bool(calls) and (not covered or (now >= due and self._more_for_us(calls)))
        asks = asks and (late or now >= self._deaf_until)  # with what came back there may be something to be had
        looks = now >= self._look_at and self._owes(now)
        if not (asks or ahead or late or looks or pool.pause_asked > now):
            return self._pause(now, calls, due)
        answer = await self._exchange(calls if asks else [], ahead, now, must=not covered)
        now = self._now()
        self._deaf_until = -math.inf
        if answer is None:  # closed or open, and away
            return self._nothing(now)
        if answer["again"] >= 0.0:
            longest = _AGAIN + random.uniform(_SOON, _SPREAD) if self._own is None else _LOOK
            self._deaf_until = now + min(answer["again"] + random.uniform(_SOON, _SPREAD), longest)
            return self._pause(now, calls, -math.inf)
        if self._pending or (calls and not self.store.block and pool.last_due() <= now):
            return 0.0
        return self._pause(now, calls, pool.last_due() - lead)

    def _pause(self, now: float, calls: Sequence[Any], due: float) -> float:
        """Return how long to sleep: until more is to be asked for, or something is to be told."""
        if due > now:
            self._deaf_until = max(due, self._deaf_until)
        pool = self.pool
        deaf = self._deaf_until > now
        ends = [self._deaf_until] if deaf else [now + max(_SOON, self.store.block / 4.0)] if calls else []
        if pool.changes:
            ends.append(max(now + _SOON, self._news_at + _SETTLE))
        if not calls:
            ends.append(now + max(_LINGER, 2.0 * self.store.block) / 2.0)
        if self._own is not None:
            ends.append(now + _LOOK)
        return max(_SOON / 2.0, min(ends) - now)

    def _nothing(self, now: float) -> float | None:
        """The store is away, and nothing is to be had of our own: return when to try it again."""
        waits = self.line.retry_in() if self.line is not None else 0.0
        self._deaf_until = now + max(_SOON, waits)
        self.pool.changes.clear()
        idle = self.room is None or not self.room.occupied
        if idle and (not self.pool.open or now - self._moved_at > 2.0 * _LINGER):
            return None
        return max(_SOON, waits)

    def _measure(self, now: float) -> None:
        at, used = self._seen
        elapsed = now - at
        if elapsed < max(0.02, self.store.block / 2.0):
            return
        if self.pool.used != used:
            self._moved_at = now
        if elapsed < 1e9:
            share = min(1.0, elapsed / max(0.1, self.store.block))
            self._speed += share * ((self.pool.used - used) / elapsed - self._speed)
        self._seen = (now, self.pool.used)

    def _needed(self, now: float) -> tuple[list[list[Any]], int]:
        """Return the calls that wait and for which nothing is promised yet, and how many of the first are promised."""
        if self.room is None or not self.room.occupied:
            return [], 0
        calls, covered = needed(self.room.queue, self.pool.held())
        if calls or covered:
            self._moved_at = now
        if calls:
            self._typical = calls[0][1]
        return calls, covered

    def _ahead(self, now: float) -> list[Any]:
        """Return what to have in hand for the next block's time, if that is less than half there."""
        self.pool.low = 0.0
        wanted = self._speed * self._horizon()
        if self._exact or wanted < 1.0 or not self._typical[0] or now - self._moved_at > _LINGER:
            return []
        have = self.pool.held()[0] / self._typical[0]
        if self._typical[0] != 1.0:
            wanted /= self._typical[0]
        self.pool.low = wanted / 2.0 * self._typical[0]
        return [math.ceil(wanted - have), list(self._typical)] if have < wanted / 2.0 else []

    def _more_for_us(self, calls: list[list[Any]]) -> bool:
        """Whether what is held leaves room in our share, as it was last, for the next call."""
        return all(
            have + cost <= share + EPSILON
            for have, cost, share in zip(self.pool.held(), calls[0][1], self._share, strict=True)
        )

    def _horizon(self) -> float:
        block = self.store.block
        trip = 0.0 if self.line is None else self.line.trip
        return block and max(block, min(_LONGEST, 3.0 * trip))

    def _idle(self, now: float) -> bool:
        return now - self._moved_at >= max(_LINGER, 2.0 * self.store.block)

    def _untold(self, now: float) -> bool:
        return self.pool.pause_asked > now

    def _owes(self, now: float) -> bool:
        """Whether the store is still to be told what was used without it: others would use that a second time."""
        return any(amount > EPSILON for amount in self._used_alone(now))

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    # ------------------------------------------------------------------ the store

    async def _exchange(
        self, calls: list[list[Any]], ahead: list[Any], now: float, *, must: bool = False, bye: bool = False
    ) -> dict[str, Any] | None:
        """Ask the store, or while it is away whatever stands in for it; deliver what comes."""
        line, pool = self.line, self.pool
        assert line is not None
        changes, pool.changes = pool.changes, []
        self._news_at = math.inf
        question = {
            "specs": self._specs_now(),
            "names": self._names,
            "lag": self._lag,
            "calls": calls,
            "must": must,
            "more": ahead,
            "held": pool.held(),
            "learn": self._learnt(now),
            "pause": max(0.0, pool.pause_asked - now),
            "resume": False,
            "used": [],
            "horizon": self._horizon(),
            "bye": bye,
        }
        if self._own is not None and not self._back(question, now):
            return self._stand_in(question, changes)
        question["resume"] = self._resume
        question["used"] = self._used_alone(now)
        offset = line.offset
        stamped = [[at - offset if offset < math.inf else 0.0, deltas] for at, deltas in changes]
        try:
            answer = await self.ask({**question, "changes": stamped if self._logs else summed(changes)})
        except StoreAwayError:
            return self._stand_in(question, changes)
        pool.pause_asked = -math.inf
        self._own, self._resume, pool.open = None, False, False
        self._deliver(answer, calls, ahead, min(self._now(), answer["now"] + line.offset))
        return answer

    def _back(self, question: dict[str, Any], now: float) -> bool:
        """Whether the store can be relied on again.

        It must have been there for so long that everybody has noticed, and all must go back to it at once: who did so
        first would have all of it, while the others still go on with their parts. Nobody waits for a look.
        """
        if self._back_for >= _GRACE:
            return True
        if self._looking is None and now >= self._look_at and self._loop is not None:
            self._looking = self._loop.create_task(self._look(question))
        return False

    async def _look(self, question: dict[str, Any]) -> None:
        alone = zip(self._used_alone(self._now()), self._specs, strict=False)
        used = [amount if spec[2] > _SPAN else 0.0 for amount, spec in alone]
        question = {**question, "specs": self._specs_now(), "used": used, "resume": True}
        try:
            answer = await self.ask({**question, "calls": [], "more": [], "changes": []})
            self._owned_up = [a + b for a, b in zip(self._owned_up, used, strict=False)]
            self._back_for = float(answer["back"])
        except StoreAwayError:
            self._back_for = -math.inf
        finally:
            self._looking = None
            self._look_at = self._now() + min(_LOOK, max(0.0, _GRACE - self._back_for))

    @property
    def _logs(self) -> bool:
        return any(spec[0] == WINDOW for spec in self._specs)

    def _specs_now(self) -> list[list[float]]:
        """Return the limits; where the store is slow, and blocks so much larger, with less of a burst."""
        horizon = self._horizon()
        if horizon <= self.store.block:
            return self._specs
        return book_specs(self._limits, block=horizon, **self._settings)

    def _learnt(self, now: float) -> list[list[float]]:
        learnt, self.pool.learnt = self.pool.learnt, {}
        told = []
        for i, (remaining, at, raise_to) in learnt.items():
            grown = self._specs[i][1] / self._specs[i][2] * (now - at)
            told.append([i, remaining + grown, max(_FAR, raise_to)])
        return told

    def _stand_in(self, question: dict[str, Any], changes: list[tuple[float, list[float]]]) -> dict[str, Any] | None:
        """Go on without the store, as it was told to."""
        pool, away = self.pool, self.store.away
        now = self._now()
        if away == "closed":
            return None
        self._resume = True  # what grew in the store meanwhile has been used
        if away == "open":
            pool.let_pass()
            self._serve()
            return None
        if self._own is None:
            self._own = RateBook()
            self._parts = self.workers
            self._look_at = self._back_for = -math.inf
            question["resume"] = True
            question["learn"] = self._begin_alone(now)
        question["specs"] = [self._part(spec) for spec in self._specs]
        answer = self._own.exchange({**question, "id": "", "changes": changes}, now)
        pool.pause_asked = -math.inf
        self._deliver(answer, question["calls"], question["more"], now)
        return answer

    def _begin_alone(self, now: float) -> list[list[float]]:
        """Return what is our part of what the store had left in its logs: what was used of a day is used."""
        n = self._parts
        left = [max(0.0, told) / n for told in self.pool.told]
        self._owned_up = [0.0 for _ in self._specs]
        self._seed = now, [spec[1] / n - rest for spec, rest in zip(self._specs, left, strict=True)]
        return [[i, left[i], _FAR] for i, spec in enumerate(self._specs) if spec[0] == WINDOW]

    def _used_alone(self, now: float) -> list[float]:
        """Return what was taken from logs while the store was away, and is not told to it otherwise."""
        if self._own is None:
            return []
        began, foreign = self._seed
        used = self._own.used(self._names, now)
        rest = []
        for amount, not_ours, told, spec in zip(used, foreign, self._owned_up, self._specs, strict=True):
            rest.append(max(0.0, amount - told - (0.0 if spec[2] <= now - began else not_ours)))
        return rest

    def _part(self, spec: list[float]) -> list[float]:
        """Return *spec* as one of all workers has it."""
        kind, limit, window, room, interval, slack = spec
        n = self._parts
        return [kind, limit / n, window, max(1.0, room / n) if kind == BUCKET else room, interval * n, slack]

    def _deliver(self, answer: dict[str, Any], calls: list[list[Any]], ahead: list[Any], at: float) -> None:
        pool = self.pool
        pool.told = answer["levels"]
        self._share = [
            (max(0.0, level) + spec[1] / spec[2] * self._horizon()) / answer["short"]
            for level, spec in zip(answer["levels"], self._specs, strict=True)
        ]
        if answer["paused"] > 0.0:
            pool.paused_until = max(pool.paused_until, at + answer["paused"])
        for count, wait, j in answer["grants"]:
            costs = ahead[1] if j < 0 else calls[int(j)][1]
            pool.deliver(at + wait, costs if count == 1 else [cost * count for cost in costs])
        if answer["grants"]:
            self._moved_at = self._now()
            self._serve()

    def _serve(self) -> None:
        if self.room is not None and self.room.occupied:
            self.room.serve()

    def abandoned(self) -> None:
        """Look again; what is in hand was promised for good."""
        self._looking = None
        self._deaf_until = -math.inf

    async def goodbye(self, now: float) -> None:
        """Give everything back."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self.pool.put_back(now)
        if self.line is not None and not self.line.away:
            await self._exchange([], [], now, bye=True)
        self.pool.low = 0.0
        self._deaf_until = -math.inf
