"""Rows that are lines: JSONL, and plain text with a prompt a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BadRow
from sluiceway.batch.sources.files import File
from sluiceway.batch.sources.naming import Naming
from sluiceway.batch.sources.row import Unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sluiceway.batch.sources.row import Row

SHOWN: Final = 1000  # characters kept of a row that cannot be read
_BOM: Final = b"\xef\xbb\xbf"


class JsonLines(File):
    """One JSON object a line, or one JSON string that is a prompt. Empty lines are no rows."""

    kind = "jsonl"

    def rows(self) -> Iterator[Row | Unread]:
        """Yield each line as a row; one that is no JSON, no UTF-8 or too long as unreadable."""
        index = 0
        naming = Naming(self.id_column)
        for number, line, length in self.lines():
            if number == 1:
                line = line.removeprefix(_BOM)  # noqa: PLW2901 - the same line, without its mark
            if not line.strip():
                continue
            try:
                yield naming.row(self._parsed(line, length), index, number, length)
            except BadRow as problem:
                yield Unread(index, number, problem, beginning(line), length)
            index += 1

    def _parsed(self, line: bytes, length: int) -> Any:
        check(length, self._longest)
        try:
            value = json.loads(line)
        except UnicodeDecodeError as error:
            raise _not_utf8(error) from None
        except RecursionError:
            raise BadRow("not JSON", "it is nested too deeply") from None
        except json.JSONDecodeError as error:
            raise BadRow("not JSON", f"{error.msg} at column {error.colno}") from None
        except ValueError as error:  # a number of more than 4,300 digits
            raise BadRow("not JSON", str(error)) from None
        if not isinstance(value, (dict, str)):
            raise BadRow("no object", f"a row is a JSON object or a string, not {type(value).__name__}")
        return value


class TextLines(File):
    """One prompt a line. Empty lines are no rows."""

    kind = "text"

    def columns(self) -> Sequence[str]:
        """Return the only one."""
        return ("prompt",)

    def rows(self) -> Iterator[Row | Unread]:
        """Yield each line as a row with the column `prompt`."""
        index = 0
        naming = Naming(self.id_column, self.columns())
        for number, line, length in self.lines():
            if number == 1:
                line = line.removeprefix(_BOM)  # noqa: PLW2901 - the same line, without its mark
            if not line.strip():
                continue
            try:
                check(length, self._longest)
                yield naming.row({"prompt": _text(line)}, index, number, length)
            except BadRow as problem:
                yield Unread(index, number, problem, beginning(line), length)
            index += 1


def _text(line: bytes) -> str:
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None


def _not_utf8(error: UnicodeDecodeError) -> BadRow:
    return BadRow("not UTF-8", f"byte {error.start + 1} of the line is no UTF-8")


def check(length: int, longest: int) -> None:
    """Refuse a row of more than *longest* bytes.

    Raises:
        BadRow: it is longer.
    """
    if length > longest:
        raise too_long(length, longest)


def too_long(length: int, longest: int) -> BadRow:
    """Return what is wrong with a row of *length* bytes, more than the *longest* may have."""
    return BadRow("too long", f"the row has {length:,} bytes, more than max_row={longest:,}")


def beginning(line: bytes) -> str:
    """Return the beginning of *line* for a dead letter; bytes that are no UTF-8 are escaped."""
    return line[: 4 * SHOWN].decode(errors="backslashreplace").rstrip("\r\n")[:SHOWN]
