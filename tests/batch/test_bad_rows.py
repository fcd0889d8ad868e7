"""Rows of which nothing can be made: each is a dead letter, and the rows around it are answered."""

from __future__ import annotations

import datetime as dt
import sys

import pytest

from sluiceway import Pipeline
from sluiceway.batch import read_dead_letters, read_results, retry_dead, run
from sluiceway.batch.plan import plan
from sluiceway.batch.sources import Unread, open_source

DEEP = '{"id": "bad", "more": ' + "[" * 985 + "]" * 985 + "}"


async def echo(prompt):
    return prompt


class Trap(dict):
    """Columns that raise when one is asked for."""

    def get(self, *_):
        raise LookupError("no columns today")


class Wordless:
    """No text says what it is: neither `str` nor `repr`."""

    def __repr__(self):
        raise ZeroDivisionError("no words")


def circle():
    """Return a list that holds itself."""
    found = []
    found.append(found)
    return found


async def batch(folder, source, **options):
    """Run it twice, and return what the second run says, the answers, and the errors of the dead letters."""
    for _ in range(2):
        outcome = await run(echo, source, folder / "o.jsonl", pipeline=Pipeline(), template="{prompt}", **options)
    letters = list(read_dead_letters(outcome.paths.dead))
    return outcome, [row.output for row in read_results(outcome.paths.results)], letters


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ({"id": "bad", "prompt": Wordless()}, "ZeroDivisionError"),
        (Trap(id="bad"), "LookupError"),
        ({"id": "bad", ("a", "pair"): 1}, "missing column"),
        ({"id": "bad", "more": circle()}, "missing column"),
    ],
)
async def test_what_no_request_can_be_made_of_is_a_dead_letter(tmp_path, bad, kind):
    """Whatever error that raises; the next run knows it."""
    rows = [{"id": 1, "prompt": "one"}, bad, {"id": 2, "prompt": "two"}]
    outcome, answers, letters = await batch(tmp_path, rows)
    assert ["one", "two"] == answers
    assert [(1, kind)] == [(letter.index, letter.error.type) for letter in letters]
    assert (3, True, 3) == (outcome.before, outcome.complete, outcome.exit_code)


async def test_a_row_that_is_nested_too_deeply_for_its_dead_letter_loses_its_request_there(tmp_path):
    """Where Python reads it and cannot write it, which its versions do not agree on: the letter has id and line."""
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": 1, "prompt": "one"}\n' + DEEP + '\n{"id": 2, "prompt": "two"}\n')
    outcome, answers, letters = await batch(tmp_path, path)
    assert (["one", "two"], 3) == (answers, outcome.exit_code)
    assert [("bad", 2)] == [(letter.id, letter.line) for letter in letters]
    assert letters[0].request is None or sys.version_info >= (3, 12)


async def test_a_dead_letter_without_its_request_is_not_tried_again(tmp_path):
    """Nothing is what would be asked."""
    asked = []

    async def refuse(row):
        asked.append(row)
        raise ValueError("no")

    rows = [{"id": 1, "more": circle()}, {"id": 2}]
    await run(refuse, rows, tmp_path / "o.jsonl", pipeline=Pipeline(), argument="row")
    outcome = await retry_dead(refuse, tmp_path / "o.jsonl", pipeline=Pipeline(), argument="row")
    assert (3, 2) == (len(asked), outcome.dead_in_all)


async def test_an_answer_that_no_line_can_hold_is_a_dead_letter(tmp_path):
    """It is the function's doing, and no other row's."""

    async def ask(prompt):
        return Wordless() if prompt == "b" else prompt

    outcome = await run(ask, ["a", "b", "c"], tmp_path / "o.jsonl", pipeline=Pipeline())
    assert (2, 1, True) == (outcome.answered, outcome.dead, outcome.complete)
    (letter,) = read_dead_letters(outcome.paths.dead)
    assert (1, "ZeroDivisionError", "b") == (letter.index, letter.error.type, letter.request)


async def test_a_value_that_python_does_not_have_is_a_bad_row(tmp_path):
    """Parquet knows the year 10000."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    days = pyarrow.array([0, 3_000_000_0, 1], pyarrow.int32()).cast(pyarrow.date32())
    parquet.write_table(pyarrow.table({"day": days}), tmp_path / "p.parquet")
    opened = open_source(tmp_path / "p.parquet")
    first, bad, last = [row async for chunk in opened.chunks() for row in chunk]
    opened.close()
    assert [dt.date(1970, 1, 1), dt.date(1970, 1, 2)] == [first.value["day"], last.value["day"]]
    assert isinstance(bad, Unread)
    assert (1, "OverflowError") == (bad.index, bad.problem.kind)


def test_a_plan_counts_bad_rows(tmp_path):
    """As the batch will."""
    path = tmp_path / "p.jsonl"
    path.write_text('{"custom_id":"b","url":["x"],"body":{"messages":[]}}\n' + DEEP + "\n")
    assert {"bad url": 1, "missing column": 1} == dict(plan("gpt-4o-mini", path).demands.bad)
