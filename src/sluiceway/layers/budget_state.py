"""One budget of a `budgeted` layer, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from sluiceway.algorithms.budget import Budget
    from sluiceway.layers.token_costs import Estimator


@dataclass(frozen=True, slots=True)
class BudgetSnapshot:
    """One budget of a `budgeted` layer; amounts by `"usd"` and `"tokens"`.

    Attributes:
        key: whose or when; None without `per`.
        limit: the whole budget; spent: what is gone; reserved: what calls in flight may take.
        left: the rest; negative where estimates were too low.
        in_flight: calls that reserve something.
        unpriced: attempts whose price nobody knew, counted with their estimate, or 0 if that had no price either.
    """

    key: Hashable
    limit: Mapping[str, float]
    spent: Mapping[str, float]
    reserved: Mapping[str, float]
    left: Mapping[str, float]
    in_flight: int
    unpriced: int


class BudgetState:
    """One budget, and what was learnt about the calls that it pays for."""

    __slots__ = ("answered", "budget", "estimator", "key", "lives", "unpriced")

    def __init__(self, key: Hashable, budget: Budget, estimator: Estimator) -> None:
        self.key = key
        self.budget = budget
        self.estimator = estimator
        self.lives: Callable[[], bool] | None = None
        self.answered: str | None = None
        self.unpriced = 0

    def busy(self) -> bool:
        """Whether it must be kept: forgetting what a key has spent would give it all again."""
        budget = self.budget
        return budget.in_flight > 0 or (any(budget.spent) and (self.lives is None or self.lives()))
