"""One key of an adaptive rate."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sluiceway.layers.limit_specs import REQUESTS, LimitSpec
from sluiceway.layers.limit_state import LimitState, RateSnapshot
from sluiceway.layers.shared_limits import Shared
from sluiceway.layers.token_costs import Estimator
from sluiceway.sharing.shared_pace import SharedPace

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Mapping

    from sluiceway.admission import Discipline
    from sluiceway.algorithms.adaptive_pace import AdaptivePace
    from sluiceway.layers.rate_memory import RateMemory
    from sluiceway.sharing.store import SharedStore

_RPS: Final = "rps"
_TOLD: Final = 0.05  # how far a rate must have grown before that is told


@dataclass(frozen=True, slots=True)
class AdaptiveRateSnapshot(RateSnapshot):
    """The state of one key of an `adaptive_rate` layer: what a `rate_limited` shows, and how the rate came about.

    Attributes:
        rate: requests a second that are let through now.
        peak: the rate at which the provider last refused; at first the initial one.
        doubling: whether it is in slow start.
    """

    rate: float
    peak: float
    doubling: bool


class AdaptiveState(LimitState):
    """The pace, the waiting room and the memory of one key.

    Attributes:
        told: the rate that was last reported.
    """

    __slots__ = ("memory", "notes", "pace", "told")

    def __init__(
        self,
        key: Hashable,
        pace: AdaptivePace,
        queue: Discipline,
        slack: float,
        memory: RateMemory,
        store: SharedStore | None = None,
    ) -> None:
        spec = LimitSpec(_RPS, REQUESTS, pace.law.limit, 1.0)
        self.notes = None if store is None else SharedPace(store, key, pace, self._fell)
        shared = None if self.notes is None else Shared(None, None, self.notes)
        super().__init__(key, (spec,), pace, None, queue, slack, Estimator(), shared)
        self.pace = pace
        self.memory = memory
        self.told = pace.law.limit

    def move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in another event loop; in the first one, with the rate that is remembered."""
        first = self.loop is None
        super().move_to(loop)
        remembered = self.memory.recall(self.key) if first else None
        if remembered is not None:
            self.pace.restore(remembered, loop.time())
            self.told = self.rate

    def counts(self, now: float) -> bool:
        """Whether it is paused at *now*, or what it found out still holds; see `AdaptivePace.holds`."""
        return now < self.paused_until or self.pace.holds(now)

    def _fell(self, pause: float, now: float) -> None:
        """Another process was refused, and this one has fallen with it."""
        if pause:
            self.pause(pause, now)
        self.room.serve()

    @property
    def rate(self) -> float:
        """Requests a second, now."""
        return self.pace.law.limit

    def moved(self) -> bool:
        """Whether the rate is far from the one that was last reported."""
        return abs(self.rate - self.told) > _TOLD * self.told

    def limit_of(self, spec: LimitSpec) -> float:  # noqa: ARG002 - there is one
        """Return the rate, which is the limit."""
        return self.rate

    def limits(self) -> Mapping[str, float]:
        """Return the rate by the name of the limit."""
        return MappingProxyType({_RPS: self.rate})

    def snapshot(self) -> AdaptiveRateSnapshot:
        """Return the state as of now if an event loop runs, as of the last call if not."""
        shot = super().snapshot()
        law = self.pace.law
        return AdaptiveRateSnapshot(
            shot.key,
            shot.available,
            shot.limit,
            shot.waiting,
            shot.paused_for,
            shot.in_flight,
            law.limit,
            law.peak,
            law.slow,
            shared=shot.shared,
        )
