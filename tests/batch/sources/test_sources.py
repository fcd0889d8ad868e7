"""Rows of files and iterables."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.batch.errors import BatchError
from sluiceway.batch.sources import Row, Unread, open_source
from sluiceway.batch.sources.counting import RowCount
from sluiceway.batch.sources.source import SourceFailed


async def read(source, **options):
    """Return all rows of *source*."""
    opened = open_source(source, **options)
    try:
        opened.fingerprint()
        return [row async for chunk in opened.chunks() for row in chunk]
    finally:
        opened.close()


def values(rows):
    return [(row.id, row.value) for row in rows]


async def test_jsonl(tmp_path):
    """Objects and strings; empty lines are no rows, but lines; without ids it is the row's number."""
    path = tmp_path / "p.jsonl"
    path.write_text('\ufeff{"prompt": "x"}\n\n"y"\n{"custom_id": null}\r\n{"id": ""}')
    rows = await read(path)
    assert [(0, {"prompt": "x"}), (1, "y"), (2, {"custom_id": None}), (3, {"id": ""})] == values(rows)
    assert [1, 3, 4, 5] == [row.line for row in rows]
    assert [0, 1, 2, 3] == [row.index for row in rows]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"{", "not JSON"),
        (b"nonsense", "not JSON"),
        (b"[1]", "no object"),
        (b"5", "no object"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"id": 1.5}', "bad id"),
        (b'{"id": [1]}', "bad id"),
        (b"[" * 100_000, "not JSON"),
        (b'{"prompt": "' + b"x" * 2_000_000 + b'"}', "too long"),
    ],
)
async def test_a_bad_line_is_one_unread_row_and_no_more(tmp_path, line, kind):
    """It has its place, its line and a beginning; those after it are read."""
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"id": "a"}\n' + line + b'\n{"id": "b"}\n')
    first, bad, last = await read(path, max_row=1_500_000)
    assert ("a", "b") == (first.id, last.id)
    assert isinstance(bad, Unread)
    assert (1, 2, kind) == (bad.index, bad.line, bad.problem.kind)
    assert len(bad.text or "") <= 1000
    assert 3 == last.line


async def test_a_row_of_20_mb_is_a_row(tmp_path):
    """Pictures are that large; only beyond `max_row` it is none."""
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": "big", "prompt": "x" * 20_000_000}))
    (row,) = await read(path)
    assert 20_000_000 == len(row.value["prompt"])
    (bad,) = await read(path, max_row=10_000_000)
    assert "too long" == bad.problem.kind
    assert 1000 == len(bad.text)


async def test_csv(tmp_path):
    """Columns by their names, fields over several lines, and the line where each row begins."""
    path = tmp_path / "p.csv"
    path.write_text('\ufeffid,prompt\na,"two\nlines"\n\nb,"quo""ted"\nc\nd,last\n')
    rows = await read(path)
    assert [("a", {"id": "a", "prompt": "two\nlines"}), ("b", {"id": "b", "prompt": 'quo"ted'})] == values(rows[:2])
    assert "wrong columns" == rows[2].problem.kind
    assert ("d", {"id": "d", "prompt": "last"}) == (rows[3].id, rows[3].value)
    assert 2 == rows[0].line


async def test_tsv_and_long_fields(tmp_path):
    """A field may be as long as a row, whatever Python's own limit is."""
    path = tmp_path / "p.tsv"
    path.write_text(f"id\tprompt\na\t{'x' * 200_000}\n")
    (row,) = await read(path)
    assert 200_000 == len(row.value["prompt"])


async def test_csv_that_is_no_utf8(tmp_path):
    """The row is unread, the next one is read."""
    path = tmp_path / "p.csv"
    path.write_bytes(b"id,prompt\na,\xff\xfe\nb,good\n")
    bad, good = await read(path)
    assert "not UTF-8" == bad.problem.kind
    assert "b" == good.id


async def test_an_open_quote_ends_the_reading_before_the_memory_does(tmp_path):
    """It would make one row of all the rest."""
    path = tmp_path / "p.csv"
    path.write_text('id,prompt\na,"never closed\n' + "x,y\n" * 100_000)
    with pytest.raises(SourceFailed, match="an open quote"):
        await read(path, max_row=10_000)


@pytest.mark.parametrize("quote", ["", '"'])
async def test_a_line_of_csv_that_is_too_long_is_one_bad_row(tmp_path, quote):
    """It ended the reading, and none of the rows behind it was answered; empty lines before it change nothing."""
    path = tmp_path / "p.csv"
    long = f"b,{quote}{'x' * 3_000_000}{quote}\n"
    path.write_text(f'id,prompt\na,good\n\n\n{long}c,"over two\nlines"\n{long}d,good\n')
    first, long, third, longer, last = await read(path, max_row=1_000)
    assert ["a", "c", "d"] == [row.id for row in (first, third, last)]
    assert ("too long", 1, 5) == (long.problem.kind, long.index, long.line)
    assert ("too long", 3, 8) == (longer.problem.kind, longer.index, longer.line)
    assert f"b,{quote}xxx" == long.text[: 5 + len(quote)]
    assert 1_000 == len(long.text)


async def test_a_header_that_is_too_long_ends_the_reading(tmp_path):
    """Nothing can be read without it."""
    path = tmp_path / "p.csv"
    path.write_text(f"id,{'x' * 3_000}\na,good\n")
    with pytest.raises(SourceFailed, match="a row at line 1 is longer"):
        await read(path, max_row=1_000)


async def test_a_bare_carriage_return_is_one_bad_row(tmp_path):
    """The rows around it are read, and a line is counted from where its row begins."""
    path = tmp_path / "p.csv"
    path.write_bytes(
        b"id,prompt\n" + b"".join(b"%d,x%s\n" % (i, b"\ry" * (i == 100)) for i in range(400)) + b"\n400,x\n"
    )
    rows = await read(path)
    (bad,) = (row for row in rows if isinstance(row, Unread))
    assert (401, 100, 102, "not CSV", "100,x\ry\n") == (len(rows), bad.index, bad.line, bad.problem.kind, bad.text)
    assert (400, 403) == (rows[-1].index, rows[-1].line)


async def test_rows_before_the_place_where_the_reading_ends_are_there(tmp_path):
    """Those that came in the same moment too."""
    path = tmp_path / "p.csv"
    path.write_text("id,prompt\n" + "".join(f"{i},x\n" for i in range(300)) + '300,"never closed\n' + "x,y\n" * 5_000)
    opened, found = open_source(path, max_row=10_000), []

    async def read_on():
        async for chunk in opened.chunks():
            found.extend(chunk)

    with pytest.raises(SourceFailed, match="an open quote"):
        await read_on()
    opened.close()
    assert [str(i) for i in range(300)] == [row.id for row in found]


@pytest.mark.parametrize("name", ["p.jsonl", "p.txt"])
@pytest.mark.parametrize("last", [b"", b"\n", b"\nlast\n"])
async def test_a_line_that_is_too_long_is_one_row_however_long_it_is(tmp_path, name, last):
    """The rest of it is no prompt."""
    for length in (11, 20, 21, 22, 23, 45, 2_500_000):
        (tmp_path / name).write_bytes(b'"' + b"x" * length + b'"' + last)
        rows = await read(tmp_path / name, max_row=20)
        assert [isinstance(row, Unread) for row in rows[:1]] == [length + 2 + len(last[:1]) > 20]
        assert len(rows) == (2 if b"last" in last else 1)


async def test_a_header_with_one_name_twice_is_refused(tmp_path):
    """One column would hide the other."""
    path = tmp_path / "p.csv"
    path.write_text("id,prompt,prompt\na,b,c\n")
    with pytest.raises(SourceFailed, match="one name"):
        await read(path)


async def test_text(tmp_path):
    """A prompt a line, without its end; what is no UTF-8 is unread."""
    path = tmp_path / "p.txt"
    path.write_bytes(b"one\r\n\n  two\nbad \xff\n")
    one, two, bad = await read(path)
    assert [(0, {"prompt": "one"}), (1, {"prompt": "  two"})] == values([one, two])
    assert "not UTF-8" == bad.problem.kind


async def test_parquet(tmp_path):
    """Columns with their types, and the total without reading."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "p.parquet"
    table = pyarrow.table({"id": list(range(600)), "text": [f"t{i}" for i in range(600)]})
    parquet.write_table(table, path, row_group_size=100)
    rows = await read(path)
    assert 600 == len(rows)
    assert (599, {"id": 599, "text": "t599"}) == (rows[-1].id, rows[-1].value)


async def test_a_file_that_is_no_parquet_fails_with_its_name(tmp_path):
    """When it is read, since only then it is known."""
    pytest.importorskip("pyarrow")
    path = tmp_path / "p.parquet"
    path.write_text("not parquet at all")
    with pytest.raises(SourceFailed, match=r"p\.parquet"):
        await read(path)


async def test_iterables_are_read_as_they_are_needed():
    """Lists, generators, async generators: no item before it is wanted."""
    taken = []

    def items():
        for number in range(5):
            taken.append(number)
            yield {"id": f"i{number}", "n": number}

    source = open_source(items())
    chunks = source.chunks()
    (row,) = await anext(chunks)
    assert (Row("i0", 0, None, {"id": "i0", "n": 0}), [0]) == (row, taken)
    await chunks.aclose()
    assert [(0, "a"), (1, 5), (2, None)] == values(await read(["a", 5, None]))
    assert 3 == open_source([1, 2, 3]).total


async def test_an_async_generator_is_closed_at_the_end():
    """Also when the reading ends early."""
    closed = []

    async def items():
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    chunks = open_source(items()).chunks()
    await anext(chunks)
    await chunks.aclose()
    assert [True] == closed


async def test_an_iterable_that_fails_is_a_source_that_failed():
    """With its own error as the cause, and in its text, which is all that the end of a batch tells."""

    def items():
        yield "a"
        raise KeyError("gone")

    with pytest.raises(SourceFailed, match="after 1 rows: KeyError: 'gone'") as caught:
        await read(items())
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("wrong", "options", "error"),
    [
        (5, {}, TypeError),
        (b"bytes", {}, TypeError),
        ([], {"format": "xml"}, ValueError),
        ([], {"max_row": 0}, ValueError),
    ],
)
def test_what_is_no_source_is_refused(wrong, options, error):
    """Before anything is opened."""
    with pytest.raises(error):
        open_source(wrong, **options)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    """Whether it is not there or a folder."""
    with pytest.raises(BatchError, match=r"nothing\.jsonl"):
        open_source(tmp_path / "nothing.jsonl")
    with pytest.raises(BatchError, match="directory"):
        open_source(tmp_path)


# ------------------------------------------------------------------ how many


@pytest.mark.parametrize("name", ["p.jsonl", "p.txt"])
def test_empty_lines_are_not_counted(tmp_path, name):
    """A batch of two rows with an empty line between them and one at the end is of two rows."""
    path = tmp_path / name
    path.write_text('"a"\n\n \r\n"b"\n\n')
    opened = open_source(path)
    opened.fingerprint()
    assert 2 == opened.total
    opened.close()


@given(st.lists(st.text(alphabet="a \n\r\t", max_size=8).map(str.encode)))
def test_rows_are_counted_however_the_file_falls_into_blocks(blocks):
    """A line, or the white space before it, may begin in one block and end in another."""
    count = RowCount()
    for block in blocks:
        count.add(block)
    assert sum(bool(line.strip()) for line in b"".join(blocks).split(b"\n")) == count.rows


# ------------------------------------------------------------------ fingerprints


def differs(path, before):
    opened = open_source(path)
    opened.fingerprint(before)
    said = opened.difference(before)
    opened.close()
    return said


def print_of(path):
    opened = open_source(path)
    found = opened.fingerprint()
    opened.close()
    return found


@given(
    before=st.binary(max_size=60).map(lambda text: b"{}" + text + b"\n"),
    after=st.binary(max_size=60),
    place=st.integers(0, 59),
)
def test_rows_at_the_end_are_no_difference_and_changed_ones_are(tmp_path_factory, before, after, place):
    """The bytes that were read before must be the same."""
    path = tmp_path_factory.mktemp("source") / "p.jsonl"
    path.write_bytes(before)
    found = print_of(path)
    assert differs(path, found) is None
    path.write_bytes(before + after)
    assert differs(path, found) is None
    changed = bytearray(before)
    changed[place % len(changed)] ^= 1
    path.write_bytes(bytes(changed) + after)
    assert differs(path, found) is not None


def test_a_last_line_without_its_newline_must_not_have_grown(tmp_path):
    """`hello` that became `hello world` is another row."""
    path = tmp_path / "p.txt"
    path.write_text("hello")
    found = print_of(path)
    path.write_text("hello world")
    assert differs(path, found) is not None
    path.write_text("hello\nworld")
    assert differs(path, found) is None


def test_another_format_is_a_difference(tmp_path):
    """The same bytes are other rows then."""
    path = tmp_path / "p.txt"
    path.write_text("hello")
    assert "kind" in differs(path, {**print_of(path), "kind": "jsonl"})


async def test_what_is_appended_meanwhile_is_for_the_next_run(tmp_path):
    """The file is read to where it ended when it was opened."""
    path = tmp_path / "p.txt"
    path.write_text("one\ntwo\n")
    opened = open_source(path)
    with path.open("a") as file:
        file.write("three\n")
    assert ["one", "two"] == [row.value["prompt"] async for chunk in opened.chunks() for row in chunk]
    assert 1.0 == opened.share
    opened.close()


async def test_a_file_that_is_deleted_meanwhile_is_read_to_its_end(tmp_path):
    """It is held open from the start."""
    path = tmp_path / "p.txt"
    path.write_text("one\ntwo\n")
    opened = open_source(path)
    path.unlink()
    assert 2 == len([row async for chunk in opened.chunks() for row in chunk])
    opened.close()


async def test_a_file_that_is_cut_short_meanwhile_is_an_error(tmp_path):
    """Rows that are no more must not pass for answered ones."""
    path = tmp_path / "p.txt"
    path.write_text("one\ntwo\nthree\n")
    opened = open_source(path)
    os.truncate(path, 8)
    with pytest.raises(SourceFailed, match="it was changed"):
        [row async for chunk in opened.chunks() for row in chunk]
    opened.close()
