"""Dead letters, tried again: with the prompts of before, and each row once."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import pytest

from sluiceway import Pipeline
from sluiceway.batch import BatchMismatch, Paths, read_dead_letters, read_results, retry_dead, run
from sluiceway.batch.dead_letters import DeadLetter, Failure
from sluiceway.testing import openai_error


@dataclass(frozen=True)
class Document:
    text: str


PLAIN = {"pipeline": Pipeline()}
VALUES = [
    dt.date(2024, 5, 1),
    dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC),
    dt.time(12, 30),
    dt.timedelta(hours=1),
    Decimal("1.10"),
    UUID(int=7),
    b"bytes",
    True,
    0.1,
    [dt.date(2024, 5, 1), ("a", None)],
    {"on": dt.date(2024, 5, 1), 7: Decimal("1.10")},
]


class Sick:
    """Refuses what it is asked, until it is well."""

    def __init__(self):
        self.asked = []
        self.well = False

    async def ask(self, prompt):
        self.asked.append(prompt)
        if not self.well:
            raise openai_error(400)
        return prompt


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


def letters(out):
    return [(letter.id, letter.stage, letter.error.type) for letter in read_dead_letters(Paths.of(out).dead)]


async def buried(out, rows, **options):
    """Run a batch of *rows* of which each becomes a dead letter."""
    sick = Sick()
    await run(sick.ask, rows, out, **PLAIN, **options)
    sick.well = True
    return sick


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
async def test_a_column_of_any_type_makes_the_prompt_that_it_made_before(out, value):
    """A letter is JSON, which has no dates: they are kept as the template showed them."""
    sick = await buried(out, [{"id": 1, "it": value}], template="On {it}")
    await retry_dead(sick.ask, out, **PLAIN, template="On {it}")
    first, second = sick.asked
    assert first == second


async def test_a_date_of_a_parquet_file_is_asked_as_before(tmp_path, out):
    """Not as Python would write it in a program."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"id": [1], "day": [dt.date(2024, 5, 1)]})
    parquet.write_table(table, tmp_path / "p.parquet")
    sick = await buried(out, tmp_path / "p.parquet", template="On {day}")
    await retry_dead(sick.ask, out, **PLAIN, template="On {day}")
    assert ["On 2024-05-01", "On 2024-05-01"] == sick.asked


async def test_a_template_of_before_must_not_be_left_out(out):
    """The raw column would be asked, and the answer would stand among those to other prompts."""
    sick = await buried(out, [{"id": 1, "prompt": "p"}], template="Say {prompt}")
    with pytest.raises(BatchMismatch, match="there was a template and is none: give template=, --prompt-template"):
        await retry_dead(sick.ask, out, **PLAIN)
    with pytest.raises(BatchMismatch, match="argument was 'prompt' and is 'row'"):
        await retry_dead(sick.ask, out, **PLAIN, argument="row", template="Say {prompt}")
    assert 1 == len(sick.asked)
    assert (await retry_dead(sick.ask, out, **PLAIN, template="Tell {prompt}")).ok
    assert ["Say p", "Tell p"] == sick.asked


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        ({"system": "be brief"}, "there was a system and is none"),
        ({"endpoint": "responses"}, "endpoint was 'responses'"),
    ],
)
async def test_what_a_model_was_asked_with_must_not_be_left_out(out, given, left_out):
    """Parameters may: a larger `max_tokens` is why one tries again."""
    out.write_text("")
    paths = Paths.of(out)
    letter = DeadLetter(1, 0, Failure("X", "x"), request={"prompt": "p"})
    paths.dead.write_bytes(letter.to_line())
    model = {"base_url": "http://127.0.0.1:9/v1", "api_key": "k", **PLAIN}
    await run("m", [], out, resume=True, parameters={"max_tokens": 1}, **model, **given)
    with pytest.raises(BatchMismatch, match=left_out):
        await retry_dead("m", out, **model)


async def test_a_letter_of_which_nothing_can_be_made_replaces_the_one_of_its_row(out):
    """However often the wrong template is given; the right one then answers the row, and no letter is left."""
    sick = await buried(out, [{"id": i, "text": f"t{i}"} for i in range(3)], template="{text}")
    for _ in range(2):
        outcome = await retry_dead(sick.ask, out, **PLAIN, template="{other}")
        assert (0, 3) == (outcome.answered, outcome.dead_in_all)
        assert [(i, "call", "missing column") for i in range(3)] == letters(out)
    outcome = await retry_dead(sick.ask, out, **PLAIN, template="{text}")
    assert (3, 0, 0) == (outcome.answered, outcome.dead_in_all, outcome.exit_code)
    assert [] == letters(out)
    assert {0: "t0", 1: "t1", 2: "t2"} == {row.id: row.output for row in read_results(out)}


async def test_second_letters_of_rows_that_earlier_versions_left_go_with_the_first(out):
    """Those of other rows with the same id, that stand twice in the source, stay."""
    sick = await buried(out, [{"id": 1, "text": "t"}, {"id": 1, "text": "twice"}], template="{text}")
    assert [(1, "read", "duplicate id"), (1, "call", "sluiceway.BadRequestError")] == letters(out)
    with Paths.of(out).dead.open("ab") as file:
        file.write(DeadLetter(1, 0, Failure("missing column", "none"), "read").to_line())
    outcome = await retry_dead(sick.ask, out, **PLAIN, template="{text}")
    assert [(1, "read", "duplicate id")] == letters(out)
    assert 1 == outcome.dead_in_all


def test_a_letter_holds_dates_as_text():
    """Readable without Python."""
    line = DeadLetter(1, 0, Failure("X", "x"), request={"day": dt.date(2024, 5, 1)}).to_line()
    assert {"day": "2024-05-01"} == json.loads(line)["request"]


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        (MappingProxyType({"prompt": "hello"}), {"prompt": "hello"}),
        ({"messages": [MappingProxyType({"role": "user"})]}, {"messages": [{"role": "user"}]}),
        ({"prompt": "p", "price": Decimal("1.5"), "doc": object}, {"prompt": "p", "price": "1.5", "doc": str(object)}),
        (Path("a.txt"), "a.txt"),
        (Document("hello"), None),
        ({"prompt": Document("hello")}, None),
        ({"messages": [Document("hello")]}, None),
        (b"hello", None),
        ({1, 2}, None),
    ],
)
def test_what_json_cannot_hold_is_not_asked_again_as_its_repr(row, kept):
    """An object of the user's was asked again, and paid for, as ``Document(text='hello')``; a mapping is an object."""
    assert kept == json.loads(DeadLetter(1, 0, Failure("X", "x"), request=row).to_line())["request"]
