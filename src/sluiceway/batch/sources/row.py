"""One row of a source, read or unreadable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluiceway.batch.errors import BadRow
from sluiceway.batch.rows import is_id

if TYPE_CHECKING:
    from sluiceway.batch.rows import Id


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the source has it.

    Attributes:
        id: its own, else its `index`.
        index: its place in the source, from 0.
        line: its line in the file, from 1; None where there are no lines.
        value: its columns by name; or what an iterable gave.
        size: bytes of it in the file, about; 0 if unknown.
    """

    id: Id
    index: int
    line: int | None
    value: Any = field(repr=False)
    size: int = 0


@dataclass(frozen=True, slots=True)
class Unread:
    """A row that cannot be read, and why; `text` is the beginning of it."""

    index: int
    line: int | None
    problem: BadRow
    text: str | None = field(default=None, repr=False)
    size: int = 0


def row_of(value: Any, index: int, line: int | None, id_column: str, size: int = 0) -> Row | Unread:
    """Return *value* as a row; unreadable if its id can be none.

    The id is the column *id_column*, else `custom_id`, as requests for OpenAI's Batch API have it, else the index.
    """
    id_: Any = None
    if isinstance(value, Mapping):
        id_ = value.get(id_column)
        if id_ is None:
            id_ = value.get("custom_id")
    if id_ is None or id_ == "":
        id_ = index
    elif not is_id(id_):
        problem = BadRow("bad id", f"the id must be a str or an int, not a {type(id_).__name__}")
        return Unread(index, line, problem, size=size)
    return Row(id_, index, line, value, size)
