"""From what is asked and what is allowed to time and money: pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sluiceway.batch.batch_api.merging import DISCOUNT
from sluiceway.batch.batch_api.splitting import MOST_BYTES, MOST_REQUESTS
from sluiceway.batch.plan.demand import Demand
from sluiceway.batch.plan.limits import amount
from sluiceway.providers.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluiceway.batch.plan.answers import Answers
    from sluiceway.batch.plan.demand import Demands
    from sluiceway.batch.plan.limits import Limits

CONCURRENCY: Final = "concurrency"


@dataclass(frozen=True, slots=True)
class Constraint:
    """How long one limit alone makes the batch last.

    Attributes:
        name: the setting, or `"concurrency"`.
        limit: what it allows, for people.
        seconds: that long at least.
    """

    name: str
    limit: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What one model costs in USD; None where nobody knows its price.

    Attributes:
        model: its name.
        low, usual, high: with the least, the usual and the most tokens.
        batch_api: the usual one over the Batch API.
        asked: whether rows ask this model, or it is shown to compare.
    """

    model: str
    low: float | None
    usual: float | None
    high: float | None
    batch_api: float | None
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a batch will take.

    Attributes:
        constraints: the slowest first; it is the one that binds. Empty without limits.
        shortest: seconds that the batch takes at least.
        costs: by model.
        parts: how many batches of the Batch API it is.
    """

    constraints: tuple[Constraint, ...]
    shortest: float
    costs: tuple[Cost, ...]
    parts: int

    @property
    def binding(self) -> Constraint | None:
        """The limit that makes it last; None if there is none."""
        return self.constraints[0] if self.constraints else None


def forecast(
    demands: Demands,
    answers: Answers,
    limits: Limits,
    price: Callable[[str, Usage], float | None],
    compare: tuple[str, ...] = (),
) -> Forecast:
    """Return what a batch of *demands* takes under *limits*.

    A limit on a rate: ``(amount - burst) / rate``; concurrency: ``requests * mean latency / places``. The slowest of
    them, and one answer's time for the last request.
    """
    constraints = sorted(_constraints(demands, answers, limits), key=lambda each: -each.seconds)
    slowest = constraints[0].seconds if constraints else 0.0
    shortest = slowest + (answers.mean_latency if demands.requests else 0.0)
    costs = [_cost(demand, demand.model, demands, price) for demand in demands.by_model]
    costs += [_compared(model, demands, price) for model in compare]
    return Forecast(tuple(constraints), shortest, tuple(costs), sum(map(_parts, demands.by_model)))


def _constraints(demands: Demands, answers: Answers, limits: Limits) -> list[Constraint]:
    found = []
    for limit in limits.rates:
        needed = amount(limit.unit, demands.requests, demands.input_tokens, demands.output_tokens, demands.charged)
        shown = f"{limit.rate * 60:,.0f} {limit.unit} a minute"
        found.append(Constraint(limit.name, shown, max(0.0, needed - limit.burst) / limit.rate))
    if limits.in_flight is not None:
        # The last calls leave places empty: what is counted is full rounds.
        took = max(0, demands.requests - limits.in_flight) * answers.mean_latency / limits.in_flight
        found.append(Constraint(CONCURRENCY, f"{limits.in_flight:,} at a time", took))
    return found


def _cost(
    demand: Demand, model: str, demands: Demands, price: Callable[[str, Usage], float | None], *, asked: bool = True
) -> Cost:
    least, most = demands.input_error

    def of(read: float, written: float) -> float | None:
        # By the request, since some prices rise with its length.
        each = Usage(round(read / demand.requests), round(written / demand.requests))
        one = price(model, each)
        return None if one is None else one * demand.requests

    low = of(demand.input_tokens * least, demand.output_low)
    usual = of(demand.input_tokens, demand.output_tokens)
    high = of(demand.input_tokens * most, demand.output_high)
    return Cost(model, low, usual, high, None if usual is None else usual * DISCOUNT, asked)


def _compared(model: str, demands: Demands, price: Callable[[str, Usage], float | None]) -> Cost:
    """Return what *model* would cost for all rows, at the same tokens."""
    if not demands.requests:
        return Cost(model, 0.0, 0.0, 0.0, 0.0, asked=False)

    together = Demand(
        model,
        demands.requests,
        demands.input_tokens,
        demands.output_tokens,
        sum(each.output_low for each in demands.by_model),
        sum(each.output_high for each in demands.by_model),
    )
    return _cost(together, model, demands, price, asked=False)


def _parts(demand: Demand) -> int:
    return max(math.ceil(demand.requests / MOST_REQUESTS), math.ceil(demand.size / MOST_BYTES))
