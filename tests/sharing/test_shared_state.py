"""Budgets, circuits, retry budgets and adaptive rates that several workers share, on virtual time."""

import asyncio
import contextlib
from random import Random

import pytest

from sluiceway.algorithms.retry_budget import RetryBudget
from sluiceway.backends.memory import MemoryServer, MemoryStore
from sluiceway.call import hints
from sluiceway.errors import BudgetExceeded, CircuitOpen
from sluiceway.layer import Pipeline
from sluiceway.layers.adaptive_rate import adaptive_rate
from sluiceway.layers.bounded import bounded
from sluiceway.layers.budgeted import budgeted
from sluiceway.layers.circuit_breaker import circuit_breaker
from sluiceway.session import Session
from sluiceway.testing import ScriptedProvider, completion, openai_error


@pytest.fixture
def server():
    return MemoryServer("2ms")


# ------------------------------------------------------------------ budgets


async def test_workers_together_spend_no_more_than_the_budget(server):
    """However many ask at once; what is left at the end is less than a call and what the others hold."""
    provider = ScriptedProvider(completion(prompt_tokens=60, completion_tokens=40), latency=0.05)
    refused = 0

    async def worker():
        nonlocal refused
        store = MemoryStore(server)
        ask = budgeted(tokens=20_000, count=lambda call: 100, store=store)(provider)

        async def one():
            nonlocal refused
            for _ in range(30):
                try:
                    await ask()
                except BudgetExceeded:
                    refused += 1
                    return

        await asyncio.gather(*[one() for _ in range(4)])
        await store.aclose()

    await asyncio.gather(*[worker() for _ in range(4)])
    assert 0.95 * 200 <= len(provider.calls) <= 200
    assert refused > 0


async def test_two_layers_of_one_process_spend_from_one_budget(server):
    """Each is a worker of its own: under one name the store would know only what one of them had spent."""
    store = MemoryStore(server)
    provider = ScriptedProvider(completion(prompt_tokens=100, completion_tokens=0), latency=0.01)
    asks = [budgeted(tokens=2_000, count=lambda call: 100, store=store)(provider) for _ in range(2)]

    async def many(ask):
        for _ in range(40):
            with contextlib.suppress(BudgetExceeded):
                await ask()
            await asyncio.sleep(0.5)

    await asyncio.gather(*map(many, asks))
    assert 18 <= len(provider.calls) <= 20
    await store.aclose()
    assert 2_000 - 100 <= await spent_of(server, 10_000) <= 2_000


async def test_an_estimate_that_was_too_high_comes_back_to_all(server):
    """Calls that might take 1,000 and take 100: a budget of 10,000 pays for nearly a hundred."""
    provider = ScriptedProvider(completion(prompt_tokens=60, completion_tokens=40))
    stores = [MemoryStore(server) for _ in range(2)]
    asks = [budgeted(tokens=10_000, count=lambda call: 1_000, store=store)(provider) for store in stores]

    async def until_refused():
        for i in range(200):
            await asks[i % 2]()
            await asyncio.sleep(1.5)  # so that each has given back what it holds when the other asks

    with pytest.raises(BudgetExceeded) as refusal:
        await until_refused()
    assert 90 <= len(provider.calls) <= 92
    assert 9_000 <= refusal.value.spent <= 9_200
    assert 10_000 == refusal.value.limit


async def test_a_budget_outlives_its_processes_and_has_one_part_for_each_key(server):
    """A second start goes on where the first one was."""
    for expected in (70, 40, 10):
        store = MemoryStore(server)
        layer = budgeted(tokens=100, per="tenant", count=lambda call: 30, store=store)
        with hints(tenant="acme"):
            await layer(ScriptedProvider(completion(prompt_tokens=20, completion_tokens=10)))()
        await store.aclose()
        assert expected == pytest.approx(layer.snapshot()[0].left["tokens"])
    layer = budgeted(tokens=100, per="tenant", count=lambda call: 30, store=MemoryStore(server))
    with hints(tenant="acme"), pytest.raises(BudgetExceeded, match="10 of 100 are left"):
        await layer(ScriptedProvider(1))()
    with hints(tenant="other"):
        await layer(ScriptedProvider(1))()


@pytest.mark.parametrize(("away", "most"), [("local_share", 50), ("closed", 0), ("open", 200)])
async def test_a_budget_goes_by_its_policy_while_the_store_is_away(server, away, most):
    """Of what was left when it was last heard of, each of two workers may spend half."""
    stores = [MemoryStore(server, away=away) for _ in range(2)]
    provider = ScriptedProvider(completion(prompt_tokens=60, completion_tokens=40))
    asks = [budgeted(tokens=10_200, count=lambda call: 100, store=store)(provider) for store in stores]
    for ask in asks:
        await ask()
    await asyncio.sleep(0.4)
    server.down = True
    before = len(provider.calls)
    for _ in range(200):
        try:
            await asks[0]()
        except BudgetExceeded:
            break
    held = 12  # a slice that it had already
    assert len(provider.calls) - before <= most + 2 * held
    assert len(provider.calls) - before >= most / 2
    for store in stores:
        await store.aclose()


async def spent_of(server, limit=1_000):
    """Return what a worker that comes afresh hears to be spent."""
    async with MemoryStore(server) as store:
        layer = budgeted(tokens=limit, count=lambda call: 1, store=store)
        await layer(ScriptedProvider(completion(prompt_tokens=0, completion_tokens=0)))()
        return layer.snapshot()[0].spent["tokens"]


async def test_what_a_cancelled_caller_told_is_told_once():
    """It leaves while the answer is on its way; the slice that comes is there for the next one."""
    server = MemoryServer("100ms")
    provider = ScriptedProvider(completion(prompt_tokens=200, completion_tokens=0), latency=0.2)
    layer = budgeted(tokens=1_000, count=lambda call: 200, store=MemoryStore(server))
    ask = layer(provider)
    await ask()
    leaving = asyncio.create_task(ask())
    await asyncio.sleep(0.07)
    leaving.cancel()
    await asyncio.sleep(0.05)
    assert (0, 1) == (layer.snapshot()[0].in_flight, len(provider.calls))
    began = asyncio.get_running_loop().time()
    await ask()
    assert 0.2 == pytest.approx(asyncio.get_running_loop().time() - began)
    await asyncio.sleep(5)
    assert 400 == await spent_of(server)


async def test_a_caller_that_leaves_in_line_asks_nothing():
    """Nor does it keep those behind it from asking."""
    server = MemoryServer("100ms")
    layer = budgeted(tokens=1_000, count=lambda call: 200, store=MemoryStore(server))
    ask = layer(ScriptedProvider(completion(prompt_tokens=200, completion_tokens=0)))
    first, second, third = (asyncio.create_task(ask()) for _ in range(3))
    await asyncio.sleep(0.05)
    second.cancel()
    await asyncio.gather(first, third)
    await asyncio.sleep(5)
    assert 400 == await spent_of(server)


async def test_what_was_told_and_not_answered_in_time_is_counted_once():
    """The store takes up what it was told, and its answer comes too late."""
    server = MemoryServer("100ms")
    store = MemoryStore(server, timeout="500ms")
    ask = budgeted(tokens=1_000, count=lambda call: 200, store=store)(
        ScriptedProvider(completion(prompt_tokens=200, completion_tokens=0), latency=0.2)
    )
    await ask()
    server.latency = 0.8  # half a second is over when the question has arrived, and the answer has not
    await asyncio.sleep(1.0)
    server.latency = 0.1
    await ask()
    await asyncio.sleep(5)
    assert 400 == await spent_of(server)


async def test_a_budget_that_its_store_knows_need_not_be_kept_here(server):
    """A service with ever new tenants does not grow; whoever comes again has spent what he had."""
    store = MemoryStore(server)
    provider = ScriptedProvider(completion(prompt_tokens=30, completion_tokens=0))
    layer = budgeted(tokens=100, per="tenant", count=lambda call: 30, store=store)
    ask = layer(provider)
    for tenant in range(1_200):
        with hints(tenant=f"{tenant}"):
            await ask()
        await asyncio.sleep(0.1)
    assert len(layer.snapshot()) <= 1_001
    with hints(tenant="0"):
        assert 2 == await until_refused(ask)
    server.down = True
    with hints(tenant="1199"):
        await ask()
    await asyncio.sleep(30)
    for tenant in range(2_000, 3_100):
        with hints(tenant=f"{tenant}"):
            await ask()
    assert [60.0] == [shot.spent["tokens"] for shot in layer.snapshot() if shot.key == "1199"]
    await store.aclose()


async def until_refused(ask):
    """Return how many calls a budget still pays for."""
    for calls in range(10_000):
        try:
            await ask()
        except BudgetExceeded:
            return calls
    raise AssertionError("it is never used up")


async def test_what_was_spent_while_the_store_was_away_is_told_afterwards(server):
    """Nobody goes on with a share of his own, a minute after the store is back, that others were given as well."""
    stores = [MemoryStore(server) for _ in range(2)]
    provider = ScriptedProvider(completion(prompt_tokens=100, completion_tokens=0), latency=0.01)
    asks = [budgeted(tokens=10_000, count=lambda call: 100, store=store)(provider) for store in stores]
    for ask in asks:
        await ask()
    await asyncio.sleep(0.4)
    server.down = True
    for ask in asks:
        for _ in range(20):
            await ask()
    await asyncio.sleep(5)
    server.down = False
    await asyncio.sleep(60)
    left = 0
    for ask in (*asks, asks[0]):
        left += await until_refused(ask)
        await asyncio.sleep(15)
    assert 42 + left == len(provider.calls)
    assert 99 <= len(provider.calls) <= 100
    assert 100 * len(provider.calls) == await spent_of(server, 20_000)


async def test_a_share_is_taken_once_however_often_a_store_is_closed_while_it_is_away(server):
    """What was left of it is there for the next call."""
    store = MemoryStore(server)
    other = MemoryStore(server)
    provider = ScriptedProvider(completion(prompt_tokens=100, completion_tokens=0))
    asks = [budgeted(tokens=10_000, count=lambda call: 100, store=each)(provider) for each in (store, other)]
    for ask in asks:
        await ask()
    await asyncio.sleep(0.4)
    server.down = True
    before = len(provider.calls)
    for _ in range(4):
        for _ in range(10):
            await asks[0]()
        await store.aclose()
    await until_refused(asks[0])
    assert 40 <= len(provider.calls) - before <= 62
    await other.aclose()


async def test_a_call_that_comes_while_its_budget_says_goodbye_is_renewed_and_told_once():
    """Whenever it comes: its lease holds for as long as it runs, and what it takes counts once."""
    for i in range(60):
        server = MemoryServer("100ms")
        store = MemoryStore(server, lease="3s")
        provider = ScriptedProvider(completion(prompt_tokens=100, completion_tokens=0), latency=8)
        ask = budgeted(tokens=10_000, count=lambda call: 200, store=store)(provider)
        await ask()
        await asyncio.sleep(0.5 + i / 50)
        await ask()
        await asyncio.sleep(0.6)
        assert 200 == await spent_of(server, 10_000), i
        await store.aclose()


# ------------------------------------------------------------------ circuits


def breaker(server, **settings):
    given = {"min_calls": 8, "window": "10s", "open_for": "5s", "close_after": 1, "ramp": 0, "rng": Random(1)}
    return circuit_breaker(**(given | settings), store=MemoryStore(server))


async def failing(layer, times):
    ask = layer(ScriptedProvider(openai_error(500)))
    for _ in range(times):
        with pytest.raises(Exception, match=r"500|open"):
            await ask()
        await asyncio.sleep(0.3)


async def test_failures_are_added_up_over_workers_and_one_opens_for_all(server):
    """Five failures in each of two processes are ten."""
    layers = [breaker(server) for _ in range(2)]
    await asyncio.gather(*[failing(layer, 5) for layer in layers])
    await asyncio.sleep(0.5)
    assert ["open", "open"] == [layer.state for layer in layers]
    third = breaker(server)
    for _ in range(2):  # one that comes later hears of it at its first call, at the latest at its second
        try:
            await third(ScriptedProvider(1))()
        except CircuitOpen:
            break
        await asyncio.sleep(0.3)
    assert "open" == third.state


async def test_one_worker_probes_for_all_and_all_close(server):
    """While it does, the others refuse."""
    probes = 0
    begun = asyncio.Event()

    async def provider():
        nonlocal probes
        probes += 1
        begun.set()
        await asyncio.sleep(2)

    async def keep_asking(ask):
        for _ in range(60):
            try:
                await ask()
            except CircuitOpen:
                await asyncio.sleep(0.1)

    layers = [breaker(server) for _ in range(4)]
    asks = [layer(provider) for layer in layers]
    for layer in layers:
        await layer(ScriptedProvider(1))()
    await failing(layers[0], 8)
    await asyncio.sleep(0.3)
    assert ["open"] * 4 == [layer.state for layer in layers]
    tasks = [asyncio.create_task(keep_asking(ask)) for ask in asks]
    await begun.wait()
    await asyncio.sleep(1)
    assert 1 == probes
    await asyncio.sleep(2)
    assert ["closed"] * 4 == [layer.state for layer in layers]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_circuit_goes_on_alone_while_the_store_is_away(server):
    """It opens by its own results, and closes by its own probe."""
    server.down = True
    layer = breaker(server)
    await failing(layer, 9)
    assert "open" == layer.state
    await asyncio.sleep(6)
    await layer(ScriptedProvider(1))()
    assert "closed" == layer.state


# ------------------------------------------------------------------ retry budgets and rates


async def test_a_retry_budget_counts_what_is_in_flight_elsewhere(server):
    """Three for all: while another process repeats three, none is left here."""
    here, there = (RetryBudget(3, 0.2, store=MemoryStore(server)) for _ in range(2))
    assert all(there.try_spend() for _ in range(3))
    here.try_spend()
    here.give_back()
    await asyncio.sleep(0.5)
    assert 3 == here.other_spent
    assert not here.try_spend()
    for _ in range(3):
        there.give_back()
    there.try_spend()
    there.give_back()
    await asyncio.sleep(0.6)
    assert here.try_spend()


def test_a_retry_budget_refuses_what_is_no_store():
    """By name."""
    with pytest.raises(TypeError, match="store=7 must be a store"):
        RetryBudget(store=7)


async def test_workers_find_a_rate_together(server):
    """Each has its part of it: a provider that takes 100 a second sees about that from four of them."""
    loop = asyncio.get_running_loop()
    level, at, accepted = 20.0, 0.0, []

    async def provider():
        nonlocal level, at
        level, at = min(20.0, level + 100.0 * (loop.time() - at)), loop.time()
        if level < 1.0:
            raise openai_error(429)
        level -= 1.0
        accepted.append(loop.time())

    counts = []

    async def worker():
        store = MemoryStore(server)
        layer = adaptive_rate(5, store=store)
        ask = layer(provider)
        done = 0

        async def one():
            nonlocal done
            while loop.time() < 90:
                with contextlib.suppress(type(openai_error(429))):
                    await ask()
                    done += loop.time() > 30

        await asyncio.gather(*[one() for _ in range(20)])
        counts.append(done)
        await store.aclose()

    await asyncio.gather(*[worker() for _ in range(4)])
    assert 0.75 <= sum(30 < time <= 90 for time in accepted) / 6_000 <= 1.01
    assert min(counts) >= 0.8 * sum(counts) / 4


# ------------------------------------------------------------------ sessions


async def test_a_session_ends_the_tasks_of_its_pipelines_stores(server):
    """What they hold is free when the block is left."""
    bound = bounded(3, store=MemoryStore(server))
    async with Session(pipeline=Pipeline(bound)):
        await bound(ScriptedProvider(1))()
        assert len(asyncio.all_tasks()) > 1
    assert 1 == len(asyncio.all_tasks())
    assert 0 == bound.snapshot()[0].limit
