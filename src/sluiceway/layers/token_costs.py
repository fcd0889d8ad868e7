"""What a call will cost in tokens, before it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from sluiceway.call import Call
from sluiceway.providers.estimates import estimate

if TYPE_CHECKING:
    from sluiceway.providers.counters import TokenCounter

TokenCount: TypeAlias = Callable[[Call], int | tuple[int, int]]
"""A function of the `Call` that returns its tokens, or a pair of input and output tokens."""

_FIRST_OUTPUT = 500.0
_MEMORY = 100  # answers that the running mean looks back on


class Estimator:
    """Estimates the tokens of one key's calls; remembers how long its answers are."""

    __slots__ = ("_answers", "_counter", "mean_output")

    def __init__(self, counter: TokenCounter | None = None) -> None:
        """Count with *counter*; None for characters / 4."""
        self._counter = counter
        self.mean_output = _FIRST_OUTPUT
        self._answers = 0

    def tokens(self, call: Call, count: TokenCount | None) -> tuple[float, float]:
        """Return input and output tokens that *call* will probably take.

        In this order: what *count* returns, what `hints(expected_tokens=...)` says, what the arguments tell. Output is
        the call's own limit (`max_tokens`) if it has one, else the running mean of this key's answers, 500 at first.

        Raises:
            TypeError: *count* returned neither a number nor a pair of them.
        """
        if count is not None:
            return _pair(count(call))
        expected = call.hints.expected_tokens
        guess = estimate(call.args, call.kwargs, counter=self._counter)
        output = self.mean_output if guess.output_tokens is None else guess.output_tokens
        if expected is None:
            return guess.input_tokens, output
        given = min(guess.input_tokens, expected)
        return given, expected - given

    def saw(self, output: float) -> None:
        """Remember that an answer had *output* tokens."""
        self._answers = min(self._answers + 1, _MEMORY)
        self.mean_output += (output - self.mean_output) / self._answers


def _pair(counted: int | tuple[int, int]) -> tuple[float, float]:
    numbers = counted if isinstance(counted, tuple) else (counted, 0)
    if len(numbers) != 2 or not all(isinstance(n, (int, float)) and n >= 0 for n in numbers):
        raise TypeError(f"tokens= returned {counted!r}: return a number of at least 0, or a pair of input and output")
    return numbers
