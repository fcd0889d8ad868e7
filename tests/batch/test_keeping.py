"""Where rows go that are paid for when the disk is full, and how one hears of it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess

import pytest

from sluiceway import Pipeline, bounded
from sluiceway.batch import read_dead_letters, read_results, run
from sluiceway.testing import openai_error


@pytest.fixture
def full(tmp_path, monkeypatch):
    """A disk that is full from a moment on, and a folder for temporary files that is not."""
    write = os.write
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr("sluiceway.batch.keeping.tempfile.gettempdir", lambda: str(spare))

    def begin():
        def refuse(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("sluiceway.batch.journal.os.write", refuse)

    def end():
        monkeypatch.setattr("sluiceway.batch.journal.os.write", write)

    yield begin, end
    end()


def source(tmp_path):
    """Write twenty rows and return the file."""
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"id": f"r{i}", "prompt": f"p{i}"}) + "\n" for i in range(20)))
    return path


async def test_a_signal_on_a_full_disk_tells_where_the_answers_are(tmp_path, full):
    """They are paid for; appended as the message says, none is asked again."""
    path, out, asked = source(tmp_path), tmp_path / "out.jsonl", []
    loop = asyncio.get_running_loop()

    async def ask(prompt):
        asked.append(prompt)
        await asyncio.sleep(1)
        return prompt

    loop.call_later(2.5, full[0])
    loop.call_later(5, signal.raise_signal, signal.SIGTERM)
    ended = await run(ask, path, out, pipeline=Pipeline(bounded(4)), disk_patience="10m", drain="5s")
    (rescued,) = (tmp_path / "spare").iterdir()
    command = f"cat {rescued} >> {out}"
    assert (143, True) == (ended.exit_code, command in ended.stopped.message)
    assert command in json.loads(ended.paths.manifest.read_text())["runs"][-1]["stopped"]["message"]
    full[1]()
    subprocess.run(command, shell=True, check=True)  # noqa: ASYNC221 - as people will
    assert set(asked) == {row.output for row in read_results(out)}
    again = await run(ask, path, out, pipeline=Pipeline(bounded(4)))
    assert (True, 20, 20) == (again.ok, len(asked), len(list(read_results(out))))


async def test_a_cancellation_on_a_full_disk_tells_where_the_answers_are(tmp_path, full):
    """There is no outcome to say it: the error has a note."""

    async def ask(prompt):
        await asyncio.sleep(1)
        return prompt

    full[0]()
    with pytest.raises(TimeoutError) as raised:
        await asyncio.wait_for(run(ask, source(tmp_path), tmp_path / "out.jsonl", pipeline=Pipeline()), 5)
    (rescued,) = (tmp_path / "spare").iterdir()
    assert f"cat {rescued} >>" in raised.value.__cause__.__notes__[0]
    assert 20 == len(list(read_results(rescued)))


async def test_dead_letters_are_rescued_apart_from_answers(tmp_path, full):
    """Each file is appended to the one for which its lines were meant."""
    path, out = source(tmp_path), tmp_path / "out.jsonl"

    async def ask(prompt):
        if prompt in ("p0", "p1"):
            full[0]()
            raise openai_error(400)
        return prompt

    ended = await run(ask, path, out, pipeline=Pipeline(bounded(4)), disk_patience=0)
    (rescued,) = (tmp_path / "spare").glob("*out.dead-*.jsonl")
    assert f"cat {rescued} >> {ended.paths.dead}" in ended.stopped.message
    assert {"p0", "p1"} >= {letter.request["prompt"] for letter in read_dead_letters(rescued)}
    assert ["disk", 5] == [ended.stopped.kind, ended.exit_code]


async def test_what_finds_no_place_at_all_is_said_to_be_lost(tmp_path, full):
    """Neither with the results nor among the temporary files."""
    (tmp_path / "spare").rmdir()
    full[0]()

    async def ask(prompt):
        return prompt

    ended = await run(ask, source(tmp_path), tmp_path / "out.jsonl", pipeline=Pipeline(), disk_patience=0)
    assert ended.stopped.message.endswith("rows that are paid for are lost")
