"""Standard output and standard error of commands, where nobody reads them."""

import asyncio
import json
import os
import sys

import pytest


@pytest.mark.real
@pytest.mark.parametrize("command", ["demo --calls 5", "simulate", "report {results}", "schema"])
async def test_a_reader_that_has_gone_is_no_error_to_tell_of(command, tmp_path):
    """As of `| head -1`: nothing is left to be said, and nobody to hear it."""
    results = tmp_path / "a.jsonl"
    row = {"id": 1, "index": 0, "output": "x", "model": "m", "finished_at": 1.0, "latency_s": 1.0}
    results.write_text(json.dumps(row) + "\n")
    read, write = os.pipe()
    os.close(read)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sluiceway", *command.format(results=results).split()),
        stdout=write,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(write)
    _, told = await process.communicate()
    assert (b"", 1) == (told, process.returncode)
