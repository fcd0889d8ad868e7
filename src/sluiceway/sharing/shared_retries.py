"""A retry budget that counts what is in flight in other processes too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluiceway.sharing.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.algorithms.retry_budget import RetryBudget
    from sluiceway.sharing.store import SharedStore


class SharedRetries(Notes):
    """Keeps *budget* told of the calls and retries that are in flight elsewhere, as long as there are retries here."""

    def __init__(self, store: SharedStore, budget: RetryBudget) -> None:
        super().__init__(store, None, "retries")
        self._budget = budget

    def spending(self) -> None:
        """A retry begins, or was refused."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self.in_loop(loop)
        self.beat(loop.time())

    def numbers(self) -> Sequence[float]:
        """Return the calls and the retries in flight."""
        return (self._budget.calls, self._budget.spent)

    def others(self, sums: Sequence[float]) -> None:
        """Hear those of the others."""
        self._budget.other_calls, self._budget.other_spent = int(sums[0]), int(sums[1])

    def alone(self) -> None:
        """Count our own only."""
        self._budget.other_calls = self._budget.other_spent = 0
