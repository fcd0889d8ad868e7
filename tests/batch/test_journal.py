"""A file of lines that survives what may happen to it."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.batch.durability import Durability
from sluiceway.batch.journal import Journal


async def test_lines_are_in_the_file_when_append_returns(tmp_path):
    """Nothing is kept back for later."""
    journal = Journal(tmp_path / "new" / "a.jsonl")
    journal.append(b"one\n")
    assert b"one\n" == journal.path.read_bytes()
    journal.append(b"two\n")
    assert b"one\ntwo\n" == journal.path.read_bytes()
    await journal.close()


@given(
    whole=st.lists(st.binary(max_size=100).map(lambda b: b.replace(b"\n", b"") + b"\n"), max_size=5), torn=st.binary()
)
def test_a_torn_last_line_is_cut_off_and_nothing_else(tmp_path_factory, whole, torn):
    """Whatever a kill has left behind the last newline."""
    path = tmp_path_factory.mktemp("journal") / "a.jsonl"
    torn = torn.replace(b"\n", b"")
    path.write_bytes(b"".join(whole) + torn)
    journal = Journal(path)
    journal.abandon()
    assert b"".join(whole) == path.read_bytes()
    assert len(torn) == journal.repaired


def test_a_torn_line_longer_than_a_block_is_cut_off_too(tmp_path):
    """The newline before it is looked for further back."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"whole\n" + b"x" * 200_000)
    journal = Journal(path)
    journal.abandon()
    assert b"whole\n" == path.read_bytes()


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path):
    """An editor left it so: its row counted as answered, and then the answer was cut off."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id":1}\n{"id":2}')
    journal = Journal(path)
    journal.append(b'{"id":3}\n')
    journal.abandon()
    assert b'{"id":1}\n{"id":2}\n{"id":3}\n' == path.read_bytes()
    assert (0, 27) == (journal.repaired, journal.size)


async def test_a_line_that_fits_no_more_is_taken_back(tmp_path, monkeypatch):
    """The disk is full in the midst of it: the file ends with the line before, and goes on when there is room."""
    journal = Journal(tmp_path / "a.jsonl")
    journal.append(b"first\n")
    room = [3]
    write = os.write

    def full(fd, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(fd, bytes(data)[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        journal.append(b"second\n")
    assert b"first\n" == journal.path.read_bytes()
    room[0] = 100
    journal.append(b"second\n")
    monkeypatch.undo()
    assert b"first\nsecond\n" == journal.path.read_bytes()
    await journal.close()


@pytest.fixture
def syncs(monkeypatch):
    """Count the calls of fsync."""
    found = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (found.append(fd), real(fd)))
    return found


async def test_never_syncs_only_at_the_end(tmp_path, syncs):
    """A clean end leaves everything on the disk, whatever the policy."""
    journal = Journal(tmp_path / "a.jsonl")
    for _ in range(10):
        journal.append(b"line\n")
        await journal.settled()
    assert 0 == len(syncs)
    await journal.close()
    assert 1 == len(syncs)


async def test_always_waits_for_the_disk_and_one_sync_serves_all_who_wait(tmp_path, syncs):
    """A hundred lines at once are at most three syncs: the one under way, and one for all that came meanwhile."""
    journal = Journal(tmp_path / "a.jsonl", Durability.of("always"))

    async def one():
        journal.append(b"line\n")
        await journal.settled()
        assert journal._synced >= 5

    await asyncio.gather(*(one() for _ in range(100)))
    assert journal._synced == journal.size
    assert 1 <= len(syncs) <= 3
    await journal.close()


async def test_every_so_many_rows(tmp_path, syncs):
    """The policy of a number syncs when so many rows have gathered, and waits for nothing."""
    journal = Journal(tmp_path / "a.jsonl", Durability.of(10))
    for _ in range(30):
        journal.append(b"line\n")
        await journal.settled()
        await asyncio.sleep(0.1)
    assert 3 == len(syncs)
    await journal.close()


async def test_every_so_often(tmp_path, syncs):
    """The policy of a duration syncs at the first row after it has passed."""
    journal = Journal(tmp_path / "a.jsonl", Durability.of("5s"))
    await asyncio.sleep(10)
    for _ in range(20):
        journal.append(b"line\n")
        await journal.settled()
        await asyncio.sleep(1)
    await journal.close()
    assert 5 == len(syncs)


@pytest.mark.parametrize(
    ("policy", "rows", "seconds"),
    [
        ("never", None, None),
        ("always", 1, None),
        (100, 100, None),
        ("100", 100, None),
        ("5s", None, 5),
        (0.5, None, 0.5),
    ],
)
def test_policies(policy, rows, seconds):
    """Each in the words of a user."""
    assert Durability(rows, seconds) == Durability.of(policy)


@pytest.mark.parametrize(("policy", "error"), [(0, ValueError), (-1, ValueError), ("x", ValueError), (True, TypeError)])
def test_what_is_no_policy_is_refused(policy, error):
    """With what is allowed."""
    with pytest.raises(error, match="fsync="):
        Durability.of(policy)
