"""Rows of CSV and TSV files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluiceway.batch.errors import BadRow, BatchError
from sluiceway.batch.sources.files import File
from sluiceway.batch.sources.lines import SHOWN
from sluiceway.batch.sources.naming import Naming
from sluiceway.batch.sources.row import Unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sluiceway.batch.sources.row import Row


class Delimited(File):
    """CSV with a header; every column is text. A quoted field may span lines.

    Reading raises Python's own limit of a field's length, which is one for the whole process, to the longest row.
    """

    kind = "csv"

    def __init__(self, path: Path, id_column: str, longest: int) -> None:
        super().__init__(path, id_column, longest)
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        self._pending = 0
        self._text = ""

    def columns(self) -> Sequence[str] | None:
        """Return those of its header; None if that cannot be read, which the reading will tell."""
        with Path(self.name).open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            lines = iter(lambda: file.readline(self._longest), "")
            try:
                return next(csv.reader(lines, delimiter=self._delimiter), ())
            except csv.Error:
                return None

    def counted(self, lines: int) -> None:
        """Know no total: a quoted field may span lines."""

    def rows(self) -> Iterator[Row | Unread]:
        """Yield each record as a row."""
        csv.field_size_limit(max(csv.field_size_limit(), self._longest))
        records = csv.reader(self._texts(), delimiter=self._delimiter)
        names = next(records, None)
        if names is None:
            return
        if len(set(names)) < len(names):
            raise BatchError(f"{self.name}: two columns of the header have one name")
        naming = Naming(self.id_column, names)
        for index, (line, cells) in enumerate(_records(records)):
            size, self._pending = self._pending, 0
            try:
                _check(names, cells)
                yield naming.row(dict(zip(names, cells, strict=True)), index, line, size)
            except BadRow as problem:
                text = (self._text if isinstance(cells, csv.Error) else self._delimiter.join(cells))[:SHOWN]
                shown = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
                yield Unread(index, line, problem, shown, size)

    def _texts(self) -> Iterator[str]:
        for number, line, length in self.lines():
            self._pending += length
            if self._pending > self._longest:
                raise BatchError(f"a row at line {number:,} is longer than max_row={self._longest:,}: an open quote?")
            self._text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="surrogateescape")
            yield self._text


def _records(records: Any) -> Iterator[tuple[int, Any]]:
    """Yield the line where each record begins, and its cells or why it is none; empty lines are no records."""
    while True:
        line = records.line_num + 1
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:  # as of a bare carriage return; the reader goes on with the next line
            yield line, error
        else:
            if cells:
                yield line, cells


def _check(names: list[str], cells: Any) -> None:
    if isinstance(cells, csv.Error):
        raise BadRow("not CSV", str(cells).partition(" - ")[0])
    if len(cells) != len(names):
        raise BadRow("wrong columns", f"the row has {len(cells)} columns, the header {len(names)}")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:  # what was no UTF-8 was read as halves of surrogate pairs
        raise BadRow("not UTF-8", "a column is no UTF-8") from None
