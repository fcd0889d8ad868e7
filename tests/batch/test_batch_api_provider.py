"""The Batch API's calls through the real client, against the embedded provider."""

import pytest

from batch_provider import run_once, written
from sluiceway.batch.batch_api import BatchApi
from sluiceway.providers.openai import client
from sluiceway.simulator import Simulator

pytestmark = pytest.mark.real


@pytest.fixture
async def sim():
    """A provider that fails a few requests."""
    async with Simulator(seed=1, errors={500: 0.1}) as running:
        yield running


async def test_a_source_is_answered_through_files_and_batches(sim, tmp_path):
    """Uploaded, run, downloaded and merged; what was uploaded is deleted again."""
    async with client(base_url=sim.base_url, api_key="sim") as api:
        assert await run_once(tmp_path, BatchApi(api), 25)
        left = [file.purpose async for file in await api.files.list()]
    rows, dead = written(tmp_path)
    assert {f"id-{n}" for n in range(25)} == {row["id"] for row in rows + dead}
    assert (3, len(rows), len(dead)) == (sim.ledger.batches, sim.ledger.batch_answered, sim.ledger.batch_failed)
    assert {"batch_output"} == set(left)


async def test_what_was_downloaded_is_on_disk_before_it_is_there(sim, tmp_path, forced):
    """A power cut left an empty file in its place, and of an empty file every row is a dead letter."""
    async with client(base_url=sim.base_url, api_key="sim") as api:
        assert await run_once(tmp_path, BatchApi(api), 5)
    assert tmp_path / "answers.batch-api" / "part-0001.output.tmp" in forced


async def test_a_batch_is_found_by_its_key(sim, tmp_path):
    """And one that is not there is not."""
    async with client(base_url=sim.base_url, api_key="sim") as real:
        api = BatchApi(real)
        path = tmp_path / "in.jsonl"
        path.write_text("{}\n")
        file = await api.upload(path)
        made = await real.batches.create(
            input_file_id=file,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"sluiceway_key": "k7"},
        )
        found = await api.find("k7")
        assert found is not None
        assert made.id == found.id
        assert await api.find("k8") is None
