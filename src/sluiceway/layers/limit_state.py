"""One key of a rate limit: what is left, who waits, what the provider said about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import lt
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sluiceway.admission import Discipline, WaitingRoom
from sluiceway.expiry import clock_shift, one_loop_at_a_time
from sluiceway.layers.limit_specs import (
    INPUT,
    OUTPUT,
    REQUESTS,
    TOKENS,
    LimitSpec,
    carry,
    nearest,
    weigher,
    with_places,
)
from sluiceway.providers.headers import read_limits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Mapping, Sequence

    from sluiceway.algorithms.in_flight import InFlight
    from sluiceway.algorithms.limiter import Limiter
    from sluiceway.call import Attempt
    from sluiceway.layers.shared_limits import Shared, SharedSnapshot
    from sluiceway.layers.token_costs import Estimator

LONGEST_PAUSE: Final = 60.0
"""Seconds that a provider may pause a key at the most; a lying Retry-After must not stop a fleet."""


@dataclass(frozen=True, slots=True)
class RateSnapshot:
    """The state of one key of a `rate_limited` layer.

    Attributes:
        key: the key; None without `by`.
        available: what is left of each limit, by the name of its setting; negative in debt.
        limit: the limits, by the same names.
        waiting: how many calls wait.
        paused_for: seconds until the pause that the provider asked for ends; 0 without one.
        in_flight: how many hold a permit now, where that is counted (`in_flight=`, `by=`, `burst="learn"`).
        shared: how it stands with the store, where the limits are shared; None without `store`.
    """

    key: Hashable
    available: Mapping[str, float]
    limit: Mapping[str, float]
    waiting: int
    paused_for: float
    in_flight: int
    shared: SharedSnapshot | None = field(default=None, kw_only=True)


class LimitState:
    """The machine, the waiting room and the estimator of one key."""

    __slots__ = (
        "estimator",
        "full",
        "in_flight",
        "key",
        "limiter",
        "loop",
        "paused_until",
        "places",
        "room",
        "shared",
        "specs",
    )

    def __init__(
        self,
        key: Hashable,
        specs: Sequence[LimitSpec],
        limiter: Limiter,
        places: InFlight | None,
        queue: Discipline,
        slack: float,
        estimator: Estimator,
        shared: Shared | None = None,
    ) -> None:
        self.key = key
        self.specs = specs
        self.places = places
        self.full = limiter.levels(0.0)
        self.limiter = with_places(limiter, places)
        self.room = WaitingRoom(self.limiter, queue.open(weigher(specs)), slack)
        self.estimator = estimator
        self.shared = shared
        if shared is not None:
            shared.feed(self.room)
        self.in_flight = 0
        self.paused_until = float("-inf")
        self.loop: asyncio.AbstractEventLoop | None = None

    def move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in another event loop, after the one before has ended.

        Raises:
            RuntimeError: the one before still runs, in another thread.
        """
        one_loop_at_a_time(self.loop, "rate limit")
        delta = clock_shift(self.loop, loop)
        if delta:
            self.limiter.shift(delta)
            self.paused_until += delta
        self.loop = loop
        self.room.move_to(loop)
        if self.shared is not None:
            self.shared.in_loop(loop)

    def time(self) -> float:
        """Return the time of the event loop that runs, else of the one that it was used in; 0 if none ever was."""
        now = self.room.time()
        return self.loop.time() if not now and self.loop is not None else now

    def retune(self, specs: Sequence[LimitSpec], limiter: Limiter, places: int | None, slack: float) -> None:
        """Go on with *specs* and their machine, at the levels of the one so far; who waits keeps its place in line."""
        if self.shared is not None:
            self._retune_shared(self.shared, specs, places, slack)
            return
        now = self.time()
        before = self.limiter
        self.full = limiter.levels(now)
        if self.places is not None and places is not None:
            self.places.resize(places)
        fresh = limiter if self.loop is None else carry(before, limiter, specs, now)
        if self.paused_until > now:
            fresh.pause(self.paused_until, now)
        self.specs = specs
        self.limiter = self.room.limiter = with_places(fresh, self.places)
        self.room.slack = slack
        self.room.serve()

    def busy(self) -> bool:
        """Whether it must be kept: somebody waits or holds a permit, or a new one would give what is used up."""
        return self.room.occupied or self.in_flight > 0 or self.counts(self.time())

    def counts(self, now: float) -> bool:
        """Whether it holds back more at *now* than a new one would; what is shared, its store remembers."""
        if self.shared is not None:
            return False
        return now < self.paused_until or any(map(lt, self.limiter.levels(now), self.full))

    def learn(self, attempt: Attempt, now: float, *, raises: bool, refills: bool = True) -> None:
        """Lower the levels to what the headers of *attempt* say remains, and the part of a permit grown since.

        The provider counts when a request comes, and an answer takes seconds: where limits refill (*refills*), more
        has grown by now. Whole permits of it went to those who came since; what is left is less than one. Without
        that, each answer of a slow limit would take back what grew while it was made.

        Args:
            attempt: that is over.
            now: seconds.
            raises: whether to lift the levels to what remained, too, less what is in flight.
            refills: whether the limits are refilled all the time; not so exact windows.
        """
        limits = None if attempt.headers is None else read_limits(attempt.headers)
        if limits is None:
            return
        since = now - attempt.started_at if refills else 0.0
        for unit, said in (
            (REQUESTS, limits.requests),
            (TOKENS, limits.tokens),
            (INPUT, limits.input_tokens),
            (OUTPUT, limits.output_tokens),
        ):
            if said is None or said.remaining is None:
                continue
            i = nearest(self.specs, unit, said.limit)
            if i is not None and not self.specs[i].long:
                raise_to = said.remaining - self.in_flight if raises else None
                spec = self.specs[i]
                grown = since * self.limit_of(spec) / spec.window % 1.0
                self.limiter.learn(i, said.remaining + grown, now, raise_to=raise_to)

    def pause(self, wait: float, now: float) -> float | None:
        """Admit nothing for *wait* seconds, `LONGEST_PAUSE` at the most; return how long, None if paused for longer."""
        wait = min(wait, LONGEST_PAUSE)
        until = now + wait
        if until <= self.paused_until:
            return None
        self.paused_until = until
        self.limiter.pause(until, now)
        return wait

    def _retune_shared(self, shared: Shared, specs: Sequence[LimitSpec], places: int | None, slack: float) -> None:
        """Have the store asked by *specs* from now on, which hold for all who ask it."""
        if shared.rate is not None:
            shared.rate.resize([(spec.limit, spec.window, spec.long) for spec in specs])
        if shared.places is not None and places is not None:
            shared.places.limit = places
        self.specs = specs
        self.room.slack = slack

    def tightest(self, costs: Sequence[float], levels: Sequence[float]) -> int:
        """Return the index of the limit that leaves *costs* the least room."""
        return min(range(len(self.specs)), key=lambda i: (levels[i] - costs[i]) / self.specs[i].limit)

    def left(self, levels: Sequence[float], burst: float) -> float:
        """Return the least share that *levels* are of what may go at once: *burst* seconds' worth of each limit."""
        shares = [
            level / (spec.limit if spec.long else max(1.0, spec.limit * burst / spec.window))
            for level, spec in zip(levels, self.specs, strict=True)
        ]
        if self.places is not None:
            shares.append(self.places.level() / self.places.limit)
        return min(1.0, max(0.0, min(shares)))

    def by_name(self, values: Sequence[float]) -> Mapping[str, float]:
        """Return *values*, one for each limit, under the names of the settings."""
        return MappingProxyType({spec.name: value for spec, value in zip(self.specs, values, strict=True)})

    def limit_of(self, spec: LimitSpec) -> float:
        """Return the limit that holds now."""
        return spec.limit

    def limits(self) -> Mapping[str, float]:
        """Return the limits by name."""
        return self.by_name([spec.limit for spec in self.specs])

    def snapshot(self) -> RateSnapshot:
        """Return the state as of now if an event loop runs, as of the last call if not."""
        now = self.room.time()
        return RateSnapshot(
            self.key,
            self.by_name(self.limiter.levels(now)),
            self.limits(),
            len(self.room),
            max(0.0, self.paused_until - now),
            self.in_flight,
            shared=None if self.shared is None else self.shared.snapshot(),
        )
