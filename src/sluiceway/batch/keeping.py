"""Where rows end: in the results or among the dead letters, on disk before they count."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final, Self

from sluiceway.batch.ids import ANSWERED, DEAD, of_row
from sluiceway.batch.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sluiceway.batch.dead_letters import DeadLetter
    from sluiceway.batch.durability import Durability
    from sluiceway.batch.ids import KnownIds
    from sluiceway.batch.paths import Paths
    from sluiceway.batch.rows import Id, ResultRow
    from sluiceway.batch.verdicts import Stop

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_AGAIN: Final = 1.0  # seconds between two looks for room


class CannotWrite(Exception):
    """A row could not be written where it belongs; the text says where it is instead, or that it is lost."""


def key_of(letter: DeadLetter) -> Id | None:
    """Return what a dead letter is known by: its row's id, or the place of a bad row, whose id may be another's."""
    return letter.id if letter.stage == "call" else of_row(letter.index)


class Keeper:
    """The two files that a run appends to.

    A disk that is full is waited for: the row stays in memory, and is written when there is room. What cannot be
    written at all goes to a file among the temporary ones, since it is paid for.

    Args:
        paths: of the batch.
        ids: marked with what becomes of each row.
        durability: see there.
        disk_patience: seconds that a full disk is waited for.
        dead: the file of dead letters, where that is another than usual.
        on_block: told True when a row waits for the disk, and False when none does any more.

    Attributes:
        answered, dead: rows written by this run.
        repaired: bytes of torn lines that were cut off at the start.

    Raises:
        OSError: a file cannot be opened or written.
    """

    def __init__(
        self,
        paths: Paths,
        ids: KnownIds,
        durability: Durability,
        disk_patience: float,
        dead: Path | None = None,
        on_block: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._ids = ids
        self._patience = disk_patience
        self._results = Journal(paths.results, durability)
        try:
            self._letters = Journal(dead or paths.dead, durability)
        except BaseException:
            self._results.abandon()
            raise
        self.repaired = self._results.repaired + self._letters.repaired
        self.answered = 0
        self.dead = 0
        self.on_block = on_block
        self._blocked = 0
        self._rescued: dict[Path, Path] = {}
        self._lost = False

    async def answer(self, row: ResultRow) -> None:
        """Write *row* to the results.

        Raises:
            CannotWrite: that failed for good.
        """
        await self.keep(row.id, row.to_line(), ANSWERED)

    async def bury(self, letter: DeadLetter) -> None:
        """Write *letter* to the dead letters.

        Raises:
            CannotWrite: that failed for good.
        """
        await self.keep(key_of(letter), letter.to_line(), DEAD)

    async def keep(self, key: Id | None, line: bytes, mark: int) -> None:
        """Write the *line* of a result (*mark* is `ANSWERED`) or of a dead letter (`DEAD`) that is known by *key*.

        Raises:
            CannotWrite: that failed for good.
        """
        await self._write(self._results if mark == ANSWERED else self._letters, line)
        self._ids.mark(key, mark)
        if mark == ANSWERED:
            self.answered += 1
        else:
            self.dead += 1

    async def _write(self, journal: Journal, line: bytes) -> None:
        try:
            journal.append(line)
        except OSError as error:
            await self._wait_for_room(journal, line, error)
        try:
            await journal.settled()
        except OSError as error:
            raise CannotWrite(f"{journal.path} cannot be forced to the disk: {error.strerror or error}") from error

    async def _wait_for_room(self, journal: Journal, line: bytes, error: OSError) -> None:
        """Try again until *line* is written, or until it is clear that it will not be."""
        until = asyncio.get_running_loop().time() + self._patience
        self._block(1)
        try:
            while error.errno in _FULL and asyncio.get_running_loop().time() < until:
                await asyncio.sleep(_AGAIN)
                try:
                    journal.append(line)
                except OSError as again:
                    error = again
                else:
                    return
        except asyncio.CancelledError:
            self._rescue(journal.path, line)
            raise
        finally:
            self._block(-1)
        self._rescue(journal.path, line)
        raise CannotWrite(f"{journal.path} cannot be written: {error.strerror or error}; {self.elsewhere}") from error

    def _block(self, change: int) -> None:
        before, self._blocked = self._blocked, self._blocked + change
        if bool(before) != bool(self._blocked):
            self.on_block(bool(self._blocked))

    def _rescue(self, meant: Path, line: bytes) -> None:
        """Write *line*, which was meant for another file, among the temporary ones: into one of this batch alone."""
        try:
            if meant not in self._rescued:
                descriptor, name = tempfile.mkstemp(".jsonl", f"sluiceway-rescued-{meant.stem}-")
                os.close(descriptor)
                self._rescued[meant] = Path(name)
            with self._rescued[meant].open("ab") as file:
                file.write(line)
        except OSError:
            self._lost = True

    @property
    def elsewhere(self) -> str:
        """Where rows are that are paid for and could not be written, and how to bring them back; empty without any."""
        told = [
            f"rows that are paid for are in {path}: append them (cat {quote(str(path))} >> {quote(str(meant))}) before "
            "the next run, which asks them again otherwise"
            for meant, path in self._rescued.items()
        ]
        return "; ".join([*told, *(["rows that are paid for are lost"] if self._lost else [])])

    def told(self, stop: Stop | None) -> Stop | None:
        """Return *stop* with `elsewhere`, unless it says that already."""
        if stop is None or self.elsewhere in stop.message:
            return stop
        return replace(stop, message=f"{stop.message}; {self.elsewhere}")

    async def close(self) -> None:
        """Force both files to the disk and close them.

        Raises:
            OSError: that failed.
        """
        try:
            await self._results.close()
        finally:
            await self._letters.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.elsewhere:
            error.add_note(self.elsewhere)
        await self.close()
