"""From what the user calls a source to a `Source`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sluiceway.batch.errors import BatchError
from sluiceway.batch.sources.delimited import Delimited
from sluiceway.batch.sources.items import Items
from sluiceway.batch.sources.lines import JsonLines, TextLines
from sluiceway.batch.sources.parquet import Parquet
from sluiceway.batch.sources.source import Source

if TYPE_CHECKING:
    from sluiceway.batch.sources.files import File

MAX_ROW: Final = 64 << 20
"""Bytes of the longest row that is read, unless told otherwise."""

FORMATS: Final[dict[str, type[File]]] = {
    "jsonl": JsonLines,
    "csv": Delimited,
    "parquet": Parquet,
    "text": TextLines,
}
_BY_SUFFIX: Final = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet", ".txt": "text"}

AnySource: TypeAlias = "Source | str | os.PathLike[str] | Iterable[Any] | AsyncIterable[Any]"


def open_source(
    source: AnySource, *, format: str | None = None, id_column: str = "id", max_row: int = MAX_ROW
) -> Source:
    """Return the rows of *source*.

    Args:
        source: the path of a file; or an iterable or async iterable of prompts or of mappings with columns.
        format: `"jsonl"`, `"csv"`, `"parquet"` or `"text"`; None to tell it from the name: `.csv`, `.tsv`, `.parquet`,
            `.txt`, and anything else is JSONL.
        id_column: which column is a row's id.
        max_row: bytes of the longest row of a file that is read.

    Raises:
        TypeError: *source* is none of these.
        ValueError: the format is unknown.
        BatchError: the file cannot be opened, is no text of rows, or has no such column of ids.
        MissingExtra: a Parquet file, and pyarrow is not installed.
    """
    if isinstance(source, Source):
        return source
    if format is not None and format not in FORMATS:
        raise ValueError(f"format={format!r} must be one of {', '.join(FORMATS)}")
    if isinstance(max_row, bool) or not isinstance(max_row, int) or max_row < 1:
        raise ValueError(f"max_row={max_row!r} must be a number of bytes, at least 1")
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        kind = format or _BY_SUFFIX.get(path.suffix.lower(), "jsonl")
        try:
            opened = FORMATS[kind](path, id_column, max_row)
        except OSError as error:
            raise BatchError(f"the source {path} cannot be read: {error.strerror or error}") from error
        opened.require_rows()
        opened.require_id_column()
        return opened
    if isinstance(source, bytes) or not isinstance(source, (Iterable, AsyncIterable)):
        raise TypeError(f"source must be a path, an iterable or an async iterable, not one {type(source).__name__}")
    return Items(source, id_column)
