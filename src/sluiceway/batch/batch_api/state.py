"""What is on disk of a batch that runs at the provider: its parts, and how far each is."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from sluiceway.batch.batch_api.part import Part
from sluiceway.batch.json_lines import line_of, objects_in
from sluiceway.batch.paths import PARTS_LOG, Paths

if TYPE_CHECKING:
    from pathlib import Path


class PartStore:
    """A folder beside the results: the input of each part, its rows, and a log of what became of it.

    A part's line in the log is on disk (``fsync``) before the next step is taken, so that a run that dies at any moment
    is taken up where it was. The folder is gone when everything is merged.

    Args:
        folder: made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: dict[int, Part] = {}
        self._log = folder / PARTS_LOG

    @staticmethod
    def beside(results: Path) -> PartStore:
        """Return the store of the results file: ``answers.jsonl`` has the folder ``answers.batch-api``."""
        return PartStore(Paths.of(results).parts)

    def load(self) -> bool:
        """Read what an earlier run left; return whether it had split the whole source.

        What it left before that was never sent anywhere: it is deleted.

        Raises:
            ValueError: a line of the log is unreadable.
        """
        if not self._log.exists():
            self.clear()
            return False
        self._cut_torn_line()
        for number, line in objects_in(self._log):
            try:
                part = Part(**line)
            except TypeError:
                raise ValueError(f"{self._log}, line {number}: it describes no part") from None
            self.parts[part.number] = part
        return True

    def begin(self, parts: list[Part]) -> None:
        """Write down that the source is split into *parts*, all at once."""
        temporary = self._log.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.writelines(line_of(part.to_dict()) for part in parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._log)
        self.parts = {part.number: part for part in parts}

    def put(self, part: Part) -> Part:
        """Write *part* down as it is now, and return it."""
        with self._log.open("ab") as file:
            file.write(line_of(part.to_dict()))
            file.flush()
            os.fsync(file.fileno())
        self.parts[part.number] = part
        return part

    def input_of(self, number: int) -> Path:
        """Return the file with the requests of a part, as they are uploaded."""
        return self.folder / f"part-{number:04d}.jsonl"

    def rows_of(self, number: int) -> Path:
        """Return the file with the rows of a part: ``[index, id, line, row]`` each."""
        return self.folder / f"part-{number:04d}.rows.jsonl"

    def downloaded(self, number: int, kind: str) -> Path:
        """Return where the output or the error file of a part is kept until it is merged."""
        return self.folder / f"part-{number:04d}.{kind}.jsonl"

    def drop(self, part: Part) -> None:
        """Delete the files of a part that is merged."""
        for path in self.folder.glob(f"part-{part.number:04d}.*"):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.parts = {}

    def _cut_torn_line(self) -> None:
        content = self._log.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.truncate(self._log, end)


def rows_in(path: Path) -> dict[int, int]:
    """Return where the line of each row begins in a file of rows, by the row's index."""
    offsets, at = {}, 0
    with path.open("rb") as file:
        for line in file:
            offsets[json.loads(line)[0]] = at
            at += len(line)
    return offsets
