"""Sends the lines of an actor to the desk, and lets no row count as done before it is written there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from sluiceway.backends.ray.desk import Ack, Ending, Line
from sluiceway.batch.ids import ANSWERED, DEAD
from sluiceway.batch.keeping import CannotWrite, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sluiceway.backends.ray.desk import Report
    from sluiceway.batch.dead_letters import DeadLetter
    from sluiceway.batch.rows import Id, ResultRow


class DeskLine(Protocol):
    """What an actor asks of the desk, wherever that is; see `Desk`."""

    async def begin(self, pack: int, rows: Sequence[tuple[Id | None, int]]) -> list[int]:
        """Begin a pack."""

    async def write(self, lines: Sequence[Line]) -> Ack:
        """Write lines."""

    async def report(self, actor: str, report: Report) -> Ending:
        """Tell how the actor is."""


class Poster:
    """Takes the place of a `Keeper` in an actor.

    One message is under way at a time; what is written meanwhile goes with the next, so that the busier the desk is,
    the more lines come with each message.

    Args:
        desk: where the lines go.
        settled: told the place of each row that is written.
        stopped: told of the end of the run.

    Attributes:
        answered, dead: rows written.
        on_block: what a runner is told by when a disk is full; the desk waits for it, and so do the rows.
    """

    def __init__(self, desk: DeskLine, settled: Callable[[int], None], stopped: Callable[[Ending], None]) -> None:
        self._desk = desk
        self._settled = settled
        self._stopped = stopped
        self._waiting: list[tuple[Line, int, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self.answered = 0
        self.dead = 0
        self.on_block: Callable[[bool], None] = lambda _: None

    async def answer(self, row: ResultRow) -> None:
        """Have *row* written to the results.

        Raises:
            CannotWrite: that failed for good.
        """
        await self._send(Line(row.id, ANSWERED, row.to_line(), row.latency_s), row.index)

    async def bury(self, letter: DeadLetter) -> None:
        """Have *letter* written to the dead letters.

        Raises:
            CannotWrite: that failed for good.
        """
        await self._send(Line(key_of(letter), DEAD, letter.to_line(), letter.latency_s), letter.index)

    async def _send(self, line: Line, index: int) -> None:
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._waiting.append((line, index, written))
        if self._task is None:
            self._task = loop.create_task(self._send_all())
        await written

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                sent, self._waiting = self._waiting, []
                ack = await self._ask([line for line, _, _ in sent])
                for line, index, written in sent:
                    self._acknowledged(ack, line, index, written)
                self._stopped(ack.ending)
        finally:
            self._task = None

    def _acknowledged(self, ack: Ack, line: Line, index: int, written: asyncio.Future[None]) -> None:
        """Count the row as done; also one that was given up while its line was under way, since it is paid for."""
        if ack.failed is None:
            self.answered += line.mark == ANSWERED
            self.dead += line.mark == DEAD
            self._settled(index)
        if not written.done():
            if ack.failed is None:
                written.set_result(None)
            else:
                written.set_exception(CannotWrite(ack.failed))

    async def _ask(self, lines: Sequence[Line]) -> Ack:
        try:
            return await self._desk.write(lines)
        except Exception as error:  # noqa: BLE001 - the desk is gone for good, whatever the error says
            return Ack(f"the desk that writes the results is gone: {error}", Ending())

    async def flush(self) -> None:
        """Return when everything was sent."""
        while self._task is not None:
            await asyncio.wait([self._task])
