"""Who hears the signals while a batch runs."""

from __future__ import annotations

import asyncio
import os
import signal
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
