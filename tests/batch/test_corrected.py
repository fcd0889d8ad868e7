"""A bad row that is corrected in the source."""

from __future__ import annotations

import pytest

from sluiceway import Pipeline
from sluiceway.batch import Paths, read_dead_letters, run

BAD = '{"id": 1, "prompt": "one"}\n{"id": 2\n{"id": 3}\n{"id": 4, "prompt": "four"}\n'


async def echo(prompt):
    if prompt == "sick":
        raise ValueError("sick")
    return prompt


@pytest.fixture
def batch(tmp_path):
    """Runs a batch over a text, and returns its outcome and the dead letters."""

    async def begin(text):
        (tmp_path / "p.jsonl").write_text(text)
        out = tmp_path / "o.jsonl"
        outcome = await run(echo, tmp_path / "p.jsonl", out, pipeline=Pipeline(), template="{prompt}", resume=True)
        return outcome, [(letter.index, letter.stage) for letter in read_dead_letters(Paths.of(out).dead)]

    return begin


async def test_a_row_that_is_corrected_leaves_the_dead_letters(batch):
    """And the one that is not stays."""
    first, letters = await batch(BAD)
    assert ([(1, "read"), (2, "read")], 3) == (letters, first.exit_code)
    second, letters = await batch(BAD.replace('{"id": 2', '{"id": 2, "prompt": "two"}'))
    assert ([(2, "read")], 1, 1, 3) == (letters, second.answered, second.dead_in_all, second.exit_code)
    third, letters = await batch(
        BAD.replace('{"id": 2', '{"id": 2, "prompt": "two"}').replace("3}", '3, "prompt": ""}')
    )
    assert ([], 0, 0) == (letters, third.dead_in_all, third.exit_code)


async def test_a_row_that_is_corrected_and_then_fails_has_one_letter(batch):
    """That of its call."""
    await batch('{"id": 1\n')
    outcome, letters = await batch('{"id": 1, "prompt": "sick"}\n')
    assert ([(0, "call")], 1) == (letters, outcome.dead_in_all)


async def test_a_run_that_has_not_read_all_forgets_nothing(batch, tmp_path):
    """Nor does one over fewer rows: the bad one is not there to be judged."""
    await batch(BAD)
    _, letters = await batch('{"id": 1, "prompt": "one"}\n')
    assert [(1, "read"), (2, "read")] == letters

    def broken():
        yield from ({"id": i, "prompt": "x"} for i in (1, 2, 3, 4))
        raise OSError("gone")

    await run(echo, broken(), tmp_path / "o.jsonl", pipeline=Pipeline(), template="{prompt}", resume=True)
    assert 2 == len(list(read_dead_letters(tmp_path / "o.dead.jsonl")))
