"""What every source of rows is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from sluiceway.batch.sources.row import Row, Unread

Chunk: TypeAlias = "Sequence[Row | Unread]"


class Source(ABC):
    """Rows, read once and only as they are asked for.

    Attributes:
        name: for people.
        total: how many rows there are, about; None if that is known only at the end.
        id_column: which column is a row's id; None if the source itself sees to that.
    """

    name: str
    total: int | None = None
    id_column: str | None = None

    @abstractmethod
    def fingerprint(self, before: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Return what tells this source from another; it reads all of a file, and blocks for it.

        Args:
            before: the fingerprint of an earlier run, if there was one; `difference` is then ready to compare with it.

        Raises:
            OSError: it cannot be read.
        """

    @abstractmethod
    def difference(self, before: Mapping[str, Any]) -> str | None:
        """Return how it is not what `fingerprint` said of it *before*, in a sentence; None if its rows are the same.

        More rows at the end are no difference.
        """

    @abstractmethod
    def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the rows, some at a time, in order.

        Raises:
            SourceFailed: it cannot be read on.
        """

    @property
    def share(self) -> float | None:
        """How much of it was read, from 0 to 1; None if nobody knows."""
        return None

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Let go of what it holds open."""


class SourceFailed(Exception):
    """A source could not be read on; its `__cause__` says why."""
