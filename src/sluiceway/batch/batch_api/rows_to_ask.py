"""The rows of a source that are left to ask, as requests of the Batch API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.batch_api.part import Task
from sluiceway.batch.dead_letters import DeadLetter, Failure
from sluiceway.batch.errors import BadRow
from sluiceway.batch.sources.row import Row, Unread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sluiceway.batch.batch_api.sink import FileSink
    from sluiceway.batch.sources.source import Source
    from sluiceway.batch.target import Target

PATHS: Final = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "embeddings": "/v1/embeddings"}


class RowsToAsk:
    """Reads a source; what cannot be asked is buried, what was settled before is passed over.

    Args:
        source: rows.
        target: makes requests of them.
        sink: knows what was settled before, and takes dead letters.

    Attributes:
        read, before: rows that were read, and those of them that were settled before.
    """

    def __init__(self, source: Source, target: Target, sink: FileSink) -> None:
        self._source, self._target, self._sink = source, target, sink
        self.read = 0
        self.before = 0

    async def tasks(self) -> AsyncIterator[Task]:
        """Yield one request after another.

        Raises:
            SourceFailed: the source cannot be read on.
            OSError: a dead letter cannot be written.
        """
        async for chunk in self._source.chunks():
            for row in chunk:
                self.read += 1
                task = self._task(row)
                if task is not None:
                    yield task

    def refuse(self, row: Task, problem: Exception) -> None:
        """Bury a request that no batch could hold."""
        letter = DeadLetter(
            row.id, row.index, Failure.of(problem), "call", row.line, finished_at=time.time(), request=row.row
        )
        self._sink.buried(letter)

    def _task(self, row: Row | Unread) -> Task | None:
        if isinstance(row, Unread):
            self._bury(row, row.problem, row.text)
            return None
        if self._sink.seen(row.id):
            self._bury(row, BadRow("duplicate id", f"an earlier row has the id {row.id!r} too"), row.value)
            return None
        if self._sink.knows(row.id):
            self.before += 1
            return None
        try:
            endpoint, prepared = self._target.prepare(row.value)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the row's
            self._bury(row, BadRow.of(error), row.value)
            return None
        body = dict(prepared)
        body |= body.pop("extra_body", None) or {}  # what the client's method has no argument for
        return Task(row.id, row.index, body, PATHS[endpoint], row.line, row.value)

    def _bury(self, row: Row | Unread, problem: BadRow, request: Any) -> None:
        if self._sink.buried_before(row.index):
            self.before += 1
            return
        error = Failure(problem.kind, str(problem), "ours_to_fix")
        id_ = row.id if isinstance(row, Row) else None
        letter = DeadLetter(id_, row.index, error, "read", row.line, finished_at=time.time(), request=request)
        self._sink.buried(letter)
