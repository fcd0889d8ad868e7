"""What a call will cost in tokens, before it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from sluiceway.arguments import by_name
from sluiceway.call import Call
from sluiceway.providers.charging import GENERIC, Charge, ChargePolicy
from sluiceway.providers.estimates import READ_BY_NAME, weigh

if TYPE_CHECKING:
    from sluiceway.providers.counters import TokenCounter

TokenCount: TypeAlias = Callable[[Call], int | tuple[int, int]]
"""A function of the `Call` that returns its tokens, or a pair of input and output tokens."""

_FIRST_OUTPUT = 500.0
_MEMORY = 100  # answers that the running mean looks back on


class Estimator:
    """Estimates the tokens of one key's calls; remembers how long its answers are."""

    __slots__ = ("_answers", "_counter", "_policy", "mean_output")

    def __init__(self, counter: TokenCounter | None = None, policy: ChargePolicy = GENERIC) -> None:
        """Count with *counter*, None for characters / 4; charge at the door as *policy* says."""
        self._counter = counter
        self._policy = policy
        self.mean_output = _FIRST_OUTPUT
        self._answers = 0

    def tokens(self, call: Call, count: TokenCount | None) -> Charge:
        """Return the tokens that *call* will probably be charged.

        In this order: what *count* returns, what `hints(expected_tokens=...)` says, what the arguments tell. Output is
        the call's own limit (`max_tokens`) if it has one, else the running mean of this key's answers, 500 at first.

        Raises:
            TypeError: *count* returned neither a number nor a pair of them.
        """
        if count is not None:
            return charge(count(call))
        expected = call.hints.expected_tokens
        args, kwargs = by_name(call, READ_BY_NAME)
        guess = weigh(args, kwargs, self._counter)
        if expected is None:
            return self._policy.reserve(guess, self.mean_output)
        given = min(guess[0], expected)
        return Charge(given, expected - given, expected)

    def saw(self, output: float) -> None:
        """Remember that an answer had *output* tokens."""
        self._answers = min(self._answers + 1, _MEMORY)
        self.mean_output += (output - self.mean_output) / self._answers


def charge(counted: int | tuple[int, int]) -> Charge:
    """Return *counted*, a pair of input and output tokens or one number of both, which then counts as input.

    Raises:
        TypeError: it is neither.
    """
    numbers = counted if isinstance(counted, tuple) else (counted, 0)
    if len(numbers) != 2 or not all(isinstance(n, (int, float)) and n >= 0 for n in numbers):
        said = repr(counted) if all(isinstance(n, (int, float)) for n in numbers) else f"a {type(counted).__name__}"
        raise TypeError(f"tokens= returned {said}: return a number of at least 0, or a pair of input and output")
    return Charge(*numbers, sum(numbers))
