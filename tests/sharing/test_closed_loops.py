"""Event loops that are closed without a word, as old code does it: `run_until_complete` and `close`."""

import asyncio
import contextlib
import threading

import pytest

from sluiceway.backends.memory import MemoryServer, MemoryStore
from sluiceway.errors import BoundExceeded, BudgetExceeded
from sluiceway.layers.bounded import bounded
from sluiceway.layers.budgeted import budgeted
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.testing import ScriptedProvider, VirtualTimeLoop, completion, run


@pytest.fixture
def server():
    return MemoryServer("2ms")


def closed_upon(main):
    """Run *main* in a loop that is closed with its tasks under way."""
    loop = VirtualTimeLoop()
    loop.set_exception_handler(lambda _loop, _context: None)  # it says that tasks were destroyed
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


def test_places_are_leased_anew(server):
    """Those of the loop before are others' by now; nobody has renewed their lease."""
    layer, other = (bounded(5, max_wait=0, store=MemoryStore(server)) for _ in range(2))
    ask, hold = layer(ScriptedProvider(1)), other(ScriptedProvider(1, latency=60))
    closed_upon(ask())

    async def later():
        await asyncio.sleep(11)
        holding = [asyncio.create_task(hold()) for _ in range(5)]
        await asyncio.sleep(1)
        assert 5 == other.snapshot()[0].in_flight
        with pytest.raises(BoundExceeded):
            await ask()
        await asyncio.gather(*holding)
        await ask()

    run(later())


def test_a_slice_of_a_budget_is_leased_anew(server):
    """The other process got it when the lease was over."""
    provider = ScriptedProvider(completion(prompt_tokens=100, completion_tokens=0))
    asks = [budgeted(tokens=2_000, count=lambda call: 100, store=MemoryStore(server))(provider) for _ in range(2)]

    async def told():
        await asks[0]()
        await asyncio.sleep(0.5)

    async def later():
        await asyncio.sleep(11)
        for ask in reversed(asks):
            with contextlib.suppress(BudgetExceeded):
                for _ in range(100):
                    await ask()
            await asyncio.sleep(2)

    closed_upon(told())
    run(later())
    assert 20 == len(provider.calls)


def test_a_store_that_is_back_is_found_in_the_next_loop(server):
    """The look that was under way was lost with its loop."""
    limiter = rate_limited(rps=100, store=MemoryStore(server))
    ask = limiter(ScriptedProvider(1, latency=0.1))

    async def some(seconds):
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await ask()

    server.down = True
    closed_upon(some(1))
    server.down, server.latency = False, 1.5
    closed_upon(some(0.5))
    server.latency, asked = 0.002, server.asked
    run(some(10))
    assert server.asked - asked > 50


def test_a_shared_budget_refuses_a_second_loop_at_the_same_time(server):
    """As the other layers do: its task cannot be woken from there."""
    ask = budgeted(tokens=2_000, count=lambda call: 100, store=MemoryStore(server))(ScriptedProvider(1))
    refused = []

    def in_a_thread():
        try:
            run(ask())
        except RuntimeError as error:
            refused.append(str(error))

    async def main():
        await ask()
        thread = threading.Thread(target=in_a_thread)
        thread.start()
        thread.join()
        await ask()

    run(main())
    assert ["one shared budget object is used by two event loops at the same time: make one for each loop"] == refused
