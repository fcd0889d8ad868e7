"""What a row is known by: an id of its own, or its place in a source whose rows have none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BadRow, BatchError
from sluiceway.batch.rows import is_id
from sluiceway.batch.sources.row import Row, Unread

if TYPE_CHECKING:
    from collections.abc import Sequence

ID_COLUMN: Final = "id"
"""The usual column of ids; requests for OpenAI's Batch API have `custom_id` instead."""


class Naming:
    """Makes rows of values, and decides once whether the rows of a source have ids.

    A place counts as an id only where no row has one: else the answer to one row could stand under another's id.

    Args:
        column: which is a row's id. Unless it is the usual one, every row must have it.
        columns: what every row has; None to judge by the first row.
    """

    def __init__(self, column: str, columns: Sequence[str] | None = None) -> None:
        self._names = names_of(column)
        self._given: bool | None = None
        if column != ID_COLUMN:
            self._given = True
        elif columns is not None:
            self._given = any(name in columns for name in self._names)

    def row(self, value: Any, index: int, line: int | None, size: int = 0) -> Row | Unread:
        """Return *value* as a row; unreadable if its id can be none, or it alone has or lacks one."""
        try:
            id_ = own_id(value, self._names)
        except Exception as error:  # noqa: BLE001 - what an iterable gives may raise whatever it wants
            return Unread(index, line, BadRow.of(error), size=size)
        if self._given is None:
            self._given = id_ is not None
        problem = self._problem(id_)
        if problem is not None:
            return Unread(index, line, problem, size=size)
        return Row(index if id_ is None else id_, index, line, value, size)

    def _problem(self, id_: Any) -> BadRow | None:
        if id_ is None:
            return BadRow("no id", f"{_no(self._names)}, which other rows have") if self._given else None
        if not self._given:
            return BadRow("mixed ids", "the row has an id, and the first row of the source has none: give one to all")
        return None if is_id(id_) else BadRow("bad id", f"the id must be a str or an int, not a {type(id_).__name__}")


def names_of(column: str) -> tuple[str, ...]:
    """Return the columns that may hold a row's id, the first first."""
    return (column, "custom_id") if column == ID_COLUMN else (column,)


def own_id(value: Any, names: Sequence[str]) -> Any:
    """Return what *value* has in the first of the columns *names* that is not empty; None if all are."""
    if not isinstance(value, Mapping):
        return None
    found = (value.get(name) for name in names)
    return next((each for each in found if each is not None and each != ""), None)


def require_column(source: str, column: str, columns: Sequence[str]) -> None:
    """Refuse a column of ids that no row has: each row would be known by its place, and paid for again after that.

    Raises:
        BatchError: *column* is not the usual one, and not among *columns*.
    """
    if column != ID_COLUMN and column not in columns:
        has = ", ".join(map(repr, columns[:10])) or "none"
        raise BatchError(f"id_column={column!r} must be a column of {source}, which has {has}")


def _no(names: Sequence[str]) -> str:
    return f"the row has no {' or '.join(map(repr, names))}"
