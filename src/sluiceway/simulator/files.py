"""Files that clients uploaded, and those that batches wrote: kept in memory, without an end."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file.

    Attributes:
        id: what requests name it by.
        filename: as the client called it.
        purpose: ``"batch"`` for input, ``"batch_output"`` for what batches write.
        created: when, in seconds since 1970.
        content: all of it.
    """

    id: str
    filename: str
    purpose: str
    created: int
    content: bytes = field(repr=False)


class Files:
    """The files of one provider, by id."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}
        self._numbers = itertools.count(1)

    def add(self, content: bytes, filename: str, purpose: str, created: int) -> StoredFile:
        """Keep a file under a new id."""
        stored = StoredFile(f"file-{next(self._numbers):08d}", filename, purpose, created, content)
        self._files[stored.id] = stored
        return stored

    def find(self, identifier: str) -> StoredFile | None:
        """Return the file, or None if there is none of that id."""
        return self._files.get(identifier)

    def remove(self, identifier: str) -> bool:
        """Forget the file; return whether it was there."""
        return self._files.pop(identifier, None) is not None

    def newest_first(self) -> Iterator[StoredFile]:
        """Yield all files, the last one first."""
        return reversed(self._files.values())
