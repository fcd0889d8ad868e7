"""Ray Data's part in reading: a dataset with a pack of rows in each of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluiceway.backends.ray.packs import pack_of, packs_of
from sluiceway.batch.sources import open_source
from sluiceway.batch.sources.naming import require_column
from sluiceway.batch.sources.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from sluiceway.batch.sources.source import Chunk


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source is opened where it is read; see `open_source`."""

    source: Any
    format: str | None
    id_column: str
    max_row: int
    size: int

    def open(self) -> Source:
        """Open it."""
        return open_source(self.source, format=self.format, id_column=self.id_column, max_row=self.max_row)

    def tables(self) -> Iterator[Any]:
        """Yield a table of one row for each pack; runs in a task of Ray's."""
        import pyarrow as pa  # noqa: PLC0415 - Ray Data's own

        source = self.open()
        try:
            for pack in packs_of(source, self.size):
                yield pa.table({"pack": pa.array([pack.to_bytes()], pa.binary())})
        finally:
            source.close()

    def packed(self, table: Any) -> Any:
        """Return the rows of a dataset's block as one pack; runs in a task of Ray's."""
        import pyarrow as pa  # noqa: PLC0415 - as above

        pack = pack_of(table.to_pylist(), self.id_column)
        return pa.table({"pack": pa.array([pack.to_bytes()], pa.binary())})


class Rows(Source):
    """A dataset of Ray Data, as far as a driver looks at it: nothing tells it from another but its columns.

    Raises:
        BatchError: it has no such column of ids.
    """

    def __init__(self, dataset: Any, id_column: str) -> None:
        self.name = "a dataset"
        self.id_column: str = id_column
        self._columns = list(dataset.columns() or ())
        require_column(self.name, id_column, self._columns)

    def fingerprint(self, before: Mapping[str, Any] | None = None) -> Mapping[str, Any]:  # noqa: ARG002 - see `Source`
        """Return what little there is."""
        return {"kind": "dataset", "columns": self._columns}

    def difference(self, before: Mapping[str, Any]) -> str | None:
        """Return a sentence if it was something else before, or has other columns."""
        if before.get("kind") != "dataset":
            return f"the source was of the kind {before.get('kind')!r} and is a dataset"
        was = before.get("columns")
        return None if was == self._columns else f"the dataset had the columns {was} and has {self._columns}"

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield nothing: Ray reads it."""
        return
        yield ()


def is_dataset(source: object) -> bool:
    """Whether *source* is a dataset of Ray Data."""
    return any(kind.__module__.startswith("ray.data") and kind.__name__ == "Dataset" for kind in type(source).__mro__)


def dataset_of(data: Any, reading: Reading, here: dict[str, float]) -> Any:
    """Return the dataset of packs.

    Args:
        data: `ray.data`.
        reading: what is read.
        here: a resource that only the machine has where a file is.
    """
    if is_dataset(reading.source):
        table = reading.source.repartition(target_num_rows_per_block=reading.size)
        return table.map_batches(reading.packed, batch_size=None, batch_format="pyarrow", num_cpus=0.1)
    return data.read_datasource(_datasource(data, reading), override_num_blocks=1, num_cpus=0.1, resources=here)


def _datasource(data: Any, reading: Reading) -> Any:
    class Packs(data.Datasource):  # type: ignore[misc] # a class of Ray's, which is loaded on use
        """One task that reads as it is asked."""

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: Any, **__: Any) -> list[Any]:
            metadata = data.block.BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [data.ReadTask(reading.tables, metadata)]

    return Packs()


def local(source: Any) -> Any:
    """Return *source* as another process of this machine finds it, wherever that runs."""
    return Path(source).absolute() if isinstance(source, (str, Path)) else source
