"""Rows from a list, a generator, an async generator: whatever can be iterated over."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any

from sluiceway.batch.sources.naming import Naming
from sluiceway.batch.sources.source import Source, SourceFailed

if TYPE_CHECKING:
    from sluiceway.batch.sources.source import Chunk


class Items(Source):
    """The items of an iterable or async iterable, each a row: mappings by their columns, anything else as it is.

    It is iterated over on the event loop, one item at a time; an async generator is closed at the end. Nothing tells
    one iterable from another, so a resume relies on ids, or on the items coming in the same order.
    """

    def __init__(self, items: Iterable[Any] | AsyncIterable[Any], id_column: str) -> None:
        self._items = items
        self.id_column: str = id_column
        self.name = type(items).__name__
        self.total = len(items) if isinstance(items, Sized) else None

    def fingerprint(self, before: Mapping[str, Any] | None = None) -> Mapping[str, Any]:  # noqa: ARG002 - see `Source`
        """Return what little there is."""
        return {"kind": "items"}

    def difference(self, before: Mapping[str, Any]) -> str | None:
        """Return a sentence if it was a file before."""
        return None if before.get("kind") == "items" else "the source was a file and is an iterable"

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the items one by one, so that none is taken before it is wanted."""
        index = 0
        items, naming = self._items, Naming(self.id_column)
        try:
            if isinstance(items, AsyncIterable):
                async for item in items:
                    yield (naming.row(item, index, None),)
                    index += 1
            else:
                for item in items:
                    yield (naming.row(item, index, None),)
                    index += 1
        except Exception as error:
            raise SourceFailed(f"the source failed after {index:,} rows: {type(error).__name__}: {error}") from error
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()
