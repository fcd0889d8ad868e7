"""How many lines of a file are rows, counted block by block while it is read for another reason."""

from __future__ import annotations

import re
from typing import Final

_ROW_BEGINS: Final = re.compile(rb"\n\s*+(?=\S)")


class RowCount:
    """Counts the lines that are more than white space.

    Attributes:
        rows: how many there are so far.
    """

    __slots__ = ("_before", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._before = b"\n"  # what stands between the last block's last letter and the next block

    def add(self, block: bytes) -> None:
        """Count what begins in *block*, which follows on the one before."""
        text = self._before + block
        letters = text.rstrip()  # so that white space is looked at once, however much there is
        self.rows += len(_ROW_BEGINS.findall(letters))
        self._before = b"\n" if b"\n" in text[len(letters) :] else b""
