"""One budget of a `budgeted` layer, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluiceway.algorithms.allowance import Allowance

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from sluiceway.algorithms.budget import Budget
    from sluiceway.layers.shared_limits import SharedSnapshot
    from sluiceway.layers.token_costs import Estimator
    from sluiceway.sharing.shared_budget import SharedBudget


@dataclass(frozen=True, slots=True)
class BudgetSnapshot:
    """One budget of a `budgeted` layer; amounts by `"usd"` and `"tokens"`.

    Attributes:
        key: whose or when; None without `per`.
        limit: the whole budget; spent: what is gone; reserved: what calls in flight may take.
        left: the rest; negative where estimates were too low.
        in_flight: calls that reserve something.
        unpriced: attempts whose price nobody knew, counted with their estimate, or 0 if that had no price either.
        shared: how it stands with the store, if the budget is shared: `spent` and `reserved` are then by all processes,
            as last heard, and `reserved` is what they may yet spend.
    """

    key: Hashable
    limit: Mapping[str, float]
    spent: Mapping[str, float]
    reserved: Mapping[str, float]
    left: Mapping[str, float]
    in_flight: int
    unpriced: int
    shared: SharedSnapshot | None = field(default=None, kw_only=True)


class BudgetState:
    """One budget, and what was learnt about the calls that it pays for."""

    __slots__ = ("answered", "budget", "estimator", "key", "lives", "shared", "unpriced")

    def __init__(self, key: Hashable, budget: Budget, estimator: Estimator, shared: SharedBudget | None = None) -> None:
        self.key = key
        self.budget = budget
        self.estimator = estimator
        self.shared = shared
        self.lives: Callable[[], bool] | None = None
        self.answered: str | None = None
        self.unpriced = 0

    def busy(self) -> bool:
        """Whether it must be kept: forgetting what a key has spent would give it all again, unless a store knows it."""
        budget = self.budget
        if self.shared is not None:
            return budget.in_flight > 0 or self.shared.busy
        return budget.in_flight > 0 or (any(budget.spent) and (self.lives is None or self.lives()))

    def facts(self) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
        """Return the limits, what is spent and what is reserved; of a shared budget those of all, as last heard."""
        budget = self.budget
        if not isinstance(budget, Allowance):
            return budget.limits, budget.spent, budget.reserved
        reserved = [own + others for own, others in zip(budget.reserved, budget.others_hold(), strict=True)]
        return budget.whole, budget.all_spent(), reserved
