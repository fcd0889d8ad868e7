"""Find the provider's rate when nobody knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.algorithms.adaptive_pace import AdaptivePace
from sluiceway.events import LimitPaused, RateAdapted
from sluiceway.layers.adapting import Adapting, Law, pause_after
from sluiceway.layers.adaptive_state import AdaptiveRateSnapshot, AdaptiveState
from sluiceway.layers.chance import random_of
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.layers.rate_memory import RateMemory
from sluiceway.layers.renewing import adopt_all, agrees
from sluiceway.providers.errors import Fault
from sluiceway.sharing.store import SharedStore

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from os import PathLike
    from random import Random

    from sluiceway.admission import Discipline
    from sluiceway.call import Attempt, Call
    from sluiceway.durations import Duration
    from sluiceway.keyed import By
    from sluiceway.layer import Layer
    from sluiceway.layers.limit_state import LimitState
    from sluiceway.layers.rate_memory import RateStore
    from sluiceway.providers.errors import Classification


class adaptive_rate(rate_limited):
    """Find out how many requests a second the provider takes, and stay just below it.

    ``@adaptive_rate(10)``. Starts at `initial` and, in slow start, doubles each second (each eight calls, where those
    take longer) until the provider first refuses; then it follows `law`. A 429 lowers the rate to `decrease` of what
    was in use, and pauses the key until its Retry-After; a timeout inside steps back to `timeout_decrease`, overload
    and other failures of the provider to `error_decrease` of the rate. Refusals of our own, wrong requests,
    cancellation and deadlines say nothing about it.

    Many refusals of one burst lower it once: only a call that started after the last decrease causes another. It
    grows only while calls wait for it, never beyond twice what is really sent. After 60 s without a call, or at twice
    the rate that was last refused, it doubles again.

    The better the provider says how long to wait, the better it does: ``python tests/benchmarks/adaptive.py`` draws
    the rate over time, beside other laws, for a provider with an exact Retry-After. It learns by trying, so that of
    few calls a larger share is refused: at one to ten a second several of a hundred. Where you know the limit,
    `rate_limited` meets hardly any refusal.

    Args:
        initial: requests a second to start with; near a known tier it saves the search.
        min, max: what the rate never leaves; None for no upper limit.
        law: "cubic" returns fast to the last peak, stays, then looks for more; "aimd" adds `increase` a second.
        increase: cubic: how steep, in requests/s per s³ (0.4); aimd: requests/s gained each second (1).
        decrease: what a 429 leaves of the rate in use, above 0 and below 1.
        timeout_decrease: what a timeout leaves of the rate; 1 for all.
        error_decrease: what another failure of the provider leaves of it; 1 for all.
        slow_start: whether it ever doubles.
        burst: seconds' worth of the rate that may go at once after a pause of yours.
        by: a function of the `Call` that returns a key; each key has a rate of its own. 1,000 keys are
            kept, and more only while they are in use and a minute longer.
        max_wait: how long a call may wait; 0 refuses at once. None waits for ever.
        max_queue: how many may wait for each key; None for any number.
        queue: in which order they are served: `Fifo()`.
        store: where the last good rates are kept from one start to the next: a path to a JSON file, which holds the
            keys of `by` as they are, or an object with `load()` and `save(rates)`. Or a `RedisStore`, which keeps
            nothing: processes that name the same one find the rate together, each its own part of it. A refusal of
            one lowers all and pauses all; parts go towards their mean.
        rng: where chance comes from; a `random.Random` for repeatable tests.

    Raises:
        RateLimited: a call would wait longer than `max_wait`.
        QueueFull: `max_queue` calls wait already.
    """

    def __init__(
        self,
        initial: float,
        *,
        min: float = 0.1,
        max: float | None = None,
        law: Law = "cubic",
        increase: float | None = None,
        decrease: float = 0.7,
        timeout_decrease: float = 0.9,
        error_decrease: float = 0.98,
        slow_start: bool = True,
        burst: Duration = "250ms",
        by: By | None = None,
        max_wait: Duration | None = None,
        max_queue: int | None = None,
        queue: Discipline | None = None,
        store: str | PathLike[str] | RateStore | SharedStore | None = None,
        rng: Random | None = None,
    ) -> None:
        self._adapting = Adapting(
            initial,
            least=min,
            most=max,
            law=law,
            increase=increase,
            decrease=decrease,
            timeout_decrease=timeout_decrease,
            error_decrease=error_decrease,
            slow_start=slow_start,
        )
        self._rng = random_of(rng)
        self._sharing = store if isinstance(store, SharedStore) else None
        self._memory = RateMemory(None if isinstance(store, SharedStore) else store, self.rates, self.name)
        self._heeds_headers = by is None  # a key of the user's own is not the provider's
        super().__init__(
            rps=initial, burst=burst, by=by, max_wait=max_wait, max_queue=max_queue, queue=queue, learn=True
        )

    def _make(self, key: Hashable) -> AdaptiveState:
        pace = AdaptivePace(self._adapting.make(), self._burst)
        return AdaptiveState(key, pace, self._queueing.discipline, self._slack, self._memory, self._sharing)

    def _learn(
        self,
        call: Call,
        state: LimitState,
        attempt: Attempt,
        fault: Classification | None,
        now: float,
    ) -> None:
        """Heed what the provider said, and move the rate by how the call ended."""
        assert isinstance(state, AdaptiveState)
        if self._heeds_headers:
            state.learn(attempt, now, raises=False)
        if fault is None:
            return
        if not fault.sent:
            state.pace.unsent()
        why = self._adapting.judge(state.pace, fault, attempt, now)
        if why is not None:
            self._tell(call, state, why, now)
        wait = pause_after(fault, self._rng)
        if state.notes is not None:
            state.notes.beat(now)
            if fault.fault is Fault.RATE_LIMITED:
                state.notes.refused(wait or 0.0, now)
        paused = None if wait is None else state.pause(wait, now)
        if paused is not None:
            call.report(LimitPaused(now, call, self.name, state.key, paused, fault.retry_after_source or "429"))

    def _report(
        self, call: Call, state: LimitState, costs: Sequence[float], since: float, *, granted: bool, depth: int
    ) -> None:
        assert isinstance(state, AdaptiveState)
        super()._report(call, state, costs, since, granted=granted, depth=depth)
        if state.notes is not None:
            state.notes.beat(call.run.time())
        if state.moved():  # it grows only where somebody waits, and whoever waits comes through here
            self._tell(call, state, "growth", call.run.time())

    def _tell(self, call: Call, state: AdaptiveState, why: str, now: float) -> None:
        old, state.told = state.told, state.rate
        call.report(RateAdapted(now, call, self.name, state.key, old, state.rate, why))
        self._memory.changed(call.run.loop)

    def renewed(self, fresh: Layer) -> Layer:
        """Take over the numbers of *fresh*; the rate that was found and who waits stay."""
        if not agrees(self, fresh, ("by", "queue", "law", "increase", "burst", "store")):
            return fresh
        adopt_all(self, fresh, but=("_states", "_one", "_memory"))
        for state in self._states.values():
            state.pace.retune(self._adapting.make(), state.time())
            state.room.serve()
        return self

    def rates(self) -> Mapping[Hashable, float]:
        """Return the rate of every key, in requests a second; without `by` its key is None."""
        return {state.key: state.rate for state in self._states.values()}

    def snapshot(self) -> tuple[AdaptiveRateSnapshot, ...]:
        """Return the state of every key, as of now if an event loop runs and as of the last call if not."""
        return tuple(state.snapshot() for state in self._states.values())

    def __repr__(self) -> str:
        text = super().__repr__()
        if self._one is None:
            return text
        shot = self.snapshot()[0]
        how = "doubling" if shot.doubling else f"last refused at {shot.peak:.4g}/s"
        return f"{text[:-1]}, {shot.rate:.4g}/s, {how}>"
