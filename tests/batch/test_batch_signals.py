"""Who hears the signals while a batch runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from sluiceway.batch.signals import Signals

pytestmark = pytest.mark.real


@pytest.fixture
def handlers():
    """Both signals as a fresh process has them, and afterwards as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_signals_are_heard_and_given_back(handlers):
    """Inside by the batch, afterwards by whoever heard them before."""
    heard = asyncio.Queue()
    before = signal.getsignal(signal.SIGINT)  # asyncio's own, which cancels the main task
    with Signals(heard.put_nowait):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert {signal.SIGTERM, signal.SIGINT} == {await heard.get(), await heard.get()}
    assert signal.SIG_DFL == signal.getsignal(signal.SIGTERM)
    assert before == signal.getsignal(signal.SIGINT)


async def test_a_program_that_handles_its_end_goes_on_to(handlers):
    """A web server shuts down as it always did."""
    mine = []
    signal.signal(signal.SIGTERM, lambda *_: mine.append("SIGTERM"))
    with Signals(lambda _: mine.append("the batch")):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
    assert ["SIGTERM"] == mine


async def test_other_threads_hear_none(handlers):
    """Python gives signals to the main thread only."""

    async def inside():
        with Signals(lambda _: None):
            return signal.getsignal(signal.SIGTERM)

    found = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(inside())))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert [signal.SIG_DFL] == found


SCRIPT = """
import asyncio, os, signal
from sluiceway.batch.signals import Signals

async def main():
    heard = []
    with Signals(heard.append):
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(0)
        os.waitpid(child, 0)
        await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        while signal.SIGTERM not in heard:
            await asyncio.sleep(0.01)
    print(*heard)

asyncio.run(main())
"""


def test_the_signal_of_a_forked_process_is_not_ours():
    """Ctrl-C reaches those of a pool too: each was heard as one more, and the second ends a batch at once."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (f"{signal.SIGTERM:d}\n", "") == (done.stdout, done.stderr)
