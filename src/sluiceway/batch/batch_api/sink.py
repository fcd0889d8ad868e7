"""Where merged rows go: the same files as those of any other batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from sluiceway.batch.durability import Durability
from sluiceway.batch.ids import ANSWERED, DEAD, KnownIds
from sluiceway.batch.journal import Journal
from sluiceway.batch.known import settled_in

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
    """

    def __init__(self, paths: Paths) -> None:
        self._ids = KnownIds()
        self._paths = paths
        self.before = settled_in(paths.results, paths.dead, self._ids)
        self.answers = self.letters = 0
        self.cost_usd = 0.0
        self.unpriced = 0

    async def __aenter__(self) -> Self:
        self._results = Journal(self._paths.results, Durability(rows=1))
        self._dead: Journal | None = None  # made when there is something to bury
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._results.close()
        if self._dead is not None:
            await self._dead.close()

    def knows(self, id_: Id | str) -> bool:
        """Whether the row has its answer or its dead letter already."""
        return bool(self._ids.marks(id_) & (ANSWERED | DEAD))

    def answered(self, row: ResultRow) -> None:
        """Keep an answer.

        Raises:
            OSError: there is no room.
        """
        self._results.append(row.to_line())
        self._ids.mark(row.id, ANSWERED)
        self.answers += 1
        self.unpriced += row.cost_usd is None
        self.cost_usd += row.cost_usd or 0.0

    def buried(self, letter: DeadLetter) -> None:
        """Keep a dead letter.

        Raises:
            OSError: there is no room.
        """
        if self._dead is None:
            self._dead = Journal(self._paths.dead, Durability(rows=1))
        self._dead.append(letter.to_line())
        if letter.id is not None:
            self._ids.mark(letter.id, DEAD)
        self.letters += 1

    async def saved(self) -> None:
        """Return when all of it is on disk."""
        await self._results.settled()
        if self._dead is not None:
            await self._dead.settled()
