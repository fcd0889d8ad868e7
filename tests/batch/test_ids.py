"""What is known of rows, in few bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluiceway.batch.ids import ANSWERED, DEAD, SEEN, KnownIds, of_row


@given(st.lists(st.tuples(st.text(max_size=4) | st.integers(0, 50), st.sampled_from([ANSWERED, DEAD, SEEN]))))
def test_marks_are_those_of_a_dict(operations):
    """Each mark returns what was there before, whatever the order and however often."""
    ids, model = KnownIds(), {}
    for key, mark in operations:
        assert model.get(str(key), 0) == ids.mark(key, mark)
        model[str(key)] = model.get(str(key), 0) | mark
    assert len(model) == len(ids)
    assert model == {key: ids.marks(key) for key in model}


def test_many_ids_are_all_kept_and_no_other_is_known():
    """Through every growth of its shards; a hash of 61 bits never collides among so few."""
    ids = KnownIds()
    assert [0] * 50_000 == [ids.mark(f"id-{number}", SEEN) for number in range(50_000)]
    assert {SEEN} == {ids.marks(f"id-{number}") for number in range(50_000)}
    assert {0} == {ids.marks(f"other-{number}") for number in range(50_000)}


def test_an_id_takes_at_most_24_bytes():
    """Twice the eight of an entry and the room to grow."""
    ids = KnownIds()
    for number in range(100_000):
        ids.mark(number, SEEN)
    assert sum(8 * len(shard) for shard in ids._shards) <= 24 * 100_000


def test_a_row_without_an_id_is_no_ids_namesake():
    """Row 7 is known by its place, and the id 7 is another key."""
    ids = KnownIds()
    ids.mark(of_row(7), DEAD)
    assert 0 == ids.marks(7)
    assert 0 == ids.marks("row 7")
