"""Where merged rows go: the same files as those of any other batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from sluiceway.batch.corrected import forget_corrected
from sluiceway.batch.durability import Durability
from sluiceway.batch.ids import ANSWERED, DEAD, SEEN, KnownIds, of_row
from sluiceway.batch.journal import Journal
from sluiceway.batch.known import settled_in
from sluiceway.providers.usage import Usage
from sluiceway.telemetry.stats import Stats, Tokens

if TYPE_CHECKING:
    from types import TracebackType

    from sluiceway.batch.dead_letters import DeadLetter
    from sluiceway.batch.paths import Paths
    from sluiceway.batch.rows import Id, ResultRow


class FileSink:
    """The results and dead letters of one batch, opened for more.

    Attributes:
        answers, letters: how many were added.
        before: what was there.
        repaired: bytes of torn lines that were cut off.
    """

    def __init__(self, paths: Paths) -> None:
        self._ids = KnownIds()
        self._paths = paths
        self.before = settled_in(paths.results, paths.dead, self._ids)
        self.answers = self.letters = self.repaired = 0
        self._usage = Usage()
        self._cost = 0.0
        self._unpriced = 0

    async def __aenter__(self) -> Self:
        self._results = Journal(self._paths.results, Durability(rows=1))
        self._dead: Journal | None = None  # made when there is something to bury
        self.repaired = self._results.repaired
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._results.close()
        if self._dead is not None:
            await self._dead.close()

    def knows(self, id_: Id) -> bool:
        """Whether the row has its answer or its dead letter already."""
        return bool(self._ids.marks(id_) & (ANSWERED | DEAD))

    def seen(self, id_: Id) -> bool:
        """Take note of the row, and say whether the source had one of its id before."""
        return bool(self._ids.mark(id_, SEEN) & SEEN)

    def buried_before(self, index: int) -> bool:
        """Take note that the row of that place cannot be read, and say whether an earlier run said so."""
        return bool(self._ids.mark(of_row(index), SEEN) & DEAD)

    def forget_corrected(self, rows: int) -> int:
        """Drop the letters of rows that could be read this time, of so many; return how many. After the end of it.

        Raises:
            OSError: the dead letters cannot be written, and are as they were.
        """
        return forget_corrected(self._paths.dead, self._ids, rows) if self.before.dead else 0

    def answered(self, row: ResultRow) -> None:
        """Keep an answer.

        Raises:
            OSError: there is no room.
        """
        self._results.append(row.to_line())
        self._ids.mark(row.id, ANSWERED)
        self.answers += 1
        self._usage += row.usage or Usage()
        self._unpriced += row.cost_usd is None and row.usage is not None
        self._cost += row.cost_usd or 0.0

    def buried(self, letter: DeadLetter) -> None:
        """Keep a dead letter.

        Raises:
            OSError: there is no room.
        """
        if self._dead is None:
            self._dead = Journal(self._paths.dead, Durability(rows=1))
            self.repaired += self._dead.repaired
        self._dead.append(letter.to_line())
        known_by_id = letter.stage == "call" and letter.id is not None
        self._ids.mark(letter.id if known_by_id else of_row(letter.index), DEAD)
        self.letters += 1

    async def saved(self) -> None:
        """Return when all of it is on disk."""
        await self._results.settled()
        if self._dead is not None:
            await self._dead.settled()

    def stats(self) -> Stats:
        """Return what the rows that were added took."""
        used, rows = self._usage, self.answers + self.letters
        tokens = Tokens(used.input_tokens, used.output_tokens, used.cached_tokens, used.reasoning_tokens)
        cost = None if self._unpriced and self._unpriced == self.answers else self._cost
        return Stats(
            calls=rows,
            succeeded=self.answers,
            failed=self.letters,
            attempts=rows,
            tokens=tokens,
            cost=cost,
            unpriced=self._unpriced,
        )
