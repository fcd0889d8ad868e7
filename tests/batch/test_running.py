"""Whole batches on virtual time."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
from pathlib import Path

import pytest

from sluiceway import Layer, Pipeline, Session, bounded, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.batch import (
    BatchError,
    BatchLocked,
    BatchMismatch,
    Paths,
    read_dead_letters,
    read_results,
    retry_dead,
    run,
)
from sluiceway.batch.running import target_of
from sluiceway.errors import BudgetExceeded, CircuitOpen, RateLimited
from sluiceway.testing import completion, openai_error
from spies import Stream

PLAIN = Pipeline()


def prompts(number):
    return [{"id": f"r{i}", "prompt": f"prompt {i}"} for i in range(number)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Provider:
    """Answers in 1 s; what `fails` returns for the n-th call and its prompt is raised instead."""

    def __init__(self, fails=lambda _number, _prompt: None, latency=1.0):
        self.asked = []
        self.fails = fails
        self.latency = latency
        self.inside = self.most = 0

    async def ask(self, prompt):
        self.asked.append(prompt)
        number = len(self.asked) - 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.inside -= 1
        error = self.fails(number, prompt)
        if error is not None:
            raise error
        return completion(f"answer to {prompt}")


def answers(results):
    return {row.id: row.output for row in read_results(Paths.of(results).results)}


def letters(results):
    return list(read_dead_letters(Paths.of(results).dead))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


async def test_every_row_is_answered_and_written(tmp_path, out):
    """With its id, place, tokens, attempts, model and time."""
    provider = Provider()
    outcome = await run(provider.ask, write(tmp_path / "p.jsonl", prompts(30)), out, pipeline=Pipeline(bounded(10)))
    assert {f"r{i}": f"answer to prompt {i}" for i in range(30)} == answers(out)
    rows = sorted(read_results(out), key=lambda row: row.index)
    assert list(range(30)) == [row.index for row in rows]
    assert {1} == {row.attempts for row in rows}
    assert all(row.usage is not None and row.model for row in rows)
    assert 1.0 == rows[0].latency_s
    assert {"bounded": 2.0} == rows[29].waited_s
    assert (30, 0, 0, 0) == (outcome.answered, outcome.dead, outcome.pending, outcome.before)
    assert (True, True, 0) == (outcome.ok, outcome.complete, outcome.exit_code)
    assert 3.0 == pytest.approx(outcome.elapsed)
    assert 30 == outcome.stats.succeeded


async def test_the_same_again_asks_nothing(tmp_path, out):
    """A resume does what is missing, and nothing is."""
    provider = Provider()
    source = write(tmp_path / "p.jsonl", prompts(5))
    await run(provider.ask, source, out, pipeline=PLAIN)
    outcome = await run(provider.ask, source, out, pipeline=PLAIN)
    assert 5 == len(provider.asked)
    assert (0, 5, True) == (outcome.answered, outcome.before, outcome.ok)


async def test_rows_that_were_appended_are_asked(tmp_path, out):
    """The rows of before are the same, so the files match."""
    provider = Provider()
    source = write(tmp_path / "p.jsonl", prompts(5))
    await run(provider.ask, source, out, pipeline=PLAIN)
    write(source, prompts(8))
    outcome = await run(provider.ask, source, out, pipeline=PLAIN)
    assert (3, 5) == (outcome.answered, outcome.before)


async def test_a_torn_last_line_is_repaired_and_its_row_asked_again(tmp_path, out):
    """What a kill in the midst of a write leaves."""
    provider = Provider()
    source = write(tmp_path / "p.jsonl", prompts(5))
    await run(provider.ask, source, out, pipeline=PLAIN)
    out.write_bytes(out.read_bytes()[:-20])
    outcome = await run(provider.ask, source, out, pipeline=PLAIN)
    assert (1, 4) == (outcome.answered, outcome.before)
    assert outcome.repaired > 0
    assert 5 == len(answers(out))


async def test_a_line_that_a_power_cut_destroyed_is_asked_again(tmp_path, out):
    """Blocks of zeros in the midst of the file: what stood there is missing, and the rest is not."""
    provider = Provider()
    source = write(tmp_path / "p.jsonl", prompts(3))
    await run(provider.ask, source, out, pipeline=PLAIN)
    first, second, third = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(first + b"\0" * (len(second) - 1) + b"\n" + third)
    outcome = await run(provider.ask, source, out, pipeline=PLAIN)
    assert (1, 2) == (outcome.answered, outcome.before)


@pytest.mark.parametrize("what", ["source", "settings", "manifest"])
async def test_other_sources_and_settings_are_refused(tmp_path, out, what):
    """Unless the user says to go on, or to begin anew; then the old answers are kept aside."""
    provider = Provider()
    source = write(tmp_path / "p.jsonl", prompts(3))
    await run(provider.ask, source, out, pipeline=PLAIN)
    options = {}
    if what == "source":
        write(source, [{"id": "r0", "prompt": "another"}, *prompts(3)[1:]])
    elif what == "settings":
        options["template"] = "say {prompt}"
    else:
        Paths.of(out).manifest.unlink()
    with pytest.raises(BatchMismatch, match=r"--resume.*--restart"):
        await run(provider.ask, source, out, pipeline=PLAIN, **options)
    assert 3 == len(provider.asked)
    went_on = await run(provider.ask, source, out, pipeline=PLAIN, resume=True, **options)
    assert 3 == went_on.before
    anew = await run(provider.ask, source, out, pipeline=PLAIN, resume=False, **options)
    assert (3, 0) == (anew.answered, anew.before)
    assert 1 == len(list(tmp_path.glob("out.before-*[0-9].jsonl")))


async def test_two_runs_on_one_output_refuse_each_other(tmp_path, out):
    """The second asks nothing; it may begin when the first is over."""
    provider = Provider()
    source = write(tmp_path / "p.jsonl", prompts(3))
    first = asyncio.create_task(run(provider.ask, source, out, pipeline=PLAIN))
    await asyncio.sleep(0.5)
    with pytest.raises(BatchLocked, match=str(os.getpid())):
        await run(provider.ask, source, out, pipeline=PLAIN)
    assert 3 == (await first).answered
    assert 3 == (await run(provider.ask, source, out, pipeline=PLAIN)).before


async def test_bad_rows_are_dead_letters_with_their_line(tmp_path, out):
    """No JSON, no UTF-8, no prompt, an id twice: the run does not die of them, and a resume knows them."""
    source = tmp_path / "p.jsonl"
    rows = [
        b'{"id": "a", "prompt": "x"}',
        b"{",
        b'{"prompt": "\xff"}',
        b'{"id": "b", "text": 1}',
        b'{"id": "a", "prompt": "y"}',
        b'{"id": "c", "prompt": "z"}',
    ]
    source.write_bytes(b"\n".join(rows))
    provider = Provider()
    outcome = await run(provider.ask, source, out, pipeline=PLAIN, template="{prompt}")
    assert {"a": "answer to x", "c": "answer to z"} == answers(out)
    assert [("not JSON", 2), ("not UTF-8", 3), ("missing column", 4), ("duplicate id", 5)] == [
        (letter.error.type, letter.line) for letter in letters(out)
    ]
    assert {"read"} == {letter.stage for letter in letters(out)}
    assert 3 == outcome.exit_code
    again = await run(provider.ask, source, out, pipeline=PLAIN, template="{prompt}")
    assert (0, 0, 6, 4) == (again.answered, again.dead, again.before, again.dead_in_all)
    assert 4 == len(letters(out))


async def test_what_cannot_be_answered_is_a_dead_letter_with_its_request(out):
    """After one attempt if it is the row's fault, after the last one if it is the provider's."""

    def fails(_, prompt):
        return {"prompt 3": openai_error(400), "prompt 7": openai_error(503)}.get(prompt)

    provider = Provider(fails)
    outcome = await run(provider.ask, prompts(100), out, pipeline=Pipeline(retry_jitter(4), bounded(10)))
    dead = {letter.id: letter for letter in letters(out)}
    assert {"r3": 1, "r7": 4} == {id_: letter.attempts for id_, letter in dead.items()}
    assert {"id": "r3", "prompt": "prompt 3"} == dead["r3"].request
    assert ("BadRequestError", 400, "ours_to_fix") == (
        dead["r3"].error.type.rpartition(".")[2],
        dead["r3"].error.status,
        dead["r3"].error.fault,
    )
    assert (98, 2, 3) == (outcome.answered, outcome.dead, outcome.exit_code)


async def test_dead_letters_are_tried_again(tmp_path, out):
    """Those that are answered leave them, those that fail stay with their new error, unreadable ones stay."""
    source = tmp_path / "p.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in prompts(60)) + "{\n")
    sick = {"prompt 1", "prompt 2"}
    provider = Provider(lambda _, prompt: openai_error(400) if prompt in sick else None)
    await run(provider.ask, source, out, pipeline=PLAIN)
    assert 3 == len(letters(out))
    sick.remove("prompt 1")
    provider.fails = lambda _, prompt: openai_error(404) if prompt in sick else None
    outcome = await retry_dead(provider.ask, out, pipeline=PLAIN)
    assert (1, 1, 2, 3) == (outcome.answered, outcome.dead, outcome.dead_in_all, outcome.exit_code)
    assert [(None, 60, None), ("r2", 2, 404)] == sorted(
        ((letter.id, letter.index, letter.error.status) for letter in letters(out)), key=lambda each: -each[1]
    )
    assert ("answer to prompt 1", 1) == next((row.output, row.index) for row in read_results(out) if row.id == "r1")
    assert 62 == len(provider.asked)
    resumed = await run(provider.ask, source, out, pipeline=PLAIN)
    assert (61, 0) == (resumed.before, resumed.answered)


async def test_there_must_be_dead_letters_to_try_them_again(out):
    """Else the name is probably wrong."""
    with pytest.raises(BatchError, match="no dead letters"):
        await retry_dead(Provider().ask, out)


async def test_an_outage_of_minutes_ends_with_nothing_among_the_dead_letters(out):
    """Rows wait and reading pauses; when the provider is back the rest is done, with few attempts wasted."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    def down(_number, _prompt):
        return openai_error(503) if 20 <= loop.time() - began < 320 else None

    provider = Provider(down)
    read = []

    def rows():
        for row in prompts(2000):
            read.append(loop.time() - began)
            yield row

    pipeline = Pipeline(retry_jitter(5), rate_limited(rpm=1200, in_flight=50), circuit_breaker(), timed("20s"))
    outcome = await run(provider.ask, rows(), out, pipeline=pipeline, rows_under_way=100)
    assert (2000, 0, True) == (outcome.answered, outcome.dead, outcome.ok)
    assert 2000 == len(answers(out))
    assert not [at for at in read if 60 < at < 320]
    assert outcome.stats.attempts < 2000 + 1200


async def test_without_a_breaker_an_outage_is_waited_out_too(out):
    """Nobody is answered, so it is no row's own fault, however many attempts it has had."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    provider = Provider(lambda *_: openai_error(503) if 5 <= loop.time() - began < 300 else None)
    outcome = await run(provider.ask, prompts(200), out, pipeline=Pipeline(retry_jitter(2), bounded(5)))
    assert (200, 0) == (outcome.answered, outcome.dead)


async def test_an_outage_without_end_stops_the_batch(out):
    """With everything saved, and a message; the next run does the rest."""
    provider = Provider(lambda number, _: openai_error(503) if number >= 10 else None)
    outcome = await run(provider.ask, prompts(50), out, pipeline=Pipeline(retry_jitter(2), bounded(5)), patience="5m")
    assert "provider down" == outcome.stopped.kind
    assert (4, False) == (outcome.exit_code, outcome.complete)
    assert 10 == len(answers(out))
    assert [] == letters(out)
    provider.fails = lambda *_: None
    assert 40 == (await run(provider.ask, prompts(50), out, pipeline=PLAIN)).answered


async def test_patience_ends_though_the_circuit_asks_for_a_longer_wait(out):
    """Rows that wait for an open circuit are given up when patience ends, and the message tells why it is open."""
    provider = Provider(lambda *_: openai_error(503), latency=0.1)
    pipeline = Pipeline(retry_jitter(3), circuit_breaker(open_for="30s"), timed("20s"))
    outcome = await run(provider.ask, prompts(200), out, pipeline=pipeline, patience="3s", drain="1s")
    assert ("provider down", 4) == (outcome.stopped.kind, outcome.exit_code)
    assert "for 3 s, the last error was InternalServerError" in outcome.stopped.message
    assert 3.1 == pytest.approx(outcome.elapsed)
    assert [] == letters(out)


async def test_patience_ends_while_calls_still_try_again(out):
    """An attempt that fails after it is the end, whatever retries the call has left."""
    provider = Provider(lambda *_: openai_error(503), latency=0.1)
    pipeline = Pipeline(retry_jitter(10, base="1s", cap="1s", budget=False))
    outcome = await run(provider.ask, prompts(1), out, pipeline=pipeline, patience="3s")
    assert "provider down" == outcome.stopped.kind
    assert 3.1 <= outcome.elapsed <= 4.3
    assert (1, []) == (outcome.pending, letters(out))


async def test_patience_begins_anew_with_every_answer(out):
    """Rows that wait for a circuit go on waiting while others are answered."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def ask(number):
        await asyncio.sleep(2.0 if number == 0 else 0.1)
        if number and loop.time() - began < 20:
            raise CircuitOpen("open", retry_after=4.0)
        return completion(f"answer {number}")

    outcome = await run(ask, range(4), out, pipeline=PLAIN, patience="5s", rows_under_way=4)
    assert "provider down" == outcome.stopped.kind
    assert 1 == outcome.answered
    assert 9.2 < outcome.elapsed < 9.6


async def test_a_limit_that_asks_for_a_long_wait_is_no_outage(out):
    """What a day's limit refuses is asked the next day, however short patience is."""
    provider = Provider(lambda number, _: RateLimited("tomorrow", retry_after=80_000.0) if number == 1 else None)
    outcome = await run(provider.ask, prompts(3), out, pipeline=PLAIN, patience="1h")
    assert (3, True) == (outcome.answered, outcome.ok)
    assert outcome.elapsed > 80_000


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (lambda: openai_error(429, code="insufficient_quota"), "quota"),
        (lambda: openai_error(401), "unauthorized"),
        (lambda: BudgetExceeded("the budget is spent"), "budget"),
    ],
)
async def test_no_money_and_no_key_stop_the_batch_at_once(out, error, kind):
    """What is in flight may finish; nothing more is asked, nothing is a dead letter."""
    provider = Provider(lambda number, _: error() if number >= 20 else None)
    outcome = await run(provider.ask, prompts(500), out, pipeline=Pipeline(retry_jitter(5), bounded(10)))
    assert kind == outcome.stopped.kind
    assert 4 == outcome.exit_code
    assert len(provider.asked) <= 30 + 10
    assert 20 == len(answers(out))
    assert [] == letters(out)


async def test_too_many_dead_rows_stop_the_batch(out):
    """A wrong model's name does not cost fifty thousand dead letters."""
    provider = Provider(lambda *_: openai_error(404))
    outcome = await run(provider.ask, prompts(5000), out, pipeline=Pipeline(bounded(10)))
    assert "error rate" == outcome.stopped.kind
    assert 50 <= len(letters(out)) <= 60
    everything = await run(
        provider.ask, prompts(500), out, pipeline=Pipeline(bounded(10)), abort_over=None, resume=True
    )
    assert 500 == everything.before + everything.dead


@pytest.mark.parametrize("kind", ["list", "file"])
async def test_rows_that_cannot_be_asked_stop_the_batch_too(tmp_path, out, kind):
    """A typing error in the template buries fifty rows, not all of them; the next run begins where it ended."""
    provider = Provider()
    source = prompts(300) if kind == "list" else write(tmp_path / "p.jsonl", prompts(300))
    outcome = await run(provider.ask, source, out, pipeline=PLAIN, template="{contry}?")
    assert ("error rate", 4, False) == (outcome.stopped.kind, outcome.exit_code, outcome.complete)
    assert (50, 50, []) == (outcome.rows, len(letters(out)), provider.asked)
    again = await run(provider.ask, source, out, pipeline=PLAIN, template="{contry}?")
    assert (50, 50) == (again.before, again.dead)


async def test_a_row_that_is_answered_with_a_stream_is_dead_and_its_stream_closed(out):
    """Nobody would read it; its place is free for the next row."""
    opened = []

    async def ask(_prompt):
        opened.append(Stream())
        return opened[-1]

    outcome = await run(ask, prompts(3), out, pipeline=Pipeline(bounded(1)))
    assert (0, 3) == (outcome.answered, outcome.dead)
    assert 3 == len(opened) == sum(each.closed for each in opened)
    assert "ask returned a stream and has no single result" in letters(out)[0].error.message


async def test_a_queue_that_stays_full_is_no_provider_that_is_down(out):
    """Calls longer than the patience were in flight, and others found the queue full: it ended as an outage."""
    provider = Provider(latency=300.0)
    pipeline = Pipeline(bounded(2, max_queue=1))
    outcome = await run(provider.ask, prompts(12), out, pipeline=pipeline, patience="1m", rows_under_way=6)
    assert (None, 12) == (outcome.stopped, outcome.answered)


async def test_what_refuses_every_row_is_waited_for_no_longer_than_the_patience(out):
    """Nobody is asked at all, as behind a store that is away: that ends."""

    class Closed(Layer):
        async def handle(self, call, proceed):
            raise RateLimited("the store is away", layer="closed")

    outcome = await run(Provider().ask, prompts(12), out, pipeline=Pipeline(Closed()), patience="1m")
    assert "provider down" == outcome.stopped.kind
    assert "RateLimited" in outcome.stopped.message
    assert 60 <= outcome.elapsed < 65


async def test_a_retry_after_of_years_is_waited_for_no_longer_than_the_patience(out):
    """Over the retry budget a row waits as the provider says, while others were answered: the batch never ended."""
    lying = openai_error(429, headers={"retry-after": "1000000000"})
    provider = Provider(lambda number, _: lying if number == 2 else None)
    outcome = await run(provider.ask, prompts(5), out, pipeline=PLAIN, patience="10m")
    assert (5, True) == (outcome.answered, outcome.ok)
    assert 600 <= outcome.elapsed < 700


async def test_an_alert_is_told_once_an_episode(out):
    """More than 5 % of the calls of a minute fail: the hook hears it, and the outcome has it."""
    heard = []
    provider = Provider(lambda number, _: openai_error(400) if number % 10 == 0 else None)
    outcome = await run(provider.ask, prompts(300), out, pipeline=Pipeline(bounded(10)), on_alert=heard.append)
    assert 1 == len(heard) == outcome.alerts
    assert heard[0].rate > 0.05
    quiet = await run(
        provider.ask, prompts(300), out.with_name("b.jsonl"), pipeline=Pipeline(bounded(9)), alert_over=0.5
    )
    assert 0 == quiet.alerts


@pytest.mark.parametrize("at", [7, 18, 60])
async def test_an_answer_that_a_layer_would_not_have_is_none(out, at):
    """The batch ended while the row backed off, was asked again or waited, and wrote down what had been refused."""

    class Checked(Layer):
        async def handle(self, call, proceed):
            await proceed(call)
            raise openai_error(503, headers={"retry-after": "100"})

    provider = Provider(latency=5.0)
    layers = Pipeline(retry_jitter(2, cap=10), Checked())
    task = asyncio.create_task(run(provider.ask, prompts(1), out, pipeline=layers, attempts=50))
    await asyncio.sleep(at)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {} == answers(out)


async def test_an_outage_behind_an_open_circuit_is_an_alert(out):
    """Most calls end with its refusal then, and not with the error behind it."""
    provider = Provider(lambda *_: openai_error(503) if asyncio.get_running_loop().time() < 300 else None)
    layers = Pipeline(retry_jitter(5, budget=False), bounded(100), circuit_breaker())
    outcome = await run(provider.ask, prompts(200), out, pipeline=layers)
    assert 200 == outcome.answered
    assert outcome.alerts >= 1


async def test_a_cancellation_gives_up_what_is_in_flight_and_keeps_what_was_answered(out):
    """It is raised; the files are whole and free."""
    provider = Provider()
    task = asyncio.create_task(run(provider.ask, prompts(100), out, pipeline=Pipeline(bounded(10))))
    await asyncio.sleep(3.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 30 == len(answers(out))
    assert 0 == provider.inside
    rest = await run(provider.ask, prompts(100), out, pipeline=Pipeline(bounded(10)))
    assert (70, 30) == (rest.answered, rest.before)
    assert 110 == len(provider.asked)


async def test_a_function_that_cancels_itself_is_a_dead_letter(out):
    """Its own affair, and no end of the batch."""

    async def ask(prompt):
        if prompt == "prompt 1":
            raise asyncio.CancelledError
        return prompt

    outcome = await run(ask, prompts(3), out, pipeline=PLAIN)
    assert (2, 1, 0, 3) == (outcome.answered, outcome.dead, outcome.pending, outcome.exit_code)
    assert ("asyncio.CancelledError", "cancelled") == (letters(out)[0].error.type, letters(out)[0].error.fault)


async def test_an_answer_that_came_is_kept_when_the_layers_around_it_are_cut_off(out):
    """It is paid for: a layer that takes its time afterwards must not cost it."""

    class Slow(Layer):
        async def handle(self, call, proceed):
            answer = await proceed(call)
            await asyncio.sleep(60)
            return answer

    task = asyncio.create_task(run(Provider().ask, prompts(3), out, pipeline=Pipeline(Slow())))
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 3 == len(answers(out))


async def test_no_more_rows_are_begun_than_may_be_under_way(out):
    """Whatever the layers would let through."""
    provider = Provider()
    await run(provider.ask, prompts(50), out, pipeline=PLAIN, rows_under_way=7)
    assert 7 == provider.most


async def test_rows_over_the_retry_budget_wait(out):
    """Three retries may be under way among ten calls: no row dies for lack of one."""
    rng = random.Random(1)
    provider = Provider(lambda *_: openai_error(503) if rng.random() < 0.4 else None)
    outcome = await run(provider.ask, prompts(100), out, pipeline=Pipeline(retry_jitter(10), bounded(10)))
    assert (100, 0) == (outcome.answered, outcome.dead)


async def test_a_full_disk_is_waited_for(out, monkeypatch):
    """The answer stays in memory, reading pauses, and it is written when there is room."""
    provider = Provider()
    loop = asyncio.get_running_loop()
    write_ = os.write
    began = loop.time()

    def full(fd, data):
        if 2.5 < loop.time() - began < 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_(fd, data)

    monkeypatch.setattr("sluiceway.batch.journal.os.write", full)
    outcome = await run(provider.ask, prompts(50), out, pipeline=Pipeline(bounded(5)), rows_under_way=10)
    assert (50, True) == (outcome.answered, outcome.ok)
    assert 50 == len(answers(out)) == len(provider.asked)


@pytest.mark.parametrize(
    ("layers", "rows"),
    [
        ((), 1000),
        ((bounded(100),), 200),
        ((bounded(5),), 25),
        ((bounded(50), rate_limited(rpm=600, in_flight=30)), 60),
        ((rate_limited(rpm=600),), 1000),
    ],
)
def test_rows_under_way_are_twice_the_places(layers, rows):
    """Enough that no place stays empty, and no more: rows that wait cost memory, and time in the garbage collector."""

    async def ask(prompt):
        return prompt

    assert rows == target_of(ask, Pipeline(*layers), None, "prompt", {}).rows


async def test_a_disk_that_stays_full_stops_the_batch_and_keeps_the_answers_elsewhere(tmp_path, out, monkeypatch):
    """What is paid for is in a file among the temporary ones, which the message names."""
    provider = Provider()
    loop = asyncio.get_running_loop()
    write_ = os.write
    began = loop.time()

    def full(fd, data):
        if loop.time() - began > 2.5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_(fd, data)

    monkeypatch.setattr("sluiceway.batch.journal.os.write", full)
    monkeypatch.setattr("sluiceway.batch.keeping.tempfile.gettempdir", lambda: str(tmp_path / "spare"))
    (tmp_path / "spare").mkdir()
    outcome = await run(provider.ask, prompts(50), out, pipeline=Pipeline(bounded(5)), rows_under_way=10)
    assert ("disk", 5) == (outcome.stopped.kind, outcome.exit_code)
    (rescued,) = (tmp_path / "spare").iterdir()
    assert str(rescued) in outcome.stopped.message
    assert {row.id for row in read_results(out)} | {row.id for row in read_results(rescued)} == {
        f"r{prompt.split()[1]}" for prompt in provider.asked
    }


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to tell files apart by")
async def test_a_disk_that_is_full_at_the_very_end_spoils_nothing(tmp_path, out, monkeypatch):
    """All answers are written, and only the account of the run finds no room: it is left out."""
    source = write(tmp_path / "p.jsonl", prompts(5))
    provider = Provider()
    fsync = os.fsync

    def full(fd):
        if len(provider.asked) == 5 and "manifest" in str(Path(f"/proc/self/fd/{fd}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", full)
    assert (await run(provider.ask, source, out, pipeline=PLAIN)).ok
    monkeypatch.undo()
    assert {"out.jsonl", "out.dead.jsonl", "out.manifest.json", "p.jsonl"} == {path.name for path in tmp_path.iterdir()}
    assert 5 == (await run(provider.ask, source, out, pipeline=PLAIN)).before


async def test_a_source_that_fails_stops_the_batch(out):
    """What was read is finished and saved, and the message says what happened."""

    def rows():
        yield from prompts(5)
        raise OSError("the database is gone")

    outcome = await run(Provider().ask, rows(), out, pipeline=PLAIN)
    assert ("source", 5) == (outcome.stopped.kind, outcome.exit_code)
    assert (5, False) == (outcome.answered, outcome.ok)


@pytest.mark.parametrize("where", ["file/out.jsonl", "folder.jsonl/.."])
async def test_results_that_cannot_be_written_are_refused_before_anything_is_asked(tmp_path, where):
    """A file where a folder should be, for example."""
    (tmp_path / "file").write_text("")
    provider = Provider()
    with pytest.raises((BatchError, BatchMismatch)):
        await run(provider.ask, prompts(5), tmp_path / where if "file" in where else "/proc/nowhere/out.jsonl")
    assert [] == provider.asked


async def test_calls_know_the_batchs_session_and_outer_sessions_count_them(out):
    """Statistics and spans of an application go on as they are."""
    provider = Provider()
    async with Session("app") as app:
        outcome = await run(provider.ask, prompts(5), out, pipeline=PLAIN, name="nightly")
    assert 5 == app.stats.succeeded == outcome.stats.succeeded
    assert "nightly" == outcome.stats.name


async def test_a_display_sees_the_batch_while_it_runs(out):
    """Rows, rates' limits, what is in flight and what it expects."""
    seen = []

    class Watch:
        def __init__(self, progress):
            self.progress = progress

        async def __aenter__(self):
            self.task = asyncio.create_task(self.look())

        async def __aexit__(self, *exc):
            self.task.cancel()
            seen.append(self.progress())

        async def look(self):
            await asyncio.sleep(4.5)
            seen.append(self.progress())

    await run(Provider().ask, prompts(100), out, pipeline=Pipeline(rate_limited(rpm=600, in_flight=10)), watch=Watch)
    midst, end = seen
    assert (100, {"rpm": 600}) == (midst.expected, midst.limits)
    assert 10 == midst.asking
    assert 30 <= midst.done <= 60
    assert 3 <= midst.eta <= 12
    assert (100, 0, 0.0) == (end.done, end.under_way, end.eta)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"rows_under_way": 0}, ValueError),
        ({"rows_under_way": "many"}, TypeError),
        ({"attempts": 0}, ValueError),
        ({"patience": "soon"}, ValueError),
        ({"drain": -1}, ValueError),
        ({"abort_over": 5}, ValueError),
        ({"alert_over": "5%"}, TypeError),
        ({"fsync": "sometimes"}, ValueError),
        ({"template": "none"}, ValueError),
        ({"argument": "all"}, ValueError),
        ({"system": "only for models"}, TypeError),
        ({"on_alert": 5}, TypeError),
        ({"nonsense": 5}, TypeError),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_done(tmp_path, out, options, error):
    """With the argument's name."""
    with pytest.raises(error, match=next(iter(options))):
        await run(Provider().ask, prompts(1), out, **options)
    assert [] == list(tmp_path.iterdir())


async def test_a_function_that_is_not_asynchronous_is_refused(out):
    """As everywhere."""
    with pytest.raises(TypeError, match="AsyncOpenAI"):
        await run(write, prompts(1), out)
