"""Find out how many calls in flight the provider bears."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sluiceway.algorithms.adaptive_places import AdaptivePlaces
from sluiceway.events import BoundAdapted, LimitPaused
from sluiceway.expiry import clock_shift, one_loop_at_a_time
from sluiceway.layer import Layer
from sluiceway.layers.adapting import Adapting, Law, pause_after
from sluiceway.layers.bounded import BoundSnapshot, _State, bounded
from sluiceway.layers.chance import random_of
from sluiceway.layers.limit_state import LONGEST_PAUSE
from sluiceway.layers.queueing import count
from sluiceway.layers.rate_memory import RateMemory
from sluiceway.layers.renewing import adopt_all, agrees
from sluiceway.providers.errors import classify

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Mapping
    from os import PathLike
    from random import Random

    from sluiceway.admission import Discipline
    from sluiceway.algorithms.adaptive import Adaptive
    from sluiceway.call import Call, Proceed
    from sluiceway.durations import Duration
    from sluiceway.keyed import By
    from sluiceway.layers.rate_memory import RateStore

T = TypeVar("T")

_TOLD: Final = 0.05  # how far a limit must have grown before that is told; a whole place at the least


@dataclass(frozen=True, slots=True)
class AdaptiveBoundSnapshot(BoundSnapshot):
    """The state of one key of an `adaptive_bound` layer: what a `bounded` shows, and how the limit came about.

    Attributes:
        peak: the calls in flight at which the provider last refused; at first the initial limit.
        doubling: whether it is in slow start.
        paused_for: seconds until the pause that the provider asked for ends; 0 without one.
    """

    peak: float
    doubling: bool
    paused_for: float


class _Adaptive(_State):
    """The places of one key, who waits for them, and by which law they become more or fewer."""

    __slots__ = ("adaptive", "memory", "told")

    def __init__(self, key: Hashable, law: Adaptive, queue: Discipline, memory: RateMemory) -> None:
        super().__init__(key, int(law.limit), queue)
        self.memory = memory
        self.places = self.room.limiter = self.adaptive = AdaptivePlaces(law)
        self.told = law.limit

    def move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in another event loop, after the one before has ended; in the first one, as is remembered."""
        one_loop_at_a_time(self.loop, "adaptive_bound")
        remembered = self.memory.recall(self.key) if self.loop is None else None
        if remembered is not None:
            self.adaptive.restore(remembered)
            self.told = self.adaptive.law.limit
        delta = clock_shift(self.loop, loop)
        if delta:
            self.adaptive.shift(delta)
        self.loop = loop
        self.room.move_to(loop)

    def busy(self) -> bool:
        """Whether it must be kept: somebody waits or holds a place, or what was found out still holds."""
        return super().busy() or self.adaptive.holds(self.room.time())

    def moved(self) -> bool:
        """Whether the limit is far from the one that was last reported."""
        return abs(self.adaptive.law.limit - self.told) > max(_TOLD * self.told, 1.0)

    def snapshot(self) -> AdaptiveBoundSnapshot:
        shot = super().snapshot()
        law = self.adaptive.law
        paused = max(0.0, self.adaptive.until - self.room.time())
        return AdaptiveBoundSnapshot(shot.key, shot.in_flight, int(law.limit), shot.waiting, law.peak, law.slow, paused)


class adaptive_bound(bounded):
    """Find out how many calls in flight the provider bears, and keep just below it; a stream counts until it ends.

    ``@adaptive_bound(10)``: a `bounded` whose limit moves. For servers of your own, whose limit is how many they can
    work on at a time; where requests a minute are the limit, `adaptive_rate` finds that.

    It grows with each success while at least half of the places are taken or somebody waits: in slow start by a
    place each, so that it doubles every round trip, later by `law`. A 429 lowers it to `decrease` of what was in
    flight, and nobody is let in until the Retry-After; a timeout inside steps back to `timeout_decrease`, overload and
    other failures of the provider to `error_decrease` of the limit. One burst of failures lowers it once: only a call
    that started after the last decrease causes another. Refusals of our own, wrong requests, cancellation and
    deadlines say nothing. After 60 s without a success, or at twice the limit that was last refused, it doubles again.

    Latency is not what it goes by: answers of language models differ a hundredfold in length.

    Args:
        initial: how many at a time to begin with, at least 1.
        min, max: what the limit never leaves.
        law: "aimd" gains `increase` places a round trip; "cubic" returns fast to the last peak, stays, then looks for
            more.
        increase: aimd: places gained each round trip (1); cubic: how steep, in places per round trip cubed (0.4).
        decrease: what a 429 leaves of the places in use, above 0 and below 1.
        timeout_decrease: what a timeout leaves of the limit; 1 for all.
        error_decrease: what another failure of the provider leaves of it; 1 for all.
        slow_start: whether it ever doubles.
        by: a function of the `Call` that returns a key; each key has places of its own. 1,000 keys are
            kept, and more only while they are in use and a minute longer.
        max_wait: how long a call may wait for a place; 0 refuses at once. None waits for ever.
        max_queue: how many may wait for each key; None for any number.
        queue: in which order they are served: `Fifo()`.
        store: where the last good limits are kept from one start to the next: a path to a JSON file, which holds the
            keys of `by` as they are, or an object with `load()` and `save(limits)`.
        rng: where chance comes from; a `random.Random` for repeatable tests.

    Raises:
        BoundExceeded: a call found no place within `max_wait`.
        QueueFull: `max_queue` calls wait already.
        ReentrantUse: the call is made inside another one that holds a place of this object.
    """

    def __init__(
        self,
        initial: int,
        *,
        min: int = 1,
        max: int | None = None,
        law: Law = "aimd",
        increase: float | None = None,
        decrease: float = 0.7,
        timeout_decrease: float = 0.9,
        error_decrease: float = 0.98,
        slow_start: bool = True,
        by: By | None = None,
        max_wait: Duration | None = None,
        max_queue: int | None = None,
        queue: Discipline | None = None,
        store: str | PathLike[str] | RateStore | None = None,
        rng: Random | None = None,
    ) -> None:
        self._adapting = Adapting(
            count(initial, "initial", 1),
            least=count(min, "min", 1),
            most=None if max is None else count(max, "max", 1),
            law=law,
            increase=increase,
            decrease=decrease,
            timeout_decrease=timeout_decrease,
            error_decrease=error_decrease,
            slow_start=slow_start,
        )
        self._rng = random_of(rng)
        self._memory = RateMemory(store, self.limits, self.name)
        super().__init__(initial, by=by, max_wait=max_wait, max_queue=max_queue, queue=queue)

    def _make(self, key: Hashable) -> _Adaptive:
        return _Adaptive(key, self._adapting.make(), self._queueing.discipline, self._memory)

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* when there is a place for it, and learn from how it ends."""
        state = self._one or self._states.of(call)
        assert isinstance(state, _Adaptive)
        if call.run.loop is not state.loop:
            state.move_to(call.run.loop)
        return await super().handle(call, partial(self._judged, proceed, state))

    async def _judged(self, proceed: Proceed[T], state: _Adaptive, call: Call) -> T:
        """Run *call*, which holds its place."""
        run = call.run
        sent = len(run.attempts)
        try:
            result = await proceed(call)
        except BaseException as error:
            if len(run.attempts) > sent:
                self._failed(call, state, error)
            raise
        if len(run.attempts) > sent:
            more = state.adaptive.succeeded(run.time(), waiting=state.room.occupied)
            if more and state.moved():
                self._tell(call, state, "growth")
        return result

    def _failed(self, call: Call, state: _Adaptive, error: BaseException) -> None:
        """Have fewer places, if *error* says that there are too many."""
        fault = classify(error)
        now = call.run.time()
        attempt = call.run.last
        assert attempt is not None
        why = self._adapting.judge(state.adaptive, fault, attempt, now)
        if why is not None:
            self._tell(call, state, why)
        wait = pause_after(fault, self._rng)
        if wait is None:
            return
        wait = min(wait, LONGEST_PAUSE)
        if now + wait > state.adaptive.until:
            state.adaptive.pause(now + wait, now)
            call.report(LimitPaused(now, call, self.name, state.key, wait, fault.retry_after_source or "429"))

    def _tell(self, call: Call, state: _Adaptive, why: str) -> None:
        old, state.told = state.told, state.adaptive.law.limit
        call.report(BoundAdapted(call.run.time(), call, self.name, state.key, old, state.told, why))
        self._memory.changed(call.run.loop)

    def limits(self) -> Mapping[Hashable, float]:
        """Return how many calls at a time every key lets in; without `by` its key is None."""
        return {shot.key: shot.limit for shot in self.snapshot()}

    def resize(self, limit: int) -> None:
        """Go on from *limit*, without doubling from there, as if that had been found out.

        Raises:
            TypeError: *limit* is not an int.
            ValueError: *limit* is below 1.
        """
        count(limit, "limit", 1)
        for state in self._states.values():
            state.adaptive.restore(limit)
            state.room.serve()

    def renewed(self, fresh: Layer) -> Layer:
        """Take over the numbers of *fresh*; the limit that was found, who is in flight and who waits stay."""
        if not agrees(self, fresh, ("by", "queue", "law", "increase", "store")):
            return fresh
        adopt_all(self, fresh, but=("_states", "_one", "_memory"))
        for state in self._states.values():
            state.adaptive.retune(self._adapting.make())
            state.room.serve()
        return self

    def settings(self) -> Any:
        """Return every setting by name, as given or by default."""
        return Layer.settings(self)

    def __repr__(self) -> str:
        text = super().__repr__()
        if self._one is None:
            return text
        shot = self.snapshot()[0]
        how = "doubling" if shot.doubling else f"last refused at {shot.peak:.4g}"
        pause = f", paused for {shot.paused_for:.3g} s" if shot.paused_for else ""
        return f"{text[:-1]}, {shot.limit} places, {how}{pause}>"

    def snapshot(self) -> tuple[AdaptiveBoundSnapshot, ...]:
        """Return the state of every key."""
        return tuple(state.snapshot() for state in self._states.values())
