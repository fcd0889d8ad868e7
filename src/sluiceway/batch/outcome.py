"""What a run of a batch came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sluiceway.batch.paths import Paths
    from sluiceway.batch.verdicts import Stop
    from sluiceway.telemetry.stats import Stats

DONE: Final = 0
DEAD_LETTERS: Final = 3
STOPPED: Final = 4
BROKEN: Final = 5
ALERTED: Final = 6
_SIGNALLED: Final = 128
_BROKEN_KINDS: Final = frozenset({"source", "disk"})


@dataclass(frozen=True, slots=True)
class BatchRun:
    """One run, over.

    Attributes:
        paths: the files.
        rows: rows that it read.
        before: rows among them that earlier runs had settled.
        answered: rows that it answered.
        dead: rows that it wrote to the dead letters.
        pending: rows that it had begun and gave up, to be asked by the next run; those that it has not read yet are
            pending too.
        dead_in_all: dead letters, those of earlier runs included.
        complete: whether the source was read to its end and nothing is pending.
        stopped: why it ended before that; None if it did not.
        signal: the number of the signal that ended it; None without one.
        alerts: how often the error rate of the last minute became too high.
        repaired: bytes of torn lines that an earlier death had left, and that were cut off.
        elapsed: seconds.
        stats: what the layers did.
    """

    paths: Paths
    rows: int
    before: int
    answered: int
    dead: int
    pending: int
    dead_in_all: int
    complete: bool
    stopped: Stop | None
    signal: int | None
    alerts: int
    repaired: int
    elapsed: float
    stats: Stats = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether every row of the source has its answer."""
        return self.complete and not self.dead_in_all

    @property
    def exit_code(self) -> int:
        """What the command line ends with.

        0: every row has its answer. 3: all is done, some rows are dead letters. 4: the provider stopped it (quota, key,
        error rate, no answer for long). 5: its source or its disk did. 130, 143: a signal did. After 4 and above the
        same command goes on where it ended.
        """
        if self.signal is not None:
            return _SIGNALLED + self.signal
        if self.stopped is not None or not self.complete:
            return BROKEN if self.stopped is not None and self.stopped.kind in _BROKEN_KINDS else STOPPED
        return DEAD_LETTERS if self.dead_in_all else DONE

    def __str__(self) -> str:
        parts = [f"{self.answered:,} answered"]
        if self.before:
            parts.append(f"{self.before:,} were settled before")
        if self.dead:
            parts.append(f"{self.dead:,} dead letters")
        if self.pending:
            parts.append(f"{self.pending:,} begun and pending")
        how = "done" if self.complete else f"ended early: {self.stopped.message if self.stopped else 'a signal'}"
        return f"{', '.join(parts)} in {self.elapsed:.1f} s; {how}"
