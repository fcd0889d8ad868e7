"""A bound on the share of work that is repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sluiceway.algorithms.rates import EPSILON, at_least_zero

if TYPE_CHECKING:
    from collections.abc import Callable


class Sharing(Protocol):
    """A store through which processes share a budget, such as a `RedisStore`."""

    def share_retries(self, budget: RetryBudget, /) -> Callable[[], None]:
        """Keep *budget* told of what is in flight elsewhere; return what to call when a retry begins."""


class RetryBudget:
    """Retries and hedges in flight, at most ``max(minimum, ratio * calls in flight)`` at once.

    Shared by all the layers that repeat, it keeps an outage from multiplying the load by the number of attempts. Told
    from what is in flight, not from what was: calls that leave shrink it, and repetitions in flight stay. Source:
    Envoy's retry budget.

    Args:
        minimum: repetitions that are always allowed, so that a quiet program can retry at all.
        ratio: share of the calls in flight.
        store: shares the budget with every process that names the same store. What is in flight elsewhere is known
            with up to a quarter of a second's delay, and only from where there are retries.

    Attributes:
        calls: calls in flight.
        spent: retries and hedges in flight.
        other_calls, other_spent: the same in other processes, as last heard.

    Raises:
        ValueError: a number is negative or not finite.
        TypeError: *store* is no store.
    """

    __slots__ = ("_spending", "calls", "minimum", "other_calls", "other_spent", "ratio", "spent")

    def __init__(self, minimum: float = 3, ratio: float = 0.2, *, store: Sharing | None = None) -> None:
        if store is not None and not hasattr(store, "share_retries"):
            raise TypeError(f"store={store!r} must be a store such as RedisStore(url, prefix=...), or None")
        self.minimum = at_least_zero(minimum, "minimum")
        self.ratio = at_least_zero(ratio, "ratio")
        self.calls = 0
        self.spent = 0
        self.other_calls = 0
        self.other_spent = 0
        self._spending = None if store is None else store.share_retries(self)

    @property
    def limit(self) -> float:
        """Retries and hedges that may be in flight now."""
        return max(self.minimum, self.ratio * (self.calls + self.other_calls))

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
        if self._spending is not None:
            self._spending()
        if self.spent + self.other_spent + 1 > self.limit + EPSILON:
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
