"""Why a rate limit refuses a call, and the error that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.errors import CostTooLarge, QueueFull, RateLimited, Rejected
from sluiceway.events import CallRejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.call import Call
    from sluiceway.layers.limit_specs import LimitSpec
    from sluiceway.layers.limit_state import LimitState
    from sluiceway.layers.queueing import Queueing


class Refusals:
    """The refusals of the layer named *layer*, whose limits are *specs* and whose queue is as *queueing* says.

    Each is returned, for the layer to raise; whoever hears the call is told of it. *call* is None where a permit is
    asked for without one.
    """

    __slots__ = ("_layer", "_queueing", "_specs")

    def __init__(self, layer: str, specs: Sequence[LimitSpec], queueing: Queueing) -> None:
        self._layer = layer
        self._specs = specs
        self._queueing = queueing

    def too_large(self, costs: Sequence[float]) -> CostTooLarge:
        """Return that *costs* are more than a whole limit, which no wait could help."""
        cost, spec = next(pair for pair in zip(costs, self._specs, strict=True) if pair[0] > pair[1].limit)
        return CostTooLarge(
            f"{self._layer}: the call costs about {cost:,.0f} {spec.unit}, but there are only "
            f"{spec.limit:,.0f} per {spec.window:g} s ({spec.name}): no wait could admit it",
            layer=self._layer,
            cost=cost,
            limit=spec.limit,
            unit=spec.unit,
            window=spec.window,
        )

    def hopeless(
        self, call: Call | None, state: LimitState, costs: Sequence[float], now: float, depth: int
    ) -> Rejected | None:
        """Return why waiting behind *depth* others would be in vain; None if it may help."""
        full = self._queueing.full(depth, state.room, call)
        if full is not None:
            return self._refusal(call, state, costs, QueueFull, full)
        longest = self._queueing.max_wait
        if longest is None:
            return None
        wait = state.limiter.wait(costs, now)
        if (longest == 0 and (wait or state.shared is None)) or (wait is not None and wait > longest):
            expected = "somebody must finish first" if wait is None else f"it would wait {wait:.3g} s"
            return self._refusal(call, state, costs, RateLimited, f"{expected}, max_wait={longest:g} s")
        return None

    def in_vain(self, call: Call | None, state: LimitState, costs: Sequence[float]) -> Rejected:
        """Return that it has waited for as long as it may."""
        return self._refusal(call, state, costs, RateLimited, f"waited max_wait={self._queueing.max_wait:g} s in vain")

    def _refusal(
        self, call: Call | None, state: LimitState, costs: Sequence[float], kind: type[Rejected], why: str
    ) -> Rejected:
        limits = ", ".join(f"{name}={limit:g}" for name, limit in state.limits().items())
        where = "" if state.key is None else f" for {state.key!r}"
        now = state.room.time()
        error = kind(
            f"{self._layer}({limits}){where}: {why}", layer=self._layer, retry_after=state.limiter.wait(costs, now)
        )
        if state.key is not None:
            error.whose = repr(state.key)
        if call is not None:
            call.report(CallRejected(now, call, self._layer, error))
        return error
