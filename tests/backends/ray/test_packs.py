"""Rows on their way to actors."""

from __future__ import annotations

import json
import pickle

from sluiceway.backends.ray.packs import Pack, pack_of, packs_of
from sluiceway.batch.errors import BadRow
from sluiceway.batch.sources import Row, Unread, open_source


def test_a_file_is_packed_row_by_row_with_its_lines_and_places(tmp_path):
    """As a batch in one process reads it; the last pack is as small as what is left."""
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"id": f"r{i}", "prompt": "p"}) + "\n" for i in range(600)) + "no JSON\n")
    source = open_source(path)
    packs = list(packs_of(source, 250))
    source.close()
    assert [(0, 250), (250, 250), (500, 101)] == [(pack.key, len(pack.rows)) for pack in packs]
    rows = [row for pack in packs for row in pack.rows]
    assert list(range(601)) == [row.index for row in rows]
    assert ("r599", 600) == (rows[599].id, rows[599].line)
    assert "not JSON" == rows[600].problem.kind


def test_a_pack_travels_as_it_is(tmp_path):
    """Whatever is in its rows, and what is wrong with those that could not be read."""
    rows = (Row("a", 0, 1, {"deep": [{"x": None}, 1.5]}), Unread(1, 2, BadRow("not JSON", "of no kind"), "{", 1))
    pack = Pack(7, rows, "the disk is gone")
    back = Pack.from_bytes(pack.to_bytes())
    assert (7, rows[0], "the disk is gone") == (back.key, back.rows[0], back.failed)
    assert ("not JSON", "of no kind", "{") == (back.rows[1].problem.kind, str(back.rows[1].problem), back.rows[1].text)


def test_a_source_that_breaks_off_says_so_behind_its_last_row():
    """Also when the pack before was full, so that what was read is asked."""

    def broken():
        yield from "ab"
        raise OSError("gone")

    packs = list(packs_of(open_source(broken()), 2))
    assert [(2, None), (0, "the source failed after 2 rows: OSError: gone")] == [
        (len(pack.rows), pack.failed) for pack in packs
    ]


def test_a_source_is_read_as_it_is_asked():
    """A pack more is not read before somebody wants it."""
    taken = []

    def rows():
        for number in range(10):
            taken.append(number)
            yield str(number)

    packs = packs_of(open_source(rows()), 3)
    next(packs)
    assert [0, 1, 2] == taken
    packs.close()


def test_rows_of_a_table_are_known_by_their_ids():
    """The same rows make the same pack, wherever they are packed; each place is the id's own."""
    values = [{"id": "a", "prompt": "x"}, {"id": 7, "prompt": "y"}, {"custom_id": "c", "body": {}}]
    pack, again = pack_of(values, "id"), pack_of(pickle.loads(pickle.dumps(values)), "id")
    assert pack == again
    assert ["a", 7, "c"] == [row.id for row in pack.rows]
    assert 3 == len({row.index for row in pack.rows})
    assert all(0 <= row.index < 2**53 for row in pack.rows)
    assert pack.key != pack_of(values[:2], "id").key


def test_a_row_of_a_table_without_an_id_cannot_be_asked():
    """Nothing would tell the next run that it is settled."""
    (row,) = pack_of([{"id": None, "prompt": "x"}], "id").rows
    assert "no id" == row.problem.kind
    assert "a row of a dataset needs an id in its column 'id': it has no number" == str(row.problem)
