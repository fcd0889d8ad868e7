"""How long answers are and how long they take: assumed, told by the user, or measured on rows that were answered."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sluiceway.batch.batch_api.merging import WAIT
from sluiceway.simulator.distributions import Distribution, Fixed, Lognormal, Uniform, distribution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sluiceway.batch.rows import ResultRow
    from sluiceway.simulator.distributions import Spread

USUAL: Final = (100.0, 500.0, 1500.0)
"""Tokens of an answer whose request sets no limit: at least, usually, at most."""

SHARES: Final = (0.1, 0.5, 1.0)
"""Of the limit that a request sets."""

LATENCY: Final = "lognormal(2s, 0.6)"
_FEWEST: Final = 10  # measured answers that say something
_Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class Answers:
    """What is expected of answers.

    Attributes:
        low, usual, high: mean tokens of an answer; None to go by each request's limit, else by `USUAL`.
        length: how lengths are spread, for a simulation; None for all as usual.
        latency: how the time of an answer is spread.
        source: where this comes from, for people.
    """

    low: float | None = None
    usual: float | None = None
    high: float | None = None
    length: Distribution | None = None
    latency: Distribution = field(default_factory=lambda: distribution(LATENCY))
    source: str = "assumed"

    def of(self, limit: int | None) -> tuple[float, float, float]:
        """Return the least, usual and largest mean of answers to a request whose answer has *limit* tokens at most."""
        if self.usual is None or self.low is None or self.high is None:
            if limit is None:
                return USUAL
            low, usual, high = (share * limit for share in SHARES)
            return low, usual, high
        if limit is None:
            return self.low, self.usual, self.high
        return min(self.low, limit), min(self.usual, limit), min(self.high, limit)

    @property
    def mean_latency(self) -> float:
        """Seconds that an answer takes on average."""
        return mean_of(self.latency)

    @classmethod
    def told(cls, tokens: Spread | None, latency: Spread | None) -> Answers:
        """Return what the user expects: ``"200"``, ``"50..400"`` or ``"lognormal(200, 0.5)"`` tokens.

        Of a single number the range is from half to twice of it.

        Raises:
            TypeError, ValueError: one of them is unreadable.
        """
        took = distribution(LATENCY if latency is None else latency, "latency")
        if tokens is None:
            return cls(latency=took)
        length = distribution(tokens, "output_tokens")
        usual = mean_of(length)
        low, high = (length.low, length.high) if isinstance(length, Uniform) else (usual / 2, usual * 2)
        return cls(low, usual, high, length, took, "as told")

    @classmethod
    def measured(cls, rows: Iterable[ResultRow], latency: Spread | None = None) -> Answers:
        """Return what rows that were answered tell: the mean of their answers with its 95 % interval.

        What came by way of the Batch API tells nothing of how long a call takes: without other rows that is assumed.

        Raises:
            ValueError: fewer than ten of them tell their usage.
        """
        seen = [(row.usage.output_tokens, _took(row)) for row in rows if row.usage is not None]
        calls = [seconds for _, seconds in seen if seconds is not None]
        if len(seen) < _FEWEST:
            raise ValueError(f"{len(seen)} answered rows with usage are too few to tell from: at least {_FEWEST}")
        mean, margin = _interval([tokens for tokens, _ in seen])
        told = LATENCY if latency is None else latency
        took = _lognormal(calls) if latency is None and calls else distribution(told, "latency")
        length = _lognormal([float(tokens) for tokens, _ in seen])
        return cls(max(0.0, mean - margin), mean, mean + margin, length, took, f"measured on {len(seen):,} answers")


def mean_of(spread: Distribution) -> float:
    """Return the mean of a distribution."""
    if isinstance(spread, Fixed):
        return spread.value
    if isinstance(spread, Uniform):
        return (spread.low + spread.high) / 2
    return spread.median * math.exp(spread.sigma**2 / 2)


def _took(row: ResultRow) -> float | None:
    """Return the seconds at the provider: what is not waiting; None of the Batch API, where nobody called."""
    if WAIT in row.waited_s:
        return None
    return max(0.001, row.latency_s - sum(row.waited_s.values()))


def _interval(values: list[int]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, _Z * math.sqrt(variance / len(values))


def _lognormal(values: list[float]) -> Lognormal:
    logs = [math.log(max(value, 0.001)) for value in values]
    mean = sum(logs) / len(logs)
    return Lognormal(math.exp(mean), math.sqrt(sum((each - mean) ** 2 for each in logs) / len(logs)))
