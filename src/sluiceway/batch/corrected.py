"""Dead letters of rows that were bad, and are not any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.batch.dead_letters import rewrite
from sluiceway.batch.ids import SEEN, of_row
from sluiceway.batch.known import bad_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sluiceway.batch.ids import KnownIds


def forget_corrected(dead: Path, ids: KnownIds, rows: int) -> int:
    """Drop the letters of rows that could not be read at first; return how many rows these are.

    Args:
        dead: the file of dead letters.
        ids: what a run over the whole source knows: the places of rows that were bad in it are marked as seen.
        rows: how many it read.

    Raises:
        OSError: the file cannot be read or written, and is as it was before.
    """
    good: set[int] = set()
    for line in _lines(dead):
        place = bad_place(line)
        if place is not None and place < rows and not ids.marks(of_row(place)) & SEEN:
            good.add(place)
    if good:
        rewrite(dead, (line for line in _lines(dead) if bad_place(line) not in good))
    return len(good)


def _lines(dead: Path) -> Iterator[bytes]:
    with dead.open("rb") as file:
        yield from file
