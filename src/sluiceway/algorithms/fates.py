"""What befalls the n-th trip to a provider: decided by a seed and n alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from sluiceway.durations import Duration, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

F = TypeVar("F")

Latency: TypeAlias = "Duration | tuple[Duration, Duration] | Callable[[Random], float]"
"""A duration, the bounds of a uniform draw, or a function of a ``random.Random`` that returns seconds."""


@dataclass(frozen=True, slots=True)
class Fates(Generic[F]):
    """At most one fault for each number, each with its probability; not how trips interleave decides, but *seed*."""

    shares: tuple[tuple[F, float], ...]
    seed: int

    def of(self, number: int, rng: Random) -> F | None:
        """Return the fault of trip *number*, None if it is spared.

        *rng* is seeded anew for it, so that the trip's further circumstances, drawn from it, are its own too.
        """
        rng.seed(f"{self.seed}/{number}")
        left = rng.random()
        for fault, share in self.shares:
            left -= share
            if left < 0:
                return fault
        return None


def require_shares(named: Mapping[str, float]) -> None:
    """Refuse probabilities that are none, or that leave no room for one another.

    Raises:
        ValueError: one lies outside of 0 to 1, or all together exceed 1.
        TypeError: one is no number.
    """
    for name, share in named.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)):
            raise TypeError(f"{name} must be a probability from 0 to 1, not {share!r}")
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must be a probability from 0 to 1, not {share!r}")
    if sum(named.values()) > 1 + 1e-9:
        raise ValueError(f"all faults together must not be likelier than 1, not {sum(named.values()):g}")


def drawn(latency: Latency, name: str = "latency") -> Callable[[Random], float]:
    """Return what draws seconds as *latency* says.

    Raises:
        ValueError: a duration or a bound is none, or negative; likewise `TypeError`.
    """
    if isinstance(latency, tuple):
        if len(latency) != 2:
            raise ValueError(f"{name}={latency!r} must be a duration or two of them, the least and the longest")
        low, high = (seconds(bound, name, zero=True) for bound in latency)
        return lambda rng: rng.uniform(low, high)
    if callable(latency):
        return latency
    fixed = seconds(latency, name, zero=True)
    return lambda _: fixed
