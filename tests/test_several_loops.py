"""One layer object and several event loops: one after the other works; at the same time it works or is refused."""

import asyncio
import gc
import threading

import pytest

from sluiceway.algorithms.retry_budget import RetryBudget
from sluiceway.layers.adaptive_bound import adaptive_bound
from sluiceway.layers.adaptive_rate import adaptive_rate
from sluiceway.layers.bounded import bounded
from sluiceway.layers.budgeted import budgeted
from sluiceway.layers.cached import cached
from sluiceway.layers.circuit_breaker import circuit_breaker
from sluiceway.layers.coalesced import coalesced
from sluiceway.layers.hedged import hedged
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.layers.retry_jitter import retry_jitter
from sluiceway.layers.timed import timed
from sluiceway.queues import Fair, Priority
from sluiceway.testing import VirtualTimeLoop, completion, run

pytestmark = pytest.mark.real

REFUSES = {
    "adaptive_bound": lambda: adaptive_bound(4),
    "adaptive_rate": lambda: adaptive_rate(1_000),
    "bounded": lambda: bounded(3),
    "circuit_breaker": circuit_breaker,
    "coalesced": coalesced,
    "rate_limited": lambda: rate_limited(rps=10_000),
    "timed": lambda: timed("30s"),
}
WORKS = {
    "budgeted": lambda: budgeted(tokens=1e9, count=lambda call: 5),
    "cached": lambda: cached(ttl=60),
    "hedged": lambda: hedged(after="30s"),
    "retry_jitter": lambda: retry_jitter(2, budget=RetryBudget()),
}
PLACES = {
    "adaptive_bound": lambda: adaptive_bound(1, slow_start=False),
    "bounded": lambda: bounded(1),
    "fair": lambda: rate_limited(rps=100, in_flight=1, queue=Fair()),
    "fifo": lambda: rate_limited(rps=100, in_flight=1),
    "priority": lambda: rate_limited(rps=100, in_flight=1, queue=Priority(within=Fair())),
}
BOTH = REFUSES | WORKS
WORDS = "used by two event loops at the same time: make one for each loop"


async def provider(number=0):
    await asyncio.sleep(0)
    return completion(prompt_tokens=3, completion_tokens=2)


def in_threads(layer, calls=150, threads=3):
    """Make *calls* in an event loop in each of several threads at once; return what came of each."""
    outcomes = []
    together = threading.Barrier(threads)

    async def some():
        ask = layer(provider)
        together.wait(10)
        for _ in range(calls // 10):
            outcomes.extend(await asyncio.gather(*[ask() for _ in range(10)], return_exceptions=True))

    crew = [threading.Thread(target=lambda: asyncio.run(some())) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join(30)
    assert not any(thread.is_alive() for thread in crew)
    return outcomes


@pytest.mark.parametrize("make", BOTH.values(), ids=list(BOTH))
def test_one_loop_after_the_other_works(make):
    """`asyncio.run` twice, as a test suite does."""
    layer = make()
    for _ in range(2):
        assert asyncio.run(layer(provider)()) is not None


@pytest.mark.parametrize("collected", [True, False], ids=["tasks destroyed", "tasks kept"])
@pytest.mark.parametrize("make", PLACES.values(), ids=list(PLACES))
def test_a_loop_closed_with_calls_in_it_leaves_its_places_to_the_next(make, collected):
    """Those who waited there can never be woken: they are let go, and what was held is free when its holder is."""
    layer = make()
    kept = leave_behind(layer, 3)
    if collected:
        kept.clear()
        gc.collect()
    shot = layer.snapshot()[0]
    assert (0 if collected else 1) == shot.in_flight

    async def again():
        task = asyncio.create_task(layer(provider)())
        await asyncio.sleep(0)
        kept.clear()
        gc.collect()
        return await asyncio.wait_for(task, 1)

    assert run(again()) is not None
    shot = layer.snapshot()[0]
    assert 0 == shot.in_flight == shot.waiting


def test_those_who_waited_in_a_closed_loop_fill_no_queue():
    """A room with `max_queue` has a place again, though nobody collected the tasks that were left."""
    layer = rate_limited(rps=100, in_flight=1, max_queue=1)
    kept = leave_behind(layer, 2)
    assert 1 == layer.snapshot()[0].waiting

    async def again():
        task = asyncio.create_task(layer(provider)())
        await asyncio.sleep(0)
        assert 1 == layer.snapshot()[0].waiting
        kept.clear()
        gc.collect()
        return await asyncio.wait_for(task, 1)

    assert run(again()) is not None


def leave_behind(layer, calls):
    """Close a loop in which one of *calls* is in flight and the others wait; return their tasks."""
    loop = VirtualTimeLoop()

    async def hang():
        await asyncio.sleep(100)

    ask = layer(hang)
    tasks = [loop.create_task(ask()) for _ in range(calls)]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False
    return tasks


@pytest.mark.parametrize("make", REFUSES.values(), ids=list(REFUSES))
def test_what_waits_or_measures_time_refuses_a_second_loop_that_runs(make):
    """A waiter there could not be woken from here: a RuntimeError says what to do, and the first loop goes on."""
    layer = make()

    async def outer():
        ask = layer(provider)
        await ask()
        with pytest.raises(RuntimeError, match=WORDS):
            await asyncio.to_thread(asyncio.run, layer(provider)())
        assert await ask() is not None

    asyncio.run(outer())


@pytest.mark.parametrize("make", REFUSES.values(), ids=list(REFUSES))
def test_threads_that_share_an_object_get_values_or_that_refusal_and_nothing_is_left_behind(make):
    """Afterwards it serves a single loop as before."""
    layer = make()
    errors = [outcome for outcome in in_threads(layer) if isinstance(outcome, BaseException)]
    assert {True} >= {isinstance(error, RuntimeError) and WORDS in str(error) for error in errors}
    assert asyncio.run(layer(provider)()) is not None
    for shot in layer.snapshot() or () if not isinstance(layer, coalesced | timed) else ():
        assert 0 == getattr(shot, "in_flight", 0) == getattr(shot, "waiting", 0)


@pytest.mark.parametrize("make", WORKS.values(), ids=list(WORKS))
def test_what_only_counts_works_from_several_threads(make):
    """No call fails."""
    assert [] == [outcome for outcome in in_threads(make()) if isinstance(outcome, BaseException)]


def test_a_budget_counts_the_calls_of_all_threads():
    """Each exactly once."""
    layer = WORKS["budgeted"]()
    in_threads(layer)
    shot = layer.snapshot()[0]
    assert (3 * 150 * 5.0, 0.0, 0) == (shot.spent["tokens"], shot.reserved["tokens"], shot.in_flight)
