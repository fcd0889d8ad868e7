"""The simulated provider in its own process."""

import asyncio
import os
import signal
import sys

import openai
import pytest
from openai import AsyncOpenAI

from sluiceway.simulator import Behaviour, SimulatorProcess, spawn

pytestmark = pytest.mark.real

MESSAGES = [{"role": "user", "content": "x" * 40}]

# A parent that starts a simulator, says so, and dies without a word when it reads a line.
PARENT = """
import asyncio, os, sys
from sluiceway.simulator import spawn

async def main():
    async with spawn() as sim:
        print(sim.pid, flush=True)
        sys.stdin.readline()
        os.kill(os.getpid(), 9)

asyncio.run(main())
"""


async def test_serves_changes_and_reports():
    """It answers the real client, changes the weather, tells its ledger, and keeps the last one."""
    async with (
        spawn(rpm=6000, errors={503: 1}) as sim,
        AsyncOpenAI(base_url=sim.base_url, api_key="sim", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", messages=MESSAGES)
        await sim.set(errors={})
        await client.chat.completions.create(model="m", messages=MESSAGES)
        await sim.outage()
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", messages=MESSAGES)
        assert sim.behaviour == Behaviour.of(rpm=6000, outage=True)
        during = await sim.ledger()
    after = await sim.ledger()
    assert (3, 2, 1, 1) == (during.offered, during.accepted, during.failed, during.answered)
    assert during.by_status == after.by_status == {200: 1, 503: 2}
    with pytest.raises(RuntimeError, match="not running"):
        _ = sim.base_url


async def test_dies_with_its_parent():
    """When its parent is killed, the simulator ends too."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=-1
    )
    pid = int(await parent.stdout.readline())
    os.kill(pid, 0)
    # The simulator inherited the parent's stderr: its end of file comes when both are gone.
    _, errors = await parent.communicate(b"\n")
    assert b"" == errors
    assert -signal.SIGKILL == parent.returncode


async def test_sigterm_ends_it_with_a_ledger():
    """SIGTERM ends the process in order: leaving the block then still has the ledger."""
    async with spawn() as sim:
        os.kill(sim.pid, signal.SIGTERM)
    assert (await sim.ledger()).offered == 0


async def test_one_that_does_not_end_is_killed(monkeypatch):
    """A process that stays silent at its end is killed; there is no ledger then."""
    monkeypatch.setattr("sluiceway.simulator.process._STOP", 0.01)
    async with spawn() as sim:
        os.kill(sim.pid, signal.SIGSTOP)
    with pytest.raises(RuntimeError, match="not running"):
        await sim.ledger()


async def test_a_start_that_fails_is_an_error(capfd):
    """A port that is taken ends the process, which is an error here; nothing stays behind."""
    async with spawn() as sim:
        taken = SimulatorProcess(port=int(sim.url.rpartition(":")[2]))
        with pytest.raises(RuntimeError, match="instead of listening"):
            await taken.__aenter__()
        assert taken.pid is None
        with pytest.raises(RuntimeError, match="running already"):
            await sim.__aenter__()
    assert "in use" in capfd.readouterr().err


def test_nonsense_is_refused_before_a_process_starts():
    """Settings are checked when the object is made."""
    with pytest.raises(ValueError, match="rpm=-1"):
        spawn(rpm=-1)
    assert "not running" in repr(spawn())


async def test_run_by_hand_says_what_it_is():
    """Started by hand, the module names the command that people want."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sluiceway.simulator", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate(b"")
    assert b"`sluiceway simulate`" in errors
