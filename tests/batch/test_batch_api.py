"""A batch by way of the Batch API, on virtual time: every row answered or buried once, every batch paid for once."""

import asyncio
import json
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_provider import Account, Killed, ProviderOfBatches, run_once, tasks, written
from sluiceway.batch.batch_api import PartLimits, PartStore, TaskTooLarge, driving, split
from sluiceway.testing import openai_error, run


@pytest.fixture(autouse=True)
def no_doubt(monkeypatch):
    """The wall clock stands still on virtual time: a lost request is given no time to arrive."""
    monkeypatch.setattr(driving, "_IN_DOUBT", 0.0)


def test_every_row_is_answered_and_every_part_is_one_batch(tmp_path):
    """Rows come out under their own ids, with usage, half the price and what they waited for."""
    account = Account(batch_time="100s")
    assert run(run_once(tmp_path, ProviderOfBatches(account), 25))
    rows, dead = written(tmp_path)
    assert ([f"id-{n}" for n in range(25)], []) == ([row["id"] for row in rows], dead)
    assert (3, 25) == (account.ledger.batches, account.ledger.batch_answered)
    first = rows[0]
    assert (0, 1.0, 1, 100.0, "gpt-4o-mini") == (
        first["index"],
        first["cost_usd"],
        first["attempts"],
        first["latency_s"],
        first["model"],
    )
    assert {"input_tokens": 10, "output_tokens": 16} == first["usage"]
    assert {"batch api": 100.0} == first["waited_s"]
    assert ["answers.jsonl"] == [path.name for path in tmp_path.iterdir()]


def test_failed_and_expired_requests_are_dead_letters_with_their_rows(tmp_path):
    """What the provider could not answer, and what it did not get to, each with why."""
    account = Account(errors={500: 0.2, 400: 0.1}, batch_expired=0.2)
    assert run(run_once(tmp_path, ProviderOfBatches(account), 100, limits=PartLimits()))
    rows, dead = written(tmp_path)
    assert {f"id-{n}" for n in range(100)} == {row["id"] for row in rows} | {letter["id"] for letter in dead}
    assert 100 == len(rows) + len(dead)
    by_code = {(letter["error"]["type"], letter["error"]["fault"], letter["attempts"]) for letter in dead}
    assert {
        ("openai.InternalServerError", "transient", 1),
        ("openai.BadRequestError", "ours_to_fix", 1),
        ("BatchRequestFailed", "unknown", 0),
    } == by_code
    assert all({"id": letter["id"], "prompt": f"{letter['index']:040d}"} == letter["request"] for letter in dead)
    assert all(letter["index"] + 1 == letter["line"] for letter in dead)


def test_requests_of_two_models_go_into_two_batches(tmp_path):
    """A batch has one model."""
    account = Account()
    run(run_once(tmp_path, ProviderOfBatches(account), 20, models=("a", "b"), limits=PartLimits()))
    assert (2, 20) == (account.ledger.batches, len(written(tmp_path)[0]))


# ------------------------------------------------------------------ dying


@settings(max_examples=60, deadline=None)
@given(deaths=st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=5))
def test_whenever_a_run_dies_no_batch_is_begun_twice_and_no_row_is_lost(deaths):
    """A run that dies at any call, before or after the provider heard it, is taken up by the next."""
    account = Account(batch_time="50s", errors={500: 0.2})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dies_at, works in deaths:
            try:
                run(run_once(folder, ProviderOfBatches(account, dies_at, works), 25))
            except Killed:
                account.earlier += 1000.0
        assert run(run_once(folder, ProviderOfBatches(account), 25))
        rows, dead = written(folder)
    assert sorted(range(25)) == sorted(row["index"] for row in rows + dead)
    assert 3 == account.ledger.batches
    assert 0 == account.ledger.answered_twice


def test_a_run_that_dies_while_it_merges_writes_nothing_twice(tmp_path):
    """Half of a part in the results is known when the part is merged again."""
    account = Account()
    with pytest.raises(Killed):  # upload, create, retrieve, download are over then
        run(run_once(tmp_path, ProviderOfBatches(account, 5), 10))
    answers = tmp_path / "answers.jsonl"
    assert 10 == len(answers.read_bytes().splitlines())
    half = b"".join(answers.read_bytes().splitlines(keepends=True)[:4])
    answers.write_bytes(half + b'{"id":"id-4","ind')
    log = tmp_path / "answers.batch-api" / "parts.jsonl"
    kept = [line for line in log.read_bytes().splitlines(keepends=True) if b'"merged":false' in line]
    log.write_bytes(b"".join(kept) + b'{"torn')
    assert run(run_once(tmp_path, ProviderOfBatches(account), 10))
    assert [f"id-{n}" for n in range(10)] == [row["id"] for row in written(tmp_path)[0]]


def test_a_batch_whose_creation_is_in_doubt_is_looked_for_before_it_is_asked_for_again(tmp_path, monkeypatch):
    """For ten seconds it is only looked for: a request that died with its sender may still arrive."""
    monkeypatch.setattr(driving, "_IN_DOUBT", 10.0)
    clock = [1000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    account = Account()
    with pytest.raises(Killed):
        run(run_once(tmp_path, ProviderOfBatches(account, 2, works=False), 5))
    api = ProviderOfBatches(account)

    async def later():
        running = asyncio.create_task(run_once(tmp_path, api, 5))
        await asyncio.sleep(30)
        asked = list(api.calls)
        clock[0] += 11
        await running
        return asked

    assert ["find", "find"] == run(later())
    assert 1 == account.ledger.batches


# ------------------------------------------------------------------ trouble


def test_a_failure_that_passes_is_tried_again(tmp_path):
    """A 503 when the batch was made: it is found by its key, and not made again."""
    account, told = Account(), []
    api = ProviderOfBatches(account, 2, error=lambda: openai_error(503))
    assert run(run_once(tmp_path, api, 5, hear=lambda progress: told.append(str(progress))))
    assert ["upload", "create", "find", "retrieve"] == api.calls[:4]
    assert 1 == account.ledger.batches
    assert "InternalServerError, will try again" in told[0]


@pytest.mark.parametrize(
    "error", [lambda: openai_error(500, headers={"x-should-retry": "false"}), lambda: ValueError("no JSON")]
)
def test_an_error_that_is_no_refusal_leaves_the_batch_in_doubt(tmp_path, error):
    """The batch was made, its answer was not to be read, and the next run asked and paid for a second one."""
    account = Account()
    with pytest.raises(type(error())):
        run(run_once(tmp_path, ProviderOfBatches(account, 2, error=error), 5))
    assert run(run_once(tmp_path, ProviderOfBatches(account), 5))
    assert (1, 5) == (account.ledger.batches, len(written(tmp_path)[0]))


def test_a_refusal_for_good_is_raised_as_it_is_and_nothing_is_lost(tmp_path):
    """Without money the run stops; with money the next one goes on."""
    account = Account()
    error = openai_error(429, code="insufficient_quota")
    with pytest.raises(type(error), match="429"):
        run(run_once(tmp_path, ProviderOfBatches(account, 2, works=False, error=lambda: error), 5))
    assert run(run_once(tmp_path, ProviderOfBatches(account), 5))
    assert (1, 5) == (account.ledger.batches, len(written(tmp_path)[0]))


def test_parts_that_the_account_has_no_room_for_wait_for_the_others(tmp_path):
    """Refused after it was made, a batch is asked for again when another is over."""
    account = Account(batch_time="100s", batch_enqueued_tokens=250)
    assert run(run_once(tmp_path, ProviderOfBatches(account), 60))
    assert ([], 60) == (written(tmp_path)[1], account.ledger.batch_answered)


def test_with_a_limit_on_tokens_no_part_is_refused(tmp_path):
    """Only so many parts run at a time as fit into it together."""
    account = Account(batch_time="100s", batch_enqueued_tokens=600)
    limits = PartLimits(requests=10, tokens=600)
    assert run(run_once(tmp_path, ProviderOfBatches(account), 60, limits=limits))
    assert (6, 60) == (account.ledger.batches, account.ledger.batch_answered)


def test_a_part_that_is_more_than_the_account_may_enqueue_says_what_to_do(tmp_path):
    """It would wait for ever."""
    with pytest.raises(ValueError, match="split smaller"):
        run(run_once(tmp_path, ProviderOfBatches(Account(batch_enqueued_tokens=50)), 25))


def test_a_batch_that_fails_as_a_whole_buries_its_rows_with_the_reason(tmp_path):
    """Nothing of it ran, so nothing was paid."""
    account = Account()
    store = PartStore(tmp_path / "answers.batch-api")
    run(split(tasks(3), store, PartLimits()))
    content = store.input_of(1).read_bytes()
    store.input_of(1).write_bytes(content.replace(b"POST", b"GET", 1))
    assert run(run_once(tmp_path, ProviderOfBatches(account), 3))
    rows, dead = written(tmp_path)
    assert ([], 3, {"invalid_method"}) == (rows, len(dead), {letter["error"]["code"] for letter in dead})
    assert "line 1" in dead[0]["error"]["message"]


def test_a_run_that_is_stopped_leaves_the_batches_to_the_provider(tmp_path):
    """What they answered meanwhile is there for the next run."""
    account = Account(batch_time="1h")

    async def stopped():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(60, stop.set)
        return await run_once(tmp_path, ProviderOfBatches(account), 25, stop=stop)

    assert run(stopped()) is False
    account.earlier = 3600.0
    api = ProviderOfBatches(account)
    assert run(run_once(tmp_path, api, 25))
    assert {"retrieve", "download", "delete"} == set(api.calls)
    assert (3, 25) == (account.ledger.batches, len(written(tmp_path)[0]))


# ------------------------------------------------------------------ splitting


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 60), requests=st.integers(1, 20), size=st.integers(250, 2000))
def test_parts_are_within_the_limits_and_together_are_the_source(count, requests, size):
    """In its order, none larger than allowed."""
    with tempfile.TemporaryDirectory() as name:
        store = PartStore(Path(name) / "parts")
        parts = run(split(tasks(count), store, PartLimits(requests=requests, bytes=size)))
        contents = [store.input_of(part.number).read_bytes() for part in parts]
        again = PartStore(store.folder)
        assert again.load() is True
    assert all(0 < part.requests <= requests for part in parts)
    assert all(len(content) <= size for content in contents)
    ids = [json.loads(line)["custom_id"] for content in contents for line in content.splitlines()]
    assert [f"row-{n}" for n in range(count)] == ids
    assert {part.number: part for part in parts} == again.parts


def test_parts_are_on_disk_before_the_log_says_that_they_are(tmp_path, forced):
    """A power cut left the log, and of what it names nothing: the answers to rows that nobody knew were passed over."""
    store = PartStore(tmp_path / "parts")
    run(split(tasks(3), store, PartLimits()))
    assert {store.input_of(1), store.rows_of(1)} <= set(forced[:-1])
    assert store.folder / "parts.tmp" == forced[-1]


def test_a_request_larger_than_a_batch_is_an_error_or_told_to_who_asks(tmp_path):
    """The rest is split without it."""
    limits = PartLimits(bytes=100)
    with pytest.raises(TaskTooLarge, match="'id-0' takes"):
        run(split(tasks(1), PartStore(tmp_path), limits))
    refused = []
    run(split(tasks(2), PartStore(tmp_path), limits, refuse=lambda task, error: refused.append(task.id)))
    assert ["id-0", "id-1"] == refused


def test_a_source_that_was_not_split_to_its_end_is_split_anew(tmp_path):
    """Nothing of it was sent anywhere."""
    store = PartStore(tmp_path / "parts")
    store.folder.mkdir()
    store.input_of(1).write_bytes(b"half")
    assert store.load() is False
    assert not store.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"requests": 0}, ValueError),
        ({"requests": 50_001}, ValueError),
        ({"bytes": 1.5}, TypeError),
        ({"tokens": 0}, ValueError),
    ],
)
def test_limits_are_those_of_the_api_or_less(arguments, error):
    """More would be refused by the provider after the upload."""
    with pytest.raises(error, match=next(iter(arguments))):
        PartLimits(**arguments)
