"""What rows are known by, and that no answer can stand under another row's id."""

from __future__ import annotations

import json

import pytest

from sluiceway import Pipeline
from sluiceway.batch import BatchError, BatchMismatch, read_dead_letters, read_results, run
from sluiceway.batch.sources import open_source
from sluiceway.batch.sources.naming import Naming

FILES = {"p.csv": "key,prompt\n1,a\n2,b\n", "p.tsv": "key\tprompt\n1\ta\n", "p.txt": "a\nb\n"}


async def echo(prompt):
    return f"answer to {prompt}"


async def batch(folder, source, **options):
    """Run it, and return the answers and what is wrong with the other rows."""
    out = folder / "o.jsonl"
    outcome = await run(echo, source, out, pipeline=Pipeline(), **options)
    letters = [(letter.index, letter.error.type) for letter in read_dead_letters(outcome.paths.dead)]
    return {row.id: row.output for row in read_results(out)}, letters


async def test_a_row_with_an_id_among_rows_without_is_a_dead_letter(tmp_path):
    """The answer to the first one stood under the id of the second."""
    found = await batch(tmp_path, [{"prompt": "A"}, {"id": 0, "prompt": "B"}, "C"])
    assert ({0: "answer to A", 2: "answer to C"}, [(1, "mixed ids")]) == found


async def test_a_row_without_an_id_among_rows_with_one_is_a_dead_letter(tmp_path):
    """Its place may be the id of another one."""
    found = await batch(tmp_path, [{"id": 1, "prompt": "A"}, {"prompt": "B"}, {"custom_id": 2, "prompt": "C"}])
    assert ({1: "answer to A", 2: "answer to C"}, [(1, "no id")]) == found


async def test_a_column_of_ids_with_a_gap_has_a_bad_row_there(tmp_path):
    """Whichever row it is, also the first."""
    (tmp_path / "p.csv").write_text("id,prompt\n,A\n2,B\n,C\n3,D\n")
    found = await batch(tmp_path, tmp_path / "p.csv")
    assert ({"2": "answer to B", "3": "answer to D"}, [(0, "no id"), (2, "no id")]) == found


async def test_rows_without_the_column_that_was_asked_for_are_never_known_by_their_place(tmp_path):
    """A misspelt column would have each row paid for again when it is corrected."""
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": 5, "prompt": "A"}\n{"custom_id": 6, "prompt": "B"}\n')
    assert ({}, [(0, "no id"), (1, "no id")]) == await batch(tmp_path, path, id_column="kye")


@pytest.mark.parametrize("name", FILES)
def test_a_column_that_a_file_does_not_have_is_refused_at_once(tmp_path, name):
    """Where the file says at its beginning which it has."""
    (tmp_path / name).write_text(FILES[name])
    with pytest.raises(BatchError, match=r"id_column='kye' must be a column of .*, which has '(key', ')?prompt'"):
        open_source(tmp_path / name, id_column="kye")
    open_source(tmp_path / name, id_column="prompt").close()


async def test_a_column_that_a_parquet_file_does_not_have_is_refused_at_once(tmp_path):
    """And one that it has is read."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"key": [7], "prompt": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(BatchError, match="which has 'key', 'prompt'"):
        open_source(tmp_path / "p.parquet", id_column="kye")
    assert ({7: "answer to a"}, []) == await batch(tmp_path, tmp_path / "p.parquet", id_column="key")
    (tmp_path / "no.parquet").write_text("no such thing")
    open_source(tmp_path / "no.parquet", id_column="key").close()


async def test_another_column_of_ids_is_another_batch(tmp_path):
    """Every row would be asked, and paid for, again."""
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": 1, "key": "k", "prompt": "A"}) + "\n")
    await batch(tmp_path, path)
    with pytest.raises(BatchMismatch, match="id_column was 'id' and is 'key', so that every row would be asked"):
        await batch(tmp_path, path, id_column="key")


def test_a_header_that_cannot_be_read_is_left_to_the_reading(tmp_path):
    """Which says what is wrong with it."""
    (tmp_path / "p.csv").write_text("a\rb,c\nd,e\n")
    open_source(tmp_path / "p.csv", id_column="key").close()


def test_columns_tell_before_the_first_row():
    """All rows of a table have the same."""
    assert "no id" == Naming("id", ["custom_id"]).row({"custom_id": None}, 0, None).problem.kind
    assert 0 == Naming("id", ["prompt"]).row({"prompt": "a"}, 0, None).id
