"""Dead letters, tried again."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from sluiceway.batch.dead_letters import read_dead_letters, rewrite
from sluiceway.batch.errors import BatchError
from sluiceway.batch.ids import ANSWERED, DEAD, SEEN, KnownIds
from sluiceway.batch.sources.row import Row
from sluiceway.batch.sources.source import Source, SourceFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping
    from pathlib import Path

    from sluiceway.batch.dead_letters import DeadLetter
    from sluiceway.batch.paths import Paths
    from sluiceway.batch.rows import Id
    from sluiceway.batch.sources.source import Chunk


class DeadRows(Source):
    """The rows among dead letters that can be asked again: not those that could not be read or kept.

    Raises:
        BatchError: there is no such file, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        try:
            self.total = sum(map(_askable, read_dead_letters(path)))
        except FileNotFoundError:
            raise BatchError(f"there are no dead letters: {path} is not there") from None
        except (OSError, ValueError) as error:
            raise BatchError(f"the dead letters cannot be read: {error}") from error

    def fingerprint(self, before: Mapping[str, Any] | None = None) -> Mapping[str, Any]:  # noqa: ARG002 - see `Source`
        """Return what little there is: a run over dead letters is compared with nothing."""
        return {"kind": "dead letters"}

    def difference(self, before: Mapping[str, Any]) -> str | None:  # noqa: ARG002 - see `Source`
        """Return None: other settings are why one tries again."""
        return None

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield one row after another, as it was in the source."""
        given = KnownIds()
        try:
            for letter in read_dead_letters(self._path):
                if _askable(letter) and letter.id is not None and not given.mark(letter.id, SEEN):
                    yield (Row(letter.id, letter.index, letter.line, letter.request),)
        except (OSError, ValueError) as error:
            raise SourceFailed(f"{self.name} cannot be read on: {error}") from error


def _askable(letter: DeadLetter) -> bool:
    return letter.stage == "call" and letter.request is not None


def second_letters(paths: Paths) -> Path:
    """Return where the rows go that fail again, until the end of the run."""
    return paths.dead.with_name(f"{paths.dead.stem}.again.jsonl")


def merge(paths: Paths, ids: KnownIds) -> int:
    """Leave among the dead letters only what has no answer, each with its latest error; return how many these are.

    It happens in one step: a death before it leaves all letters as they were.

    Args:
        paths: of the batch.
        ids: what the run over the dead letters knows: which rows have an answer.

    Raises:
        OSError: a file cannot be written.
    """
    again = second_letters(paths)
    failed = KnownIds()
    for letter in read_dead_letters(again):
        failed.mark(letter.id, DEAD)
    # Stands for its row in place of the one before, to be tried again, though nothing could be made of it this time.
    latest = (replace(letter, stage="call").to_line() for letter in read_dead_letters(again))
    left = rewrite(paths.dead, chain(_left(paths.dead, ids, failed), latest))
    again.unlink()
    return left


def _left(dead: Path, ids: KnownIds, failed: KnownIds) -> Iterator[bytes]:
    """Yield the lines of letters that have neither an answer nor, among *failed*, a later one of their row."""
    over: set[tuple[Id | None, int]] = set()
    for letter in read_dead_letters(dead):
        row = (letter.id, letter.index)
        if letter.stage == "call" and (ids.marks(letter.id) & ANSWERED or failed.marks(letter.id)):
            over.add(row)
        elif row not in over:
            yield letter.to_line()
