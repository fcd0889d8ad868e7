"""Replacing what a call reserved by what it took, exactly once.

==========================================  =================================================================
how the call ended                          what becomes of its reservation
==========================================  =================================================================
the usage is known                          settled to it; more than reserved is a debt
an answer, or a stream, without usage       the estimate is kept
never sent (refused inside, no connection)  everything is refunded, the request too
429, or refused as ours to fix (400, ...)   the request is spent, the tokens are refunded
5xx, reset, timeout or cancel after sending kept: it may have been billed
==========================================  =================================================================
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Final

from sluiceway.events import Settled
from sluiceway.layers.basis import basis_of
from sluiceway.layers.limit_specs import INPUT, OUTPUT, REQUESTS, TOKENS, LimitSpec
from sluiceway.providers.charging import Charge, ChargePolicy
from sluiceway.providers.errors import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sluiceway.call import Attempt, Call
    from sluiceway.layers.limit_state import LimitState
    from sluiceway.providers.errors import Classification

NOTHING: Final = Charge(0.0, 0.0, 0.0)


_PLACE: Final = {REQUESTS: 0, INPUT: 1, OUTPUT: 2, TOKENS: 3}


def costing(specs: Sequence[LimitSpec]) -> Callable[[float, Charge], Sequence[float]]:
    """Return a function that tells what requests and tokens take from each of *specs*."""
    places = [_PLACE[spec.unit] for spec in specs]
    pick = itemgetter(*places) if len(places) > 1 else lambda all_costs: (all_costs[places[0]],)

    def costs(requests: float, tokens: Charge) -> Sequence[float]:
        taken: tuple[float, ...] = pick((requests, *tokens))
        return taken

    return costs


class Settlement:
    """How one layer settles: as *policy* says its provider does; *keep* leaves reservations as they are."""

    __slots__ = ("_costs", "_keep", "_layer", "_policy")

    def __init__(self, specs: Sequence[LimitSpec], layer: str, policy: ChargePolicy, *, keep: bool) -> None:
        self._costs = costing(specs)
        self._layer = layer
        self._policy = policy
        self._keep = keep

    def settle(
        self,
        call: Call,
        state: LimitState,
        reserved: Sequence[float],
        attempts: Sequence[Attempt],
        fault: Classification | None,
        at: float,
        now: float,
    ) -> None:
        """Settle what *call* reserved at *at*, now that its *attempts* are over; *fault* is None for an answer."""
        basis, actual = self._verdict(state, reserved, attempts, fault)
        if actual is not reserved:
            self.to(call, state, reserved, actual, at, now)
        if call.run.listening:
            before, after = state.by_name(reserved), state.by_name(actual)
            call.report(Settled(now, call, self._layer, state.key, basis, before, after))

    def to(
        self,
        call: Call | None,
        state: LimitState,
        reserved: Sequence[float],
        actual: Sequence[float],
        at: float,
        now: float,
    ) -> None:
        """Settle a reservation made at *at* to *actual*, for the limiter and for the queue that shares it out."""
        deltas = [after - before for after, before in zip(actual, reserved, strict=True)]
        if any(deltas):
            state.limiter.adjust(deltas, now, at)
            state.room.settle(call, deltas)

    def _verdict(
        self,
        state: LimitState,
        reserved: Sequence[float],
        attempts: Sequence[Attempt],
        fault: Classification | None,
    ) -> tuple[str, Sequence[float]]:
        if fault is None and len(attempts) == 1 and attempts[0].usage is None:
            return ("estimate", reserved)
        if fault is not None and not fault.sent:
            fault = _last_sent(attempts, fault)
        used = [attempt.usage for attempt in attempts if attempt.usage is not None]
        if used:
            usage = used[0] if len(used) == 1 else sum(used[1:], used[0])
            state.estimator.saw(usage.output_tokens / len(used))
            if self._keep:
                return ("usage", reserved)
            actual = self._costs(1, self._policy.settle(usage, NOTHING))
            return ("usage", actual if self._policy.settles else list(map(max, reserved, actual)))
        basis = basis_of(fault)
        if basis == "refund":
            return (basis, self._costs(0, NOTHING))
        return (basis, self._costs(1, NOTHING) if basis == "refused" else reserved)


def _last_sent(attempts: Sequence[Attempt], fault: Classification) -> Classification | None:
    """Return how the last of *attempts* that may have reached the provider ended, None for an answer; else *fault*."""
    for attempt in reversed(attempts):
        ended = None if attempt.error is None else classify(attempt.error)
        if ended is None or ended.sent:
            return ended
    return fault
