"""Workers and the desk of a run on Ray, without Ray: each row once, whoever dies."""

from __future__ import annotations

import asyncio
import errno
import os
import random

import pytest

from ray_fleet import Fleet, packed, work_of
from sluiceway.backends.ray.desk import Desk, Line
from sluiceway.batch.durability import Durability
from sluiceway.batch.ids import ANSWERED
from sluiceway.batch.journal import Journal
from sluiceway.batch.paths import Paths
from sluiceway.batch.verdicts import Stop
from sluiceway.testing import openai_error

ROWS = [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(60)]
EXPECTED = sorted((f"r{i}", f"of p{i}") for i in range(60))
PACKS = packed(ROWS)
TWINS = packed(
    [
        {"id": "a", "prompt": "p0"},
        {"id": "b", "prompt": "p1"},
        {"id": "a", "prompt": "p2"},
        {"id": "c"},
        {"id": "d", "prompt": "p4"},
    ],
    size=2,
)


class Provider:
    """Answers each prompt after some time of its own."""

    def __init__(self, fails=lambda _prompt: None):
        self.asked = []
        self.answered = 0
        self._fails = fails
        self._rng = random.Random(1)

    async def ask(self, prompt):
        self.asked.append(prompt)
        await asyncio.sleep(self._rng.uniform(0.5, 1.5))
        error = self._fails(prompt)
        if error is not None:
            raise error
        self.answered += 1
        return f"of {prompt}"


async def test_every_row_is_answered_once(tmp_path):
    """By whichever worker; a pack is done when its rows are written."""
    provider = Provider()
    fleet = Fleet(tmp_path, work_of(provider.ask))
    done = await fleet.run(PACKS)
    assert (EXPECTED, 60) == (fleet.answers(), len(provider.asked))
    assert [(5, 0)] * 12 == [(each.rows, each.pending) for each in done]
    await fleet.close()


@pytest.mark.parametrize("seed", range(8))
async def test_a_worker_that_dies_repeats_what_was_in_flight_and_no_more(tmp_path, seed):
    """At any moment, again and again: what is written is not asked again, and every row has its answer."""
    rng = random.Random(seed)
    provider = Provider()
    fleet = Fleet(tmp_path, work_of(provider.ask))
    running = asyncio.ensure_future(fleet.run(PACKS))
    in_flight = 0
    for _ in range(4):
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        actor = rng.choice(fleet.actors)
        runner = actor.worker._runner
        in_flight += 0 if runner is None else len(runner._under_way)
        await actor.die()
    await running
    assert EXPECTED == fleet.answers()
    assert 0 < len(provider.asked) - 60 <= in_flight
    await fleet.close()


async def test_what_is_settled_is_not_asked_by_the_next_run(tmp_path):
    """The files are those of a batch in one process, and say which rows these are."""
    first = Fleet(tmp_path, work_of(Provider().ask))
    await first.run(PACKS[:7])
    await first.close()
    provider = Provider()
    second = Fleet(tmp_path, work_of(provider.ask))
    await second.run(PACKS)
    assert (EXPECTED, 25) == (second.answers(), len(provider.asked))
    await second.close()


async def test_a_second_row_with_an_id_is_a_dead_letter_wherever_it_comes(tmp_path):
    """In another pack too, and when both packs are begun again; what cannot be asked about is one as well."""
    provider = Provider()
    work = work_of(provider.ask, lambda _store: lambda ask: ask)
    fleet = Fleet(tmp_path, work, actors=1)
    await fleet.run(TWINS, at_a_time=1)
    assert [(2, "duplicate id")] == fleet.letters()
    await fleet.run(TWINS, at_a_time=1)
    assert [(2, "duplicate id")] == fleet.letters()
    assert ["a", "b", "c", "d"] == [id_ for id_, _ in fleet.answers()]
    await fleet.close()


async def test_a_row_that_stays_unanswered_is_a_dead_letter_once(tmp_path):
    """As in a batch in one process; the next run leaves it there."""
    refused = openai_error(400)
    for _ in range(2):
        provider = Provider(lambda prompt: refused if prompt == "p3" else None)
        fleet = Fleet(tmp_path, work_of(provider.ask))
        await fleet.run(PACKS[:1])
        await fleet.close()
        assert [3] == [index for index, _ in fleet.letters()]
    assert [] == provider.asked


async def test_who_meets_the_end_of_the_money_ends_the_run_for_all(tmp_path):
    """What is in flight finishes, the rest is pending, and the desk says why."""
    gone = openai_error(429, code="insufficient_quota")
    provider = Provider(lambda prompt: gone if prompt == "p7" else None)
    fleet = Fleet(tmp_path, work_of(provider.ask))
    done = await fleet.run(PACKS)
    news = await fleet.desk.news()
    assert ("quota", True) == (news.stop.kind, news.drained)
    assert provider.answered == len(fleet.answers()) == news.answered < 60
    assert sum(each.pending for each in done) == sum(each.rows for each in done) - news.answered
    await fleet.close()


async def test_an_end_at_once_gives_up_what_is_in_flight_and_loses_no_answer(tmp_path):
    """As a second signal asks for: what the provider has answered is written, nobody waits for the rest."""
    provider = Provider()
    fleet = Fleet(tmp_path, work_of(provider.ask))
    running = asyncio.ensure_future(fleet.run(PACKS))
    await asyncio.sleep(1.0)
    await fleet.desk.stop(Stop("signal", "SIGTERM"))
    await fleet.desk.stop(Stop("signal", "SIGTERM"), at_once=True)
    began = asyncio.get_running_loop().time()
    done = await running
    assert 0.6 > asyncio.get_running_loop().time() - began
    assert provider.answered == len(fleet.answers()) > 0
    assert sum(each.pending for each in done) == len(provider.asked) - provider.answered > 0
    await fleet.close()


async def test_a_source_that_breaks_off_ends_the_run_after_what_was_read(tmp_path):
    """The pack that says so ends it; rows in flight finish."""

    def broken():
        yield from ROWS[:3]
        raise OSError("the network is gone")

    packs = await asyncio.to_thread(packed, broken())
    fleet = Fleet(tmp_path, work_of(Provider().ask))
    await fleet.run(packs)
    news = await fleet.desk.news()
    assert ("source", "the source failed after 3 rows: OSError: the network is gone") == (
        news.stop.kind,
        news.stop.message,
    )
    await fleet.close()


async def test_a_full_disk_at_the_desk_ends_the_run(tmp_path, monkeypatch):
    """After its patience; the row is no answer for the run, and the text says where its line went."""
    fleet = Fleet(tmp_path, work_of(Provider().ask))

    def full(self, line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Journal, "append", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    await fleet.run(PACKS[:1])
    news = await fleet.desk.news()
    assert "disk" == news.stop.kind
    assert "No space left" in news.stop.message
    await fleet.close()


async def test_a_line_that_comes_twice_is_written_once(tmp_path):
    """As from an actor that was taken for dead and was not; at once or later."""
    desk = Desk(Paths.of(tmp_path / "answers.jsonl"), Durability(), 0.0)
    line = Line("a", ANSWERED, b'{"id":"a","index":0,"output":"x"}\n', 1.0)
    await asyncio.gather(desk.write([line]), desk.write([line]))
    await desk.write([line])
    assert line.line == (tmp_path / "answers.jsonl").read_bytes()
    assert (1, 1) == ((await desk.news()).answered, (await desk.news()).latency.count)
    await desk.close()


async def test_a_desk_waits_for_the_one_before_it_to_die(tmp_path):
    """Two that write would ask rows twice: the second waits, and then knows what the first has written."""
    paths = Paths.of(tmp_path / "answers.jsonl")
    first, second = (Desk(paths, Durability(), 0.0) for _ in range(2))
    await first.write([Line("a", ANSWERED, b'{"id":"a","index":0,"output":"x"}\n', 1.0)])
    beginning = asyncio.ensure_future(second.begin(0, [("a", 0), ("b", 1)]))
    await asyncio.sleep(1.0)
    assert not beginning.done()
    await first.close()
    assert [ANSWERED, 0] == await beginning
    await second.close()


async def test_an_actor_that_is_silent_is_not_waited_for(tmp_path):
    """One that died while the run ends says no more that it has ended."""
    fleet = Fleet(tmp_path, work_of(Provider().ask))
    running = asyncio.ensure_future(fleet.run(PACKS))
    await asyncio.sleep(0.6)
    silent = fleet.actors[0].worker
    await fleet.actors[0].die()
    await running
    await fleet.actors[0].close()
    await fleet.actors[1].close()
    assert not (await fleet.desk.news()).drained
    assert silent.name in fleet.desk._reports
    await asyncio.sleep(11.0)
    assert (await fleet.desk.news()).drained
    await fleet.desk.close()
