"""Rows on their way to an actor: some at a time, as bytes that no table format can change."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.errors import BadRow
from sluiceway.batch.sources.naming import Naming, names_of, own_id
from sluiceway.batch.sources.row import Row, Unread
from sluiceway.batch.sources.source import SourceFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sluiceway.batch.sources.source import Source

_BITS: Final = 53  # of a hash that stands for a row's place: as many as JSON readers keep exactly


@dataclass(frozen=True, slots=True)
class Pack:
    """Some rows of a source: what one actor is given at a time.

    Attributes:
        key: the same whenever the same rows are packed again, as they are when a node dies that held them.
        rows: readable or not.
        failed: why the source could not be read on behind them; None if it could.
    """

    key: int
    rows: tuple[Row | Unread, ...] = field(repr=False)
    failed: str | None = None

    def to_bytes(self) -> bytes:
        """Return it as `from_bytes` takes it."""
        return pickle.dumps((self.key, self.rows, self.failed))

    @classmethod
    def from_bytes(cls, data: bytes) -> Pack:
        """Return the pack that `to_bytes` wrote, within the same run."""
        return cls(*pickle.loads(data))  # noqa: S301 - written by our own read task, never stored


def packs_of(source: Source, size: int) -> Iterator[Pack]:
    """Yield the rows of *source* in packs of *size*; one that cannot be read on ends with a pack that says so.

    It reads in this thread, which runs no event loop, and only as it is asked.
    """
    waiting: list[Row | Unread] = []
    first = 0
    failed = None
    with asyncio.Runner() as runner:
        chunks = source.chunks()
        try:
            while (chunk := runner.run(_next(chunks))) is not None:
                waiting += chunk
                while len(waiting) >= size:
                    yield Pack(first, tuple(waiting[:size]))
                    first += size
                    del waiting[:size]
        except SourceFailed as error:
            failed = str(error)
        finally:
            runner.run(chunks.aclose())
    if waiting or failed:
        yield Pack(first, tuple(waiting), failed)


async def _next(chunks: Any) -> Any:
    return await anext(chunks, None)


def pack_of(values: Sequence[Mapping[str, Any]], id_column: str) -> Pack:
    """Return the rows of a table that nobody has counted: each must have an id, whose hash stands for its place."""
    names = names_of(id_column)
    rows = tuple(_row(value, names) for value in values)
    return Pack(_hash("\0".join(str(row.index) for row in rows)), rows)


def _row(value: Mapping[str, Any], names: Sequence[str]) -> Row | Unread:
    id_ = own_id(value, names)
    if id_ is None:
        problem = BadRow("no id", f"a row of a dataset needs an id in its column {names[0]!r}: it has no number")
        return Unread(_hash(repr(value)), None, problem, repr(value)[:1000])
    return Naming(names[0], names).row(value, _hash(str(id_)), None)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()) >> (64 - _BITS)
