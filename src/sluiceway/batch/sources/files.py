"""What all files of rows have in common: opened once, fingerprinted, read in a thread, a little at a time."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from abc import abstractmethod
from typing import IO, TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BatchError
from sluiceway.batch.sources.beginnings import LENGTH, require_rows
from sluiceway.batch.sources.counting import RowCount
from sluiceway.batch.sources.naming import ID_COLUMN, require_column
from sluiceway.batch.sources.source import Source, SourceFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
    from pathlib import Path

    from sluiceway.batch.sources.row import Row, Unread
    from sluiceway.batch.sources.source import Chunk

_ROWS: Final = 256
_BYTES: Final = 1 << 20
_BLOCK: Final = 1 << 20


class File(Source):
    """A file of rows. It is held open from the start, so that one which is deleted meanwhile is read to its end.

    Rows that are appended while it is read are for the next run.

    Args:
        path: what is read. A pipe can be read, and has no fingerprint.
        id_column: which column is a row's id.
        longest: bytes of the longest row that is read.

    Raises:
        OSError: it cannot be opened.
    """

    kind: str
    grows = True
    """Whether rows may be appended to it."""

    def __init__(self, path: Path, id_column: str, longest: int) -> None:
        self.name = str(path)
        self.id_column: str = id_column
        self._longest = longest
        self.file: IO[bytes] = path.open("rb")
        status = os.fstat(self.file.fileno())
        self._size = status.st_size if stat.S_ISREG(status.st_mode) else None
        self._read = 0
        self._hash = ""
        self._prefix = ""

    # ------------------------------------------------------------------ which file it is

    def fingerprint(self, before: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Return size and SHA-256; also of the beginning that an earlier run read."""
        if self._size is None:
            return {"kind": self.kind, "path": self.name}
        known = (before or {}).get("bytes")
        hashed = hashlib.sha256()
        count, position = RowCount(), 0
        while position < self._size:
            ends = [end for end in (self._size, known, position + _BLOCK) if end is not None and end > position]
            block = os.pread(self.file.fileno(), min(ends) - position, position)
            if not block:
                raise OSError(f"{self.name} ends at {position:,} bytes and not at {self._size:,}: it is being changed")
            hashed.update(block)
            count.add(block)
            position += len(block)
            if position == known and (block.endswith(b"\n") or self._at(position) in (b"\n", b"\r", b"")):
                self._prefix = hashed.hexdigest()
        self._hash = hashed.hexdigest()
        self.counted(count.rows)
        return {"kind": self.kind, "path": self.name, "bytes": self._size, "sha256": self._hash}

    def require_rows(self) -> None:
        """Refuse a file that holds something else; it is closed then. Of a pipe nothing is known before it is read.

        Raises:
            BatchError: it is packed, or no UTF-8, or one JSON array.
        """
        if self._size is None:
            return
        try:
            require_rows(self.name, os.pread(self.file.fileno(), LENGTH, 0), self.kind)
        except BatchError:
            self.close()
            raise

    def columns(self) -> Sequence[str] | None:
        """Return which columns every row has, if the file says so at its beginning; None if it does not."""
        return None

    def require_id_column(self) -> None:
        """Refuse a column of ids that the file cannot have; it is closed then.

        Raises:
            BatchError: no row has it.
        """
        if self.id_column == ID_COLUMN or self._size is None:
            return
        columns = self.columns()
        if columns is not None:
            try:
                require_column(self.name, self.id_column, columns)
            except BatchError:
                self.close()
                raise

    def counted(self, lines: int) -> None:
        """Take note of how many lines of the file are not empty."""
        self.total = lines

    def difference(self, before: Mapping[str, Any]) -> str | None:
        """Return a sentence if the bytes that were read before are not the same; what was appended may be."""
        if before.get("kind") != self.kind:
            return f"the source was of the kind {before.get('kind')!r} and is {self.kind!r}"
        if before.get("sha256") in (None, self._hash) or (self.grows and before["sha256"] == self._prefix):
            return None
        return f"the source {self.name} is not the file that was read before, or was changed since"

    def _at(self, position: int) -> bytes:
        return os.pread(self.file.fileno(), 1, position)

    # ------------------------------------------------------------------ reading

    @abstractmethod
    def rows(self) -> Iterator[Row | Unread]:
        """Yield all rows; runs in a thread."""

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield up to 256 rows, or about a megabyte, at a time."""
        rows = self.rows()
        while True:
            chunk, error = await asyncio.to_thread(_some, rows)
            if chunk:
                yield chunk
            if error is not None:
                raise SourceFailed(f"{self.name} cannot be read on: {error}") from error
            if not chunk:
                break
        if self._size is not None and self._read < self._size:
            raise SourceFailed(
                f"{self.name} ended at {self._read:,} bytes and had {self._size:,} at the start: it was changed"
            )

    def lines(self) -> Iterator[tuple[int, bytes, int]]:
        """Yield the number, the bytes and the length of each line that was there at the start.

        Of a line that is longer than the longest row only its beginning is held, though all of it is counted.
        """
        readline = self.file.readline
        number = 0
        while self._size is None or self._read < self._size:
            line = readline(self._longest + 1)
            if not line:
                return
            number += 1
            length = len(line)
            rest = line if length > self._longest else b""
            while rest and not rest.endswith(b"\n"):  # longer than the longest: pass over the rest
                rest = readline(_BLOCK)
                length += len(rest)
                self.passed_over(rest)
            self._read += length
            yield number, line, length

    def passed_over(self, rest: bytes) -> None:
        """Take note of a part of a line that is longer than the longest row, and is not held."""

    def went(self, share: float) -> None:
        """Take note that *share* of the file was read, by a format that has no lines."""
        if self._size is not None:
            self._read = int(share * self._size)

    @property
    def share(self) -> float | None:
        """How many of its bytes were read."""
        return None if not self._size else min(1.0, self._read / self._size)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _some(rows: Iterator[Row | Unread]) -> tuple[list[Row | Unread], Exception | None]:
    """Return some rows, and the error with which the reading ended behind them, if it did."""
    chunk: list[Row | Unread] = []
    size = 0
    try:
        for row in rows:
            chunk.append(row)
            size += row.size
            if len(chunk) >= _ROWS or size >= _BYTES:
                break
    except Exception as error:  # noqa: BLE001 - told when the rows before it are through
        return chunk, error
    return chunk, None
