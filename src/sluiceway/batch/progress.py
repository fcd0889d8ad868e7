"""How far a batch is, for people and hooks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.telemetry.stats import Stats


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch at one moment.

    Attributes:
        total: rows of the source, about; None if unknown.
        share: how much of the source was read, from 0 to 1; None if unknown.
        read: rows that this run has read.
        before: rows among them that earlier runs had settled.
        answered, dead: rows that this run wrote.
        under_way: rows begun and not over.
        asking: of them, at the provider.
        waiting: of them, waiting for better weather, by reason; `"disk"` for room on it.
        elapsed: seconds.
        limits: requests and tokens per minute that the layers allow, by `"rpm"`, `"tpm"` and so on.
        stats: the session's.
        stopping: why it ends early; None while it does not.
    """

    total: int | None
    share: float | None
    read: int
    before: int
    answered: int
    dead: int
    under_way: int
    asking: int
    waiting: Mapping[str, int]
    elapsed: float
    limits: Mapping[str, float]
    stats: Stats = field(repr=False)
    stopping: str | None = None

    @property
    def done(self) -> int:
        """Rows that are settled, by whatever run."""
        return self.before + self.answered + self.dead

    @property
    def expected(self) -> float | None:
        """How many rows there are, as far as one can tell."""
        if self.total is not None:
            return max(self.total, self.read)
        return self.read / self.share if self.share else None

    @property
    def eta(self) -> float | None:
        """Seconds to the end at the pace of the run so far; None if nobody can tell."""
        fresh, expected = self.answered + self.dead, self.expected
        if not fresh or expected is None:
            return None
        return max(0.0, expected - self.done) * self.elapsed / fresh

    @property
    def expected_cost(self) -> float | None:
        """USD that this run will have cost in the end, at the cost of a row so far; None if nobody can tell."""
        fresh, expected, cost = self.answered + self.dead, self.expected, self.stats.cost
        if not fresh or expected is None or cost is None:
            return None
        return cost * (1 + max(0.0, expected - self.done) / fresh)
