"""What a file of rows must not begin with: read as lines, each of them would be a dead letter of garbage."""

from __future__ import annotations

import re
from typing import Final

from sluiceway.batch.errors import BatchError

LENGTH: Final = 4096
"""Bytes of a file that are looked at."""

_PACKED: Final = {
    b"\x1f\x8b": ("packed by gzip", "gunzip --keep"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "unzstd --keep"),
    b"\xfd7zXZ\x00": ("packed by xz", "unxz --keep"),
    b"PK\x03\x04": ("a zip archive, as spreadsheets are", "unzip, or by exporting it as CSV"),
}
_ARRAY: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*(?:[{\"\]]|\Z)")


def require_rows(name: str, beginning: bytes, kind: str) -> None:
    """Refuse a file whose *beginning* is none of text in UTF-8, or for JSONL of one value a line.

    Raises:
        BatchError: the message says what it is, and what to do.
    """
    for magic, (what, unpack) in _PACKED.items():
        if beginning.startswith(magic):
            raise BatchError(f"{name} is {what}: unpack it first, as by {unpack}")
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")) or beginning[:2].count(0) == 1:
        raise BatchError(f"{name} is UTF-16: write it as UTF-8 first, as by iconv -f UTF-16 -t UTF-8")
    if kind == "jsonl" and _ARRAY.match(beginning):
        raise BatchError(f"{name} is one JSON array: write a row a line first, as by jq --compact-output '.[]'")
