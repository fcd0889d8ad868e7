"""The session's counts and the provider's, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.simulator import Ledger
    from sluiceway.telemetry.stats import Stats


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing that both have counted, each from its own side."""

    what: str
    ours: int
    theirs: int
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Whether both came to the same number."""
        return self.ours == self.theirs

    def __str__(self) -> str:
        sign = "=" if self.agrees else "≠"
        return f"{self.what:<20}{self.ours:>9,}  {sign}{self.theirs:>10,}   {self.note}".rstrip()


HEAD = f"{'':<20}{'session':>9}   {'provider':>10}"


def compared(stats: Stats, ledger: Ledger) -> Sequence[Compared]:
    """Lay what the session counted beside what the provider did."""
    ends = {
        "answered": ledger.answered,
        "refused": ledger.refused,
        "failed": ledger.failed,
        "dropped": ledger.resets,
        "given up": ledger.abandoned,
    }
    became = ", ".join(f"{count:,} {end}" for end, count in ends.items() if count)
    lost_in, lost_out = ledger.lost_input_tokens, ledger.lost_output_tokens
    lost = "billed too, for answers that never arrived"
    return (
        Compared("attempts, requests", stats.attempts, ledger.offered, became),
        Compared("calls, answers", stats.succeeded, ledger.answered, f"{ledger.answered_twice:,} answered twice"),
        Compared("tokens read", stats.tokens.input, ledger.input_tokens - lost_in, f"{lost_in:,} {lost}"),
        Compared("tokens written", stats.tokens.output, ledger.output_tokens - lost_out, f"{lost_out:,} {lost}"),
    )
