"""A whole batch by way of the Batch API, from a source to its results, against the embedded provider."""

import asyncio
import json
import sys

import openai
import pytest
from click.testing import CliRunner

from batch_provider import written
from sluiceway.batch import BatchError, BatchMismatch, PartLimits, run_over_batch_api
from sluiceway.batch import run as run_by_calls
from sluiceway.cli.batch import batch_command
from sluiceway.providers.openai import client
from sluiceway.simulator import Simulator, spawn

pytestmark = pytest.mark.real


@pytest.fixture
async def sim():
    """A provider without faults, that answers what it was asked."""
    async with Simulator(seed=1, answer="You said {prompt}") as running:
        yield running


@pytest.fixture
async def api(sim):
    """Its client."""
    async with client(base_url=sim.base_url, api_key="sim") as real:
        yield real


def source(folder, count, *more):
    """Write so many rows, and *more* lines, and return the file."""
    path = folder / "prompts.jsonl"
    rows = [json.dumps({"id": f"a{n}", "prompt": f"number {n}"}) for n in range(count)]
    path.write_text("\n".join([*rows, *more]) + "\n")
    return path


def run(folder, path, api, **options):
    """Run the batch of *path* in *folder*."""
    return run_over_batch_api("gpt-4o-mini", path, folder / "answers.jsonl", client=api, poll="10ms", **options)


async def broken_off(sim, batches, running):
    """Cancel *running* when so many batches are begun."""
    task = asyncio.create_task(running)
    while sim.ledger.batches < batches:  # noqa: ASYNC110 - the provider tells nobody
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_every_row_is_answered_for_half_the_price(sim, api, tmp_path):
    """And what the run came to is what any other run says."""
    done = await run(tmp_path, source(tmp_path, 30), api, limits=PartLimits(requests=10))
    rows, dead = written(tmp_path)
    assert {f"a{n}": f"You said number {n}" for n in range(30)} == {row["id"]: row["output"] for row in rows}
    assert ([], 3, 30, True, 0) == (dead, sim.ledger.batches, done.answered, done.ok, done.exit_code)
    tokens = rows[0]["usage"]
    whole = (tokens["input_tokens"] * 0.15 + tokens["output_tokens"] * 0.6) / 1e6
    assert whole / 2 == pytest.approx(rows[0]["cost_usd"], rel=1e-4)
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(done.stats.cost)
    manifest = json.loads((tmp_path / "answers.manifest.json").read_text())
    assert ("batch api", 30) == (manifest["runs"][0]["via"], manifest["runs"][0]["answered"])


async def test_bad_rows_and_rows_of_one_id_are_dead_letters(api, tmp_path):
    """As in any other run; another one adds nothing."""
    path = source(tmp_path, 2, "{broken", '{"id": "a1", "prompt": "again"}', '{"id": "x", "nothing": 1}')
    for answered in (2, 0):
        done = await run(tmp_path, path, api)
        assert (answered, 5, 3) == (done.answered, done.rows, done.dead_in_all)
    _, dead = written(tmp_path)
    assert ["not JSON", "duplicate id", "missing column"] == [letter["error"]["type"] for letter in dead]
    assert 3 == done.exit_code


async def test_a_row_that_is_corrected_leaves_the_dead_letters(api, tmp_path):
    """As in any other run; the other bad one stays."""
    await run(tmp_path, source(tmp_path, 2, "{broken", "{broken too"), api)
    done = await run(tmp_path, source(tmp_path, 2, "{broken", '{"id": "x", "prompt": "mended"}'), api, resume=True)
    assert (1, 1, 3) == (done.answered, done.dead_in_all, done.exit_code)
    assert [2] == [letter["index"] for letter in written(tmp_path)[1]]


async def test_rows_that_cannot_be_written_are_dead_letters(api, tmp_path):
    """And the rows beside them are answered; what is nested too deeply to be written differs between Pythons."""
    deep = '{"id": "deep", "prompt": "x", "more": ' + "[" * 985 + "]" * 985 + "}"
    done = await run(tmp_path, source(tmp_path, 2, deep, '{"custom_id": "u", "url": ["x"], "body": {}}'), api)
    assert (4, True) == (done.answered + done.dead, done.complete)
    _, dead = written(tmp_path)
    kinds = {letter["id"] if letter["stage"] == "call" else None: letter["error"]["type"] for letter in dead}
    assert "bad url" == kinds.pop(None)
    assert kinds == {"deep": "RecursionError"} or (kinds == {} and sys.version_info >= (3, 12))


async def test_a_run_that_ends_is_taken_up_by_the_next(sim, api, tmp_path):
    """It ends in the middle of waiting; no batch is begun twice."""
    sim.set(batch_time="1h")
    path = source(tmp_path, 20)
    await broken_off(sim, 4, run(tmp_path, path, api, limits=PartLimits(requests=5)))
    sim.set(batch_time=0)
    for batch in [each async for each in await api.batches.list()]:
        await api.batches.cancel(batch.id)
    done = await run(tmp_path, path, api)
    assert (4, 20, 0, 0) == (sim.ledger.batches, done.dead, done.answered, done.before)


async def test_rows_that_were_appended_meanwhile_are_asked_by_the_run_that_takes_up_the_rest(sim, api, tmp_path):
    """First what was under way is merged, then what is new."""
    sim.set(batch_time="1h")
    await broken_off(sim, 1, run(tmp_path, source(tmp_path, 5), api))
    (batch,) = [each async for each in await api.batches.list()]
    await api.batches.cancel(batch.id)
    sim.set(batch_time=0)
    done = await run(tmp_path, source(tmp_path, 8), api)
    assert (3, 5, 8, 0, True) == (done.answered, done.dead, done.rows, done.before, done.complete)
    assert 2 == sim.ledger.batches


@pytest.mark.parametrize("resume", [None, True])
async def test_what_is_at_the_provider_is_not_asked_by_calls(sim, api, tmp_path, resume):
    """It would be paid for twice; the run that goes on by the Batch API pays for it once."""
    sim.set(batch_time="1h")
    path, out = source(tmp_path, 5), tmp_path / "answers.jsonl"
    await broken_off(sim, 1, run(tmp_path, path, api))
    with pytest.raises(BatchError, match=r"answers\.batch-api .*--via batch-api.*--restart"):
        await run_by_calls("gpt-4o-mini", path, out, client=api, resume=resume)
    (batch,) = [each async for each in await api.batches.list()]
    await api.batches.cancel(batch.id)
    await run(tmp_path, path, api)
    assert 5 == (await run_by_calls("gpt-4o-mini", path, out, client=api)).before
    assert 0 == sim.ledger.answered


async def test_a_batch_that_begins_anew_moves_aside_what_is_at_the_provider(sim, api, tmp_path):
    """It is taken up under the name of the results that were moved."""
    sim.set(batch_time="1h")
    path, out = source(tmp_path, 5), tmp_path / "answers.jsonl"
    await broken_off(sim, 1, run(tmp_path, path, api))
    assert 5 == (await run_by_calls("gpt-4o-mini", path, out, client=api, resume=False)).answered
    (moved,) = tmp_path.glob("answers.before-*.batch-api")
    (batch,) = [each async for each in await api.batches.list()]
    await api.batches.cancel(batch.id)
    earlier = moved.with_suffix(".jsonl")
    assert 5 == (await run_over_batch_api("gpt-4o-mini", path, earlier, client=api, poll="10ms")).dead
    assert 1 == sim.ledger.batches


@pytest.mark.parametrize(("poll", "error"), [("often", ValueError), (0, ValueError), (None, TypeError)])
async def test_a_wrong_poll_is_refused_before_anything_is_moved_aside(api, tmp_path, poll, error):
    """It was looked at when the files of before had other names already."""
    path, out = source(tmp_path, 3), tmp_path / "answers.jsonl"
    assert (await run(tmp_path, path, api)).ok
    before = out.read_bytes()
    with pytest.raises(error, match="poll"):
        await run_over_batch_api("gpt-4o-mini", path, out, client=api, poll=poll, resume=False)
    assert before == out.read_bytes()


async def test_a_run_with_another_source_refuses_results_that_are_there(api, tmp_path):
    """The same manifest guards them."""
    await run(tmp_path, source(tmp_path, 2), api)
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "else"}\n')
    with pytest.raises(BatchMismatch):
        await run(tmp_path, other, api)


async def test_requests_of_all_endpoints_and_with_fields_that_the_client_does_not_know_are_sent(sim, api, tmp_path):
    """Each endpoint in a batch of its own; the body is what the row says."""
    path = tmp_path / "prompts.jsonl"
    bodies = [
        {"custom_id": "c", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "hi"}]}},
        {"custom_id": "r", "url": "/v1/responses", "body": {"input": "hi", "brand_new": 7}},
        {"custom_id": "e", "url": "/v1/embeddings", "body": {"input": "hi", "dimensions": 2}},
    ]
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    await run(tmp_path, path, api)
    rows, dead = written(tmp_path)
    outputs = {row["id"]: row["output"] for row in rows}
    assert ("You said hi", "You said hi", 2, []) == (outputs["c"], outputs["r"], len(outputs["e"]), dead)
    assert 3 == sim.ledger.batches


async def test_without_money_the_run_stops_and_says_what_to_do(sim, api, tmp_path):
    """Nothing is lost; the next run goes on."""
    path, out = source(tmp_path, 3), 401
    refused = openai.AuthenticationError("no", response=_response(out), body=None)
    create, api.batches.create = api.batches.create, None

    async def refuse(**_):
        raise refused

    api.batches.create = refuse
    done = await run(tmp_path, path, api)
    assert ("unauthorized", 4, 3) == (done.stopped.kind, done.exit_code, done.pending)
    api.batches.create = create
    assert (await run(tmp_path, path, api)).ok


def _response(status):
    import httpx2

    return httpx2.Response(status, request=httpx2.Request("POST", "http://x"))


# ------------------------------------------------------------------ the command


@pytest.fixture
async def elsewhere(monkeypatch):
    """A provider in a process of its own, since the command runs a loop of its own."""
    async with spawn(seed=1, errors={500: 0.1}) as sim:
        monkeypatch.setenv("OPENAI_BASE_URL", sim.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sim")
        yield sim


async def test_the_command_takes_a_file_through_the_batch_api(elsewhere, tmp_path):
    """It tells how far it is, and ends with the code of any batch."""
    words = ["-o", str(tmp_path / "answers.jsonl"), "--model", "gpt-4o-mini", "--via", "batch-api", "--poll", "50ms"]
    command = [str(source(tmp_path, 100)), *words]
    done = await asyncio.to_thread(CliRunner().invoke, batch_command, command)
    rows, dead = written(tmp_path)
    assert (3, 100) == (done.exit_code, len(rows) + len(dead)), done.output
    assert "1 of 1 parts merged" in done.output
    assert f"{len(rows)} answered" in done.output
    ledger = await elsewhere.ledger()
    assert (1, len(rows)) == (ledger.batches, ledger.batch_answered)


async def test_a_server_without_batches_is_one_line_and_no_traceback(elsewhere, tmp_path):
    """As most servers of one's own are."""
    words = ["-o", str(tmp_path / "answers.jsonl"), "--model", "gpt-4o-mini", "--via", "batch-api"]
    url = elsewhere.url + "/without"
    done = await asyncio.to_thread(
        CliRunner().invoke, batch_command, [str(source(tmp_path, 3)), *words, "--base-url", url]
    )
    assert (4, SystemExit) == (done.exit_code, type(done.exception))
    assert "Error: the provider refuses: Error code: 404 - POST /without/files is not served here" in done.output


def test_the_command_refuses_what_is_about_calls(tmp_path):
    """The provider makes them, in its own time."""
    words = [str(source(tmp_path, 1)), "-o", str(tmp_path / "a.jsonl"), "--model", "m", "--via", "batch-api"]
    done = CliRunner().invoke(batch_command, [*words, "--rpm", "5"])
    assert (2, True) == (done.exit_code, "--rpm is about calls" in done.output)
