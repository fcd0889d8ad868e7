"""Rows of results and dead letters, written and read back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.batch import DeadLetter, Failure, Paths, ResultRow, read_dead_letters, read_results
from sluiceway.providers.usage import Usage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_row_reads_as_documented():
    """The fields that users know stand in the line, in their order."""
    row = ResultRow("a1", 0, "four", Usage(13, 2), 0.0000123, 1, 0.51234, "gpt-4o-mini", {"rate limit": 0.25}, 1e9)
    assert {
        "id": "a1",
        "index": 0,
        "output": "four",
        "usage": {"input_tokens": 13, "output_tokens": 2},
        "cost_usd": 0.0000123,
        "attempts": 1,
        "latency_s": 0.5123,
        "model": "gpt-4o-mini",
        "waited_s": {"rate limit": 0.25},
        "finished_at": 1e9,
    } == json.loads(row.to_line())


@given(st.text() | st.integers(), JSON, st.none() | st.builds(Usage, *[st.integers(0, 10**9)] * 5), JSON)
def test_a_row_comes_back_as_it_was(id_, output, usage, response):
    """Whatever the id and the answer are, quotes, newlines and half surrogate pairs included."""
    row = ResultRow(id_, 3, output, usage, 0.5, 2, 1.5, None, {}, 12.0, response)
    line = row.to_line()
    assert 1 == line.count(b"\n")
    assert row == ResultRow.from_dict(json.loads(line))


def test_half_a_surrogate_pair_is_kept():
    """A model may write one; the line is plain ASCII then."""
    row = ResultRow("a", 0, "\ud83d")
    assert "\ud83d" == ResultRow.from_dict(json.loads(row.to_line())).output


@given(st.none() | st.text(), JSON, st.none() | st.integers(1, 10**6))
def test_a_dead_letter_comes_back_as_it_was(id_, request, line):
    """With its error, its line and its request."""
    error = Failure("openai.BadRequestError", "no such model", "ours_to_fix", 404, "model_not_found")
    letter = DeadLetter(id_, 7, error, "call", line, 5, 2.5, Usage(1, 2), 12.0, request)
    assert letter == DeadLetter.from_dict(json.loads(letter.to_line()))


def test_a_failure_says_whose_fault_it_was():
    """The class with its package, the beginning of the message, the fault."""
    assert Failure("TimeoutError", "x" * 2000, "timeout") == Failure.of(TimeoutError("x" * 3000))


def test_files_are_read_one_row_at_a_time(tmp_path):
    """A last line that was cut off is no row."""
    paths = Paths.of(tmp_path / "out.jsonl")
    rows = [ResultRow("a", 0, "x"), ResultRow(1, 1, ["y"])]
    paths.results.write_bytes(b"".join(row.to_line() for row in rows) + b'{"id": "c", "outp')
    letter = DeadLetter(None, 2, Failure("NotJson", "line 3"), "read", 3, request="{")
    paths.dead.write_bytes(letter.to_line())
    assert rows == list(read_results(paths.results))
    assert [letter] == list(read_dead_letters(paths.dead))


@pytest.mark.parametrize("line", [b"{}", b"[]", b"{", b'{"id": true, "output": 1}', b'{"id": "a"}'])
def test_what_no_batch_wrote_is_refused_with_its_line(tmp_path, line):
    """Nobody's file is taken for results by mistake."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(ResultRow("a", 0, "x").to_line() + line + b"\n")
    with pytest.raises(ValueError, match="line 2"):
        list(read_results(path))


def test_the_files_of_a_batch_stand_together(tmp_path):
    """Beside the results, by their name; a folder stands for results.jsonl in it."""
    paths = Paths.of("out/answers.jsonl")
    assert ["answers.jsonl", "answers.dead.jsonl", "answers.manifest.json", "answers.lock"] == [
        path.name for path in (paths.results, paths.dead, paths.manifest, paths.lock)
    ]
    assert tmp_path / "results.jsonl" == Paths.of(tmp_path).results
    assert "results.jsonl" == Paths.of(f"{tmp_path}/new/").results.name


@pytest.mark.parametrize(("wrong", "error"), [("", ValueError), (3, TypeError), ("a.dead.jsonl", ValueError)])
def test_what_is_no_results_file_is_refused(wrong, error):
    """By name, before anything is written over."""
    with pytest.raises(error, match="results="):
        Paths.of(wrong)
