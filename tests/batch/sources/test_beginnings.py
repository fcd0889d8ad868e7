"""Files that are no rows, recognised by how they begin."""

from __future__ import annotations

import gzip
import json

import pytest

from sluiceway.batch.errors import BatchError
from sluiceway.batch.sources import open_source

ROWS = b'{"id": 1, "prompt": "x"}\n'


@pytest.mark.parametrize(
    ("name", "held", "told"),
    [
        ("p.jsonl.gz", gzip.compress(ROWS), "is packed by gzip: unpack it first, as by gunzip"),
        ("p.csv", gzip.compress(b"id,prompt\n1,x\n"), "is packed by gzip"),
        ("p.csv", b"PK\x03\x04 a spreadsheet", "exporting it as CSV"),
        ("p.jsonl", ROWS.decode().encode("utf-16"), "is UTF-16: write it as UTF-8"),
        ("p.txt", "a prompt".encode("utf-16-be"), "is UTF-16"),
        ("p.csv", "id,prompt".encode("utf-16"), "is UTF-16"),
        ("p.json", json.dumps([{"id": 1}, {"id": 2}]).encode(), "is one JSON array: write a row a line"),
        ("p.json", b'\xef\xbb\xbf[\n  {\n    "id": 1', "is one JSON array"),
        ("p.json", b"[\n", "is one JSON array"),
    ],
)
def test_what_is_no_rows_is_refused_with_what_to_do(tmp_path, name, held, told):
    """Each of its lines was a dead letter, and half of UTF-16 was asked."""
    path = tmp_path / name
    path.write_bytes(held)
    with pytest.raises(BatchError, match=told):
        open_source(path)


@pytest.mark.parametrize("held", [b"", b"\n", ROWS, b"\xef\xbb\xbf" + ROWS, b"[1]\n" + ROWS, b'"[a prompt]"\n'])
def test_rows_and_single_bad_ones_are_read(tmp_path, held):
    """A first row that is no object is one dead letter, as any other."""
    path = tmp_path / "p.jsonl"
    path.write_bytes(held)
    open_source(path).close()


def test_a_prompt_may_begin_with_a_bracket(tmp_path):
    """In a format that is no JSON."""
    path = tmp_path / "p.txt"
    path.write_text('["a list", to be explained]\n')
    open_source(path).close()
