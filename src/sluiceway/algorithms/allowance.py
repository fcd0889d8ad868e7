"""A part of a budget that is kept elsewhere, given in slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.algorithms.budget import Budget
from sluiceway.algorithms.rates import EPSILON

if TYPE_CHECKING:
    from collections.abc import Sequence


class Allowance(Budget):
    """A `Budget` whose limits are what was granted so far: nothing at first, more with each slice.

    Args:
        whole: the limits of the budget that it is a part of.

    Attributes:
        whole: those limits.
        told: of what is spent, how much the keeper of the whole knows.
        spent_by_all, leased_by_all: what the keeper said last.
    """

    __slots__ = ("leased_by_all", "spent_by_all", "told", "whole")

    def __init__(self, whole: Sequence[float]) -> None:
        super().__init__(whole)
        self.whole = self.limits
        self.told = [0.0] * len(self.whole)
        self.spent_by_all = [0.0] * len(self.whole)
        self.leased_by_all = [0.0] * len(self.whole)
        self.grant([-limit for limit in self.whole])

    def grant(self, amounts: Sequence[float]) -> None:
        """Allow *amounts* more; negative amounts give some back."""
        self.limits = tuple(limit + amount for limit, amount in zip(self.limits, amounts, strict=True))
        # By the whole budget, so that a part of nothing admits nothing, not even what costs nothing.
        self._each = tuple((i, limit, EPSILON * self.whole[i]) for i, limit in enumerate(self.limits))

    def resize(self, limits: Sequence[float]) -> None:
        """Change the whole; what was granted stays."""
        before = self.limits
        super().resize(limits)
        self.whole = self.limits
        self.limits = before
        self.grant([0.0] * len(before))

    def held(self) -> list[float]:
        """Return what may yet be spent, reservations included."""
        return [max(0.0, limit - spent) for limit, spent in zip(self.limits, self.spent, strict=True)]

    def spare(self) -> list[float]:
        """Return what may be reserved."""
        return [max(0.0, self.left(i)) for i in range(len(self.limits))]

    def untold(self) -> list[float]:
        """Return what was spent since the keeper was told."""
        return [spent - told for spent, told in zip(self.spent, self.told, strict=True)]

    def all_spent(self) -> list[float]:
        """Return what all have spent, as far as is known here."""
        return [known + new for known, new in zip(self.spent_by_all, self.untold(), strict=True)]

    def others_hold(self) -> list[float]:
        """Return what others may yet spend, as far as is known here."""
        return [max(0.0, all_ - own) for all_, own in zip(self.leased_by_all, self.held(), strict=True)]
