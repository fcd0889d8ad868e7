"""Rows of CSV and TSV files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BadRow, BatchError
from sluiceway.batch.sources.files import File
from sluiceway.batch.sources.lines import SHOWN, too_long
from sluiceway.batch.sources.naming import Naming
from sluiceway.batch.sources.row import Unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sluiceway.batch.sources.row import Row


_IN_ITS_PLACE: Final = "too long\n"  # a record for the reader, so that it counts the line


class Delimited(File):
    """CSV with a header; every column is text. A quoted field may span lines.

    Reading raises Python's own limit of a field's length, which is one for the whole process, to the longest row.
    """

    kind = "csv"

    def __init__(self, path: Path, id_column: str, longest: int) -> None:
        super().__init__(path, id_column, longest)
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        self._pending = 0
        self._quotes = 0  # of the line that is read
        self._headed = False
        self._too_long: BadRow | None = None
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
        self._headed = True
        naming = Naming(self.id_column, names)
        for index, (line, cells) in enumerate(self._records(records)):
            size = self._pending
            try:
                self._check(names, cells)
                yield naming.row(dict(zip(names, cells, strict=True)), index, line, size)
            except BadRow as problem:
                as_read = isinstance(cells, csv.Error) or problem is self._too_long
                text = (self._text if as_read else self._delimiter.join(cells))[:SHOWN]
                shown = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
                yield Unread(index, line, problem, shown, size)

    def _texts(self) -> Iterator[str]:
        for number, line, length in self.lines():
            begins = not self._pending
            quotes, self._quotes = self._quotes + line.count(b'"'), 0
            self._pending += length
            self._text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="surrogateescape")
            if self._pending <= self._longest:
                yield self._text
            elif begins and self._headed and quotes % 2 == 0:
                self._too_long = too_long(length, self._longest)
                yield _IN_ITS_PLACE
            else:
                raise BatchError(f"a row at line {number:,} is longer than max_row={self._longest:,}: an open quote?")

    def passed_over(self, rest: bytes) -> None:
        """Count the quotes: only where none is open does the row end with its line."""
        self._quotes += rest.count(b'"')

    def _records(self, records: Any) -> Iterator[tuple[int, Any]]:
        """Yield the line where each record begins, and its cells or why it is none; empty lines are no records."""
        while True:
            line = records.line_num + 1
            self._pending, self._too_long = 0, None
            try:
                cells = next(records)
            except StopIteration:
                return
            except csv.Error as error:  # as of a bare carriage return; the reader goes on with the next line
                yield line, error
            else:
                if cells:
                    yield line, cells

    def _check(self, names: list[str], cells: Any) -> None:
        if self._too_long is not None:
            raise self._too_long
        if isinstance(cells, csv.Error):
            raise BadRow("not CSV", str(cells).partition(" - ")[0])
        if len(cells) != len(names):
            raise BadRow("wrong columns", f"the row has {len(cells)} columns, the header {len(names)}")
        try:
            "".join(cells).encode()
        except UnicodeEncodeError:  # what was no UTF-8 was read as halves of surrogate pairs
            raise BadRow("not UTF-8", "a column is no UTF-8") from None
