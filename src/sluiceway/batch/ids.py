"""Which rows are known already, in eight to twenty-four bytes each."""

from __future__ import annotations

from array import array
from typing import Final

ANSWERED: Final = 1
"""It stands in the results."""
DEAD: Final = 2
"""It stands among the dead letters."""
SEEN: Final = 4
"""The source had it, in this run."""

_MARKS: Final = 7  # what is kept beside the hash
_HASH: Final = ((1 << 64) - 1) ^ _MARKS
_SHARDS: Final = 256
_FIRST: Final = 8  # slots of a shard at the start
_FULL: Final = 0.7


class KnownIds:
    """Marks on ids, by a 61-bit hash of each: `set` needs ten times the memory.

    Two ids of a million share a hash with a chance of 1 to 4.6 million; the second is then taken for the first. The
    table is cut into 256 shards, so that the longest pause for growing is some milliseconds for a million ids.
    `7` and `"7"` are one id. Hashes are of this process only: nothing of it is stored.
    """

    __slots__ = ("_shards", "_used")

    def __init__(self) -> None:
        self._shards = [_empty(_FIRST) for _ in range(_SHARDS)]
        self._used = [0] * _SHARDS

    def mark(self, key: object, marks: int) -> int:
        """Add *marks* to those of *key*, whose `str` counts, and return which it had before."""
        hashed = hash(str(key))
        number = hashed & (_SHARDS - 1)
        wanted = ((hashed << 3) & _HASH) or _MARKS + 1
        shard = self._shards[number]
        slot = _find(shard, wanted)
        had = shard[slot]
        if had:
            shard[slot] = had | marks
            return had & _MARKS
        shard[slot] = wanted | marks
        self._used[number] += 1
        if self._used[number] > _FULL * len(shard):
            self._shards[number] = _grown(shard)
        return 0

    def marks(self, key: object) -> int:
        """Return the marks of *key*; 0 if it has none."""
        hashed = hash(str(key))
        shard = self._shards[hashed & (_SHARDS - 1)]
        return shard[_find(shard, ((hashed << 3) & _HASH) or _MARKS + 1)] & _MARKS

    def __len__(self) -> int:
        return sum(self._used)


def of_row(index: int) -> str:
    """Return the key of a row that is known by its place alone: no id of a source looks like this."""
    return f"\0row {index}"


def _empty(size: int) -> array[int]:
    return array("Q", bytes(8 * size))


def _find(shard: array[int], wanted: int) -> int:
    """Return the slot where *wanted* is, or where it would have to go."""
    last = len(shard) - 1
    slot = (wanted >> 11) & last  # the lowest bits chose the shard
    while True:
        found = shard[slot]
        if not found or found & _HASH == wanted:
            return slot
        slot = (slot + 1) & last


def _grown(shard: array[int]) -> array[int]:
    larger = _empty(2 * len(shard))
    for entry in shard:
        if entry:
            larger[_find(larger, entry & _HASH)] = entry
    return larger
