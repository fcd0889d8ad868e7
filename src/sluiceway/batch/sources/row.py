"""One row of a source, read or unreadable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluiceway.batch.errors import BadRow
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
