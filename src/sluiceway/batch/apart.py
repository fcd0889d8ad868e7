"""Whether a batch would write into what it reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sluiceway.batch.errors import BatchError
from sluiceway.batch.sources.files import File

if TYPE_CHECKING:
    from pathlib import Path

    from sluiceway.batch.paths import Paths
    from sluiceway.batch.sources.source import Source


def require_apart(paths: Paths, source: Source) -> None:
    """Refuse a source that is one of the files of the batch, by whatever name, and two of these that are one.

    Raises:
        BatchError: they are the same file.
    """
    results, dead = _status(paths.results), _status(paths.dead)
    if isinstance(source, File):
        read = os.fstat(source.file.fileno())
        for path in (paths.results, paths.manifest, paths.lock):
            if _same(read, _status(path)):
                raise BatchError(f"the source {source.name} is the file that the batch writes to: name other results")
        if _same(read, dead):
            raise BatchError(
                f"the source {source.name} has the dead letters of {paths.results}: try them again with retry-dead, "
                "or name other results"
            )
    if _same(results, dead):
        raise BatchError(f"{paths.results} and {paths.dead} are one file: name other results")


def _status(path: Path) -> os.stat_result | None:
    """Return what tells the file at *path* from others; None if there is none."""
    try:
        return path.stat()
    except OSError:
        return None


def _same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    return one is not None and other is not None and os.path.samestat(one, other)
