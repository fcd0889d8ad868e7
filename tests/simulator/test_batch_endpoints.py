"""Files and batches of the embedded provider through the real client."""

import json

import openai
import pytest
from openai import AsyncOpenAI

from sluiceway.simulator import Simulator

pytestmark = pytest.mark.real


@pytest.fixture
async def sim():
    """A provider without limits or faults."""
    async with Simulator(seed=1) as running:
        yield running


@pytest.fixture
async def client(sim):
    """The real client, without retries of its own."""
    async with AsyncOpenAI(base_url=sim.base_url, api_key="sim", max_retries=0) as real:
        yield real


def content(count):
    """Return an input file of so many requests."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello."}]}
    head = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    return b"".join(json.dumps(head | {"custom_id": f"row-{n}"}).encode() + b"\n" for n in range(count))


async def begun(client, count, **options):
    """Upload so many requests and begin their batch."""
    file = await client.files.create(file=("in.jsonl", content(count)), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **options
    )


async def test_a_batch_from_upload_to_download(sim, client):
    """What the client uploads, it finds answered in the output file."""
    begun_batch = await begun(client, 3, metadata={"job": "7"})
    assert ("validating", {"job": "7"}) == (begun_batch.status, begun_batch.metadata)
    batch = await client.batches.retrieve(begun_batch.id)
    assert ("completed", 3, 3) == (batch.status, batch.request_counts.total, batch.request_counts.completed)
    assert batch.error_file_id is None
    lines = (await client.files.content(batch.output_file_id)).text.splitlines()
    assert ["row-0", "row-1", "row-2"] == [json.loads(line)["custom_id"] for line in lines]
    assert (1, 3) == (sim.ledger.batches, sim.ledger.batch_answered)


async def test_errors_have_a_file_of_their_own(sim, client):
    """It is named by the batch only when there are some."""
    sim.set(errors={500: 1})
    batch = await client.batches.retrieve((await begun(client, 2)).id)
    lines = (await client.files.content(batch.error_file_id)).text.splitlines()
    assert [500, 500] == [json.loads(line)["response"]["status_code"] for line in lines]
    assert 2 == batch.request_counts.failed


async def test_batches_are_listed_in_pages_the_last_one_first(client):
    """A client that forgot the id of its batch finds it by its metadata."""
    for number in range(5):
        await begun(client, 1, metadata={"job": str(number)})
    listed = [batch.metadata["job"] async for batch in await client.batches.list(limit=2)]
    assert ["4", "3", "2", "1", "0"] == listed


async def test_files_are_described_listed_and_deleted(client):
    """An upload has a name, a size and a purpose, until it is deleted."""
    file = await client.files.create(file=("in.jsonl", content(1)), purpose="batch")
    assert ("in.jsonl", len(content(1)), "batch") == (file.filename, file.bytes, file.purpose)
    assert [file.id] == [each.id async for each in await client.files.list()]
    assert (await client.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(file.id)


async def test_a_batch_that_is_cancelled_ends(sim, client):
    """First it is cancelling, then cancelled."""
    sim.set(batch_time="1h")
    batch = await begun(client, 1)
    assert "cancelling" == (await client.batches.cancel(batch.id)).status
    assert "cancelled" == (await client.batches.retrieve(batch.id)).status


async def test_what_makes_no_sense_is_refused(client):
    """Another purpose, an unknown file, another window, an unknown batch."""
    with pytest.raises(openai.BadRequestError, match="purpose"):
        await client.files.create(file=("in.jsonl", b"{}"), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="Cannot find file"):
        await client.batches.create(input_file_id="file-9", endpoint="/v1/chat/completions", completion_window="24h")
    file = await client.files.create(file=("in.jsonl", b"{}"), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="completion_window"):
        await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="1h")
    with pytest.raises(openai.BadRequestError, match="endpoint"):
        await client.batches.create(input_file_id=file.id, endpoint="/v1/other", completion_window="24h")
    with pytest.raises(openai.NotFoundError):
        await client.batches.retrieve("batch_9")


async def test_an_outage_stops_files_and_batches_too(sim, client):
    """With the status of the outage."""
    sim.outage()
    with pytest.raises(openai.InternalServerError):
        await client.batches.list()
