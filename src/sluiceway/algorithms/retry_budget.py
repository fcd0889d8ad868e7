"""A bound on the share of work that is repetition."""

from __future__ import annotations

from sluiceway.algorithms.rates import EPSILON, at_least_zero


class RetryBudget:
    """Retries and hedges in flight, at most ``max(minimum, ratio * calls in flight)`` at once.

    Shared by all the layers that repeat, it keeps an outage from multiplying the load by the number of attempts. Told
    from what is in flight, not from what was: calls that leave shrink it, and repetitions in flight stay. Source:
    Envoy's retry budget.

    Args:
        minimum: repetitions that are always allowed, so that a quiet program can retry at all.
        ratio: share of the calls in flight.

    Attributes:
        calls: calls in flight.
        spent: retries and hedges in flight.

    Raises:
        ValueError: a number is negative or not finite.
    """

    __slots__ = ("calls", "minimum", "ratio", "spent")

    def __init__(self, minimum: float = 3, ratio: float = 0.2) -> None:
        self.minimum = at_least_zero(minimum, "minimum")
        self.ratio = at_least_zero(ratio, "ratio")
        self.calls = 0
        self.spent = 0

    @property
    def limit(self) -> float:
        """Retries and hedges that may be in flight now."""
        return max(self.minimum, self.ratio * self.calls)

    def enter(self) -> None:
        """Count a call that begins."""
        self.calls += 1

    def leave(self) -> None:
        """Count a call that is over.

        Raises:
            RuntimeError: more calls leave than entered.
        """
        if not self.calls:
            raise RuntimeError("a call left the retry budget, but none is inside")
        self.calls -= 1

    def try_spend(self) -> bool:
        """Return whether one more retry or hedge may begin, and count it if so."""
        if self.spent + 1 > self.limit + EPSILON:
            return False
        self.spent += 1
        return True

    def give_back(self) -> None:
        """Count a retry or hedge that is over.

        Raises:
            RuntimeError: more end than began.
        """
        if not self.spent:
            raise RuntimeError("a retry was given back to the budget, but none is in flight")
        self.spent -= 1

    def __repr__(self) -> str:
        return f"<RetryBudget {self.spent} of {self.limit:g}, {self.calls} calls in flight>"
