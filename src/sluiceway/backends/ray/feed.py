"""The rows that an actor is given, as a source that its runner reads."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.ids import DEAD, of_row
from sluiceway.batch.sources.row import Row
from sluiceway.batch.sources.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from sluiceway.batch.sources.row import Unread
    from sluiceway.batch.sources.source import Chunk

BURIED: Final = 8
"""Beside the marks of an id: a dead letter stands for the row's place."""


class Feed(Source):
    """Gives rows to the runner as packs come in; it ends when it is told to.

    It is also what the runner asks which rows are known: the desk has said so of each when its pack began.

    Args:
        passed: told the place of a row that the runner passes over, since a dead letter stands for it already.
    """

    name = "the packs of an actor"

    def __init__(self, passed: Callable[[int], None]) -> None:
        self._passed = passed
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self._told: defaultdict[str, deque[int]] = defaultdict(deque)
        self._buried: dict[str, int] = {}

    def put(self, rows: Sequence[Row | Unread], told: Sequence[int]) -> None:
        """Give *rows* to the runner, with what the desk *told* of each."""
        for row, marks in zip(rows, told, strict=True):
            if isinstance(row, Row):
                self._told[str(row.id)].append(marks & ~BURIED)
            if marks & BURIED:
                self._buried[of_row(row.index)] = row.index
        self._chunks.put_nowait(rows)

    def end(self) -> None:
        """Give no more."""
        self._chunks.put_nowait(None)

    def mark(self, key: object, marks: int) -> int:  # noqa: ARG002 - as `KnownIds.mark`, whose place it takes
        """Return what the desk told of the next row with *key*; the runner asks in the order of the rows."""
        index = self._buried.pop(str(key), None)
        if index is not None:
            self._passed(index)
            return DEAD
        told = self._told.get(str(key))
        if not told:
            return 0
        found = told.popleft()
        if not told:
            del self._told[str(key)]
        return found

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield a pack's rows when there are some."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    def fingerprint(self, before: Mapping[str, Any] | None = None) -> Mapping[str, Any]:  # noqa: ARG002 - see `Source`
        """Return nothing: the driver has compared the source."""
        return {}

    def difference(self, before: Mapping[str, Any]) -> str | None:  # noqa: ARG002 - see `Source`
        """Return None, as above."""
        return None
