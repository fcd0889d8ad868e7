"""A second attempt when the first is slow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeVar

from sluiceway.algorithms.rates import whole
from sluiceway.algorithms.running_quantile import RunningQuantile
from sluiceway.durations import Duration, seconds
from sluiceway.layers.hedging import Race
from sluiceway.layers.renewing import adopt, agrees
from sluiceway.layers.repeating import Repeating
from sluiceway.order import Role

if TYPE_CHECKING:
    from sluiceway.algorithms.retry_budget import RetryBudget
    from sluiceway.call import Call, Proceed
    from sluiceway.layer import Layer

T = TypeVar("T")

ENOUGH: Final = 20
_PERCENTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class HedgeSnapshot:
    """The state of a `hedged` layer.

    Attributes:
        after: seconds after which a hedge is sent now; None while too little is known.
        samples: how many first attempts that is known from; 0 where it was given.
        racing: how many hedges are under way.
        sent: how many hedges reached the provider; won: how many of them answered first.
    """

    after: float | None
    samples: int
    racing: int
    sent: int
    won: int


class hedged(Repeating):
    """Send a second attempt when the first is slow, and take what comes first.

    ``@hedged()``. For providers whose slowest answers are many times slower than most: the second attempt meets the
    slow case only as rarely as the first. The first to give an answer, or the first item of a stream, wins; the others
    are cancelled and awaited, and what they cost is told (`HedgeLost`, and `wasted` in a session's statistics). Nothing
    is sent after the first item. `hints(idempotent=False)` forbids hedges.

    Put it outside the layers that wait. The clock starts when the first attempt begins, so that waiting for a permit
    is not taken for slowness; a hedge itself never waits: where no permit is free there is none. What fails in a hedge
    never ends the call: if all attempts fail, the error is that of the first.

    A percentile is that of the first attempts (a stream's until its first item), off by 1 % of itself at the most, of
    the last 2,000 to 4,000. A first attempt that lost counts with the time that it had been given.

    Args:
        after: when a hedge is sent: a percentile such as "p95", after 20 samples, which makes about one call in
            twenty two; or a duration.
        max: how many hedges a call may have; each is sent `after` the one before it.
        budget: how many retries and hedges may be under way among all calls in flight, ``max(3, 20 %)`` by default,
            together with the other layers of the pipeline that repeat. Give several layers one `RetryBudget` and they
            share it; False switches it off.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: `after` is neither a percentile nor a duration above 0, or `max` is below 1.
    """

    role: ClassVar[Role] = Role.REPEAT

    def __init__(
        self,
        after: Duration | str = "p95",
        *,
        max: int = 1,
        budget: RetryBudget | Literal[False] | None = None,
    ) -> None:
        super().__init__(budget)
        share = _percentile(after)
        self._after = None if share is not None else seconds(after, "after")
        self._latencies = None if share is None else RunningQuantile(share)
        self._max = whole(max, "max")
        self.racing = 0
        self.sent = 0
        self.won = 0

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call*, and again beside it when it is slow; return what comes first."""
        if not call.hints.idempotent:
            return await proceed(call)
        budget = self.budget
        counts = self.counts_calls(call.run.layers)
        budget.calls += counts
        try:
            after = self.after
            result: T = await (
                self._watched(call, proceed) if after is None else Race(self, call, proceed, budget, after).run()
            )
            return result
        finally:
            budget.calls -= counts

    async def _watched(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* without a hedge, to know more for later ones."""
        run = call.run
        before = len(run.attempts)
        result = await proceed(call)
        if len(run.attempts) > before:
            attempt = run.attempts[before]
            until = attempt.first_item_at or attempt.ended_at
            if until is not None:
                self.learn(until - attempt.started_at)
        return result

    @property
    def after(self) -> float | None:
        """Seconds after which a hedge is sent now; None while too little is known."""
        latencies = self._latencies
        if latencies is None:
            return self._after
        return latencies.value if latencies.count >= ENOUGH else None

    def learn(self, latency: float) -> None:
        """Take in how long a first attempt took, in seconds."""
        if self._latencies is not None:
            self._latencies.add(latency)

    @property
    def most(self) -> int:
        """How many hedges a call may have."""
        return self._max

    @property
    def attempts(self) -> int:
        """How many attempts a call makes at the most."""
        return 1 + self._max

    def renewed(self, fresh: Layer) -> Layer:
        """Take over `max` of *fresh*; what is known of latencies stays. Another `after` begins to learn anew."""
        if not agrees(self, fresh, ("after", "budget")):
            return super().renewed(fresh)
        adopt(self, fresh, "_max")
        return self

    def snapshot(self) -> HedgeSnapshot:
        """Return when a hedge is sent, and how they fared."""
        samples = 0 if self._latencies is None else self._latencies.count
        return HedgeSnapshot(self.after, samples, self.racing, self.sent, self.won)

    def __repr__(self) -> str:
        shot = self.snapshot()
        after = "too little is known" if shot.after is None else f"after {shot.after:.3g} s"
        return f"<{super().__repr__()}: {after}, {shot.racing} racing, {shot.won} of {shot.sent} won>"


def _percentile(after: object) -> float | None:
    """Return *after* as a share if it is a percentile; None if it is not."""
    found = _PERCENTILE.fullmatch(after.strip()) if isinstance(after, str) else None
    if found is None:
        if isinstance(after, str) and after.strip().startswith("p"):
            raise ValueError(f"after={after!r} must be a percentile from 'p1' to 'p99.9', or a duration such as '2s'")
        return None
    share = float(found[1]) / 100
    if share <= 0:
        raise ValueError(f"after={after!r} must be a percentile from 'p1' to 'p99.9', or a duration such as '2s'")
    return share
