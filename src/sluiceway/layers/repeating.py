"""What the layers that make further attempts have in common: their budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from sluiceway.algorithms.retry_budget import RetryBudget
from sluiceway.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

BOUNDLESS: Final = 2**53


class Repeating(Layer):
    """A layer that makes further attempts, as many as its budget allows among all calls in flight.

    Layers of one pipeline that were not given a budget share one, so that together they do not multiply the load: that
    which one of them was given, else that of the outermost. A layer object in several pipelines brings its budget with
    it.

    Args:
        budget: a budget; None for the pipeline's; False for none.

    Attributes:
        budget: the one that holds now.
        given_budget: as it was given.
        shares: whether it came to share one by standing in a pipeline.
        stands_in, counts: the layers that it was asked about last, and what it said; see `counts_calls`.

    Raises:
        TypeError: *budget* is none of these.
    """

    budget: RetryBudget
    given_budget: RetryBudget | Literal[False] | None
    shares: bool

    def __init__(self, budget: RetryBudget | Literal[False] | None) -> None:
        if budget is not None and budget is not False and not isinstance(budget, RetryBudget):
            raise TypeError(
                f"budget={budget!r} must be a RetryBudget, None for one that its pipeline shares, or False for none"
            )
        self.budget = RetryBudget(BOUNDLESS) if budget is False else budget or RetryBudget()
        self.given_budget = budget
        self.shares = False
        self.stands_in: tuple[Layer, ...] | None = None
        self.counts = 1

    def stand_among(self, layers: Sequence[Layer]) -> None:
        """Share a budget with those of *layers* that repeat too."""
        if self.given_budget is not None:
            return
        others = [each for each in layers if isinstance(each, Repeating) and each.given_budget is not False]
        given = [each for each in others if each.given_budget is not None]
        shared = [each for each in others if each.shares]
        common = (given or shared or others)[0]
        if len(others) > 1:
            self.shares = True
            self.budget = common.budget
            self.stands_in = None

    def renewed(self, fresh: Layer) -> Layer:
        """Hand the budget on to *fresh*, if both are given theirs in the same way: what is under way counts in it."""
        if isinstance(fresh, Repeating):
            fresh.go_on_with(self)
        return fresh

    def go_on_with(self, old: Repeating) -> None:
        """Share the budget of *old*, with our own numbers, if both were given one, or neither."""
        given, before = self.given_budget, old.given_budget
        if isinstance(given, RetryBudget) and isinstance(before, RetryBudget):
            before.minimum, before.ratio = given.minimum, given.ratio
            self.budget = self.given_budget = before
        elif given is None and before is None:
            self.budget, self.shares = old.budget, old.shares

    def counts_calls(self, layers: tuple[Layer, ...]) -> int:
        """Return 1 if it is this layer that counts the calls through *layers* for its budget, else 0.

        The outermost one that has the budget does.
        """
        if layers is not self.stands_in:
            first = next((each for each in layers if isinstance(each, Repeating) and each.budget is self.budget), self)
            self.counts = int(first is self)
            self.stands_in = layers
        return self.counts
