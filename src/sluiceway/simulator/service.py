"""The provider's decisions, apart from the network: told the time, it accepts or refuses and keeps the books."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from sluiceway.algorithms.provider_limits import TOKENS, ProviderLimits
from sluiceway.simulator import fate
from sluiceway.simulator.answer import compose
from sluiceway.simulator.batches import Outcome
from sluiceway.simulator.books import Books

if TYPE_CHECKING:
    from sluiceway.algorithms.provider_limits import Costs, Reservation
    from sluiceway.algorithms.provider_meters import Level
    from sluiceway.simulator.asked import Asked
    from sluiceway.simulator.batch_input import BatchRequest
    from sluiceway.simulator.behaviour import Behaviour
    from sluiceway.simulator.fate import Fate

Reason: TypeAlias = Literal["limit", "in_flight", "quota", "outage"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was turned away.

    Attributes:
        reason: why.
        how: the status to answer with, or ``"reset"`` or ``"hang"`` in an outage.
        levels: what the headers say of the limits.
        resource: the limit that is exhausted, the first when there are several.
        requested: what the request would have taken of it.
        retry_after: seconds after which it would be accepted; infinity for never; None where that is unknown.
    """

    reason: Reason
    how: int | Literal["reset", "hang"]
    levels: dict[str, Level]
    resource: str = ""
    requested: float = 0.0
    retry_after: float | None = None


@dataclass(slots=True)
class Ticket:
    """A request that was accepted; ``output`` counts the tokens that were generated for it so far."""

    asked: Asked
    fate: Fate
    levels: dict[str, Level]
    reservation: Reservation
    costs: Costs
    output: int = 0
    open: bool = True


class Service:
    """One provider: its limits, its weather and its books.

    Args:
        behaviour: what it allows, how it answers and what goes wrong.
        now: the time of its start.
    """

    def __init__(self, behaviour: Behaviour, now: float) -> None:
        self.behaviour = behaviour
        limits = behaviour.limits()
        self.books = Books(now, limits)
        self._limits = ProviderLimits(limits, refusals_count=behaviour.refusals_count)
        self._accepted: dict[int, int] = {}
        self._seed = random.getrandbits(63)
        self._quota = random.Random(self._seed_of(behaviour))

    def _seed_of(self, behaviour: Behaviour) -> int:
        return self._seed if behaviour.seed is None else behaviour.seed

    def become(self, now: float, behaviour: Behaviour) -> None:
        """Behave differently from the next request on; what was taken from a limit stays taken."""
        limits = behaviour.limits()
        self._limits.change(now, limits, refusals_count=behaviour.refusals_count)
        self.books.use(limits)
        self.behaviour = behaviour

    def invalid(self, now: float, *, sdk_retry: bool = False) -> None:
        """A request came that could not be read."""
        self.books.offer(now, sdk_retry=sdk_retry)
        self.books.invalid += 1

    def arrive(self, now: float, asked: Asked, *, sdk_retry: bool = False) -> Ticket | Refusal:
        """Accept or refuse a request; an accepted one must be ended by one of the other methods."""
        self.books.offer(now, sdk_retry=sdk_retry)
        refusal = self._turned_away(now)
        if refusal is None:
            return self._metered(now, asked)
        self.books.refusals[refusal.reason] += 1
        return refusal

    def _turned_away(self, now: float) -> Refusal | None:
        behaviour = self.behaviour
        if behaviour.is_out(now - self.books.started):
            return Refusal("outage", behaviour.outage_as, {})
        if behaviour.insufficient_quota and self._quota.random() < behaviour.insufficient_quota:
            return Refusal("quota", 429, {})
        if behaviour.max_in_flight is not None and self.books.in_flight >= behaviour.max_in_flight:
            return Refusal("in_flight", behaviour.in_flight_status, self._limits.levels(now))
        return None

    def _metered(self, now: float, asked: Asked) -> Ticket | Refusal:
        costs = self.behaviour.charges().at_the_door(asked.prompt_tokens, asked.max_tokens)
        verdict = self._limits.ask(now, costs)
        levels = self._limits.levels(now)
        if verdict.reservation is None:
            resource = verdict.exhausted[0]
            self.books.refusals[resource] += 1
            return Refusal("limit", 429, levels, resource, costs[resource], verdict.retry_after)
        self.books.accept(now, costs[TOKENS])
        times_before = self._accepted.get(asked.identity, 0)
        self._accepted[asked.identity] = times_before + 1
        drawn = fate.draw(self.behaviour, self._seed_of(self.behaviour), asked.identity, times_before)
        self.books.hung += drawn.hangs > 0
        return Ticket(asked, drawn, levels, verdict.reservation, costs)

    def answered(self, now: float, ticket: Ticket) -> None:
        """The request was answered in full."""
        if self._end(ticket):
            self.books.answer(ticket.asked.identity)
            self._bill(ticket, lost=False)
            charged = self.behaviour.charges().afterwards(ticket.asked.prompt_tokens, ticket.output)
            self._limits.settle(now, ticket.reservation, charged)
            self.books.metered_tokens += charged.get(TOKENS, ticket.costs[TOKENS]) - ticket.costs[TOKENS]

    def failed(self, ticket: Ticket) -> None:
        """The request got an error, in place of an answer or in the middle of a stream."""
        if self._end(ticket):
            self.books.failed += 1
            if ticket.output:
                self._bill(ticket, lost=True)

    def reset(self, ticket: Ticket) -> None:
        """The connection was reset on purpose; what was generated is billed."""
        if self._end(ticket):
            self.books.resets += 1
            self._bill(ticket, lost=True)

    def abandoned(self, ticket: Ticket) -> None:
        """The client left; what was generated is billed."""
        if self._end(ticket):
            self.books.abandoned += 1
            self._bill(ticket, lost=True)

    def run_in_batch(self, request: BatchRequest, asked: Asked) -> Outcome:
        """Run one request of a batch, which no limit meters: answer and bill it, fail it, or let it expire."""
        before = self._accepted.get(asked.identity, 0)
        self._accepted[asked.identity] = before + 1
        seed = self._seed_of(self.behaviour)
        drawn = fate.draw(self.behaviour, seed, asked.identity, before)
        if random.Random(hash((seed, asked.identity, before, "expired"))).random() < self.behaviour.batch_expired:
            self.books.batch_failed += 1
            return Outcome(request, "expired")
        if drawn.error is not None:
            self.books.batch_failed += 1
            return Outcome(request, "failed", drawn.error)
        self.books.answer_in_batch(asked.identity)
        answer = compose(asked, drawn, self.behaviour.answer, identifier="", created=0)
        output = answer.tokens * asked.choices
        self.books.bill(asked.prompt_tokens, 0 if asked.endpoint == "embeddings" else output, lost=False)
        return Outcome(request, "answered", fate=drawn)

    def _bill(self, ticket: Ticket, *, lost: bool) -> None:
        self.books.bill(ticket.asked.prompt_tokens, ticket.output, lost=lost)

    def _end(self, ticket: Ticket) -> bool:
        """Close the ticket once: a reset of ours is also seen as a client that left."""
        was_open, ticket.open = ticket.open, False
        self.books.in_flight -= was_open
        return was_open
