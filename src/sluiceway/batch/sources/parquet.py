"""Rows of Parquet files."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from sluiceway.batch.errors import BadRow
from sluiceway.batch.sources.files import File
from sluiceway.batch.sources.naming import Naming
from sluiceway.batch.sources.row import Unread
from sluiceway.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sluiceway.batch.sources.row import Row

_BATCH = 256


class Parquet(File):
    """Every column by its name. One row group is in memory at a time, so write groups of moderate size.

    Raises:
        MissingExtra: pyarrow is not installed.
    """

    kind = "parquet"
    grows = False

    def __init__(self, path: Path, id_column: str, longest: int) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingExtra(f"reading {path}", "parquet")
        super().__init__(path, id_column, longest)

    def columns(self) -> Sequence[str] | None:
        """Return those of its schema; None of a file that is no Parquet, which the reading will tell."""
        import pyarrow.parquet  # noqa: PLC0415 - an extra

        try:
            return list(pyarrow.parquet.read_schema(self.file).names)
        except pyarrow.ArrowInvalid:
            return None

    def counted(self, lines: int) -> None:
        """Know no total from lines: a Parquet file has none."""

    def rows(self) -> Iterator[Row | Unread]:
        """Yield each row of each group."""
        import pyarrow.parquet  # noqa: PLC0415 - an extra

        table = pyarrow.parquet.ParquetFile(self.file)
        self.total = table.metadata.num_rows
        naming = Naming(self.id_column, table.schema_arrow.names)
        index = 0
        for batch in table.iter_batches(batch_size=_BATCH):
            size = batch.nbytes // max(1, batch.num_rows)
            for value in _values(batch):
                bad = isinstance(value, BadRow)
                yield Unread(index, None, value, size=size) if bad else naming.row(value, index, None, size)
                index += 1
            self.went(index / self.total)
        self.went(1.0)


def _values(batch: Any) -> list[Any]:
    """Return the rows of *batch*; in the place of one that Python has no values for, what is wrong with it."""
    try:
        values: list[Any] = batch.to_pylist()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is one row's
        if batch.num_rows == 1:
            return [BadRow.of(error)]
        return [value for i in range(batch.num_rows) for value in _values(batch.slice(i, 1))]
    return values
