"""bounded(store=) and rate_limited(in_flight=, store=): places for several workers, on virtual time."""

import asyncio
from random import Random

import pytest

from sluiceway.backends.memory import MemoryServer, MemoryStore
from sluiceway.errors import BoundExceeded
from sluiceway.layers.bounded import bounded
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.testing import ScriptedProvider


class Mortal(MemoryStore):
    """A store of a worker that can die: from then on nothing that it says arrives."""

    dead = False

    async def send(self, line, kind, key, ask):
        if self.dead:
            await asyncio.sleep(3600)
        return await super().send(line, kind, key, ask)


class Counted:
    """A function of half a second that counts who is in it."""

    inside = peak = 0

    async def __call__(self):
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        await asyncio.sleep(0.5)
        self.inside -= 1


class Slow(MemoryStore):
    """A store that is given up once, and gets that question all the same, by and by."""

    late = 0.0

    async def send(self, line, kind, key, ask):
        if self.late:
            arriving, self.late = asyncio.create_task(self._arrive(kind, key, ask, self.late)), 0.0
            await asyncio.sleep(3600)
            await arriving
        return await super().send(line, kind, key, ask)

    async def _arrive(self, kind, key, ask, late):
        await asyncio.sleep(late)
        await self.server.answer(kind, key, ask)


class Crew:
    """Workers on one bound; how many are inside, and how many were."""

    def __init__(self, server, limit, **settings):
        self.server, self.limit, self.settings = server, limit, settings
        self.inside = self.peak = 0
        self.done = {}
        self.tasks = []
        self.stores = []

    def worker(self, name, *, callers=20, latency=0.5):
        store = Mortal(self.server, **self.settings)
        self.stores.append(store)
        bound = bounded(self.limit, store=store)
        self.done[name] = 0

        @bound
        async def ask():
            self.inside += 1
            self.peak = max(self.peak, self.inside)
            try:
                await asyncio.sleep(latency)
                self.done[name] += 1
            finally:
                self.inside -= 1

        async def one():
            while True:
                await ask()

        tasks = [asyncio.create_task(one()) for _ in range(callers)]
        self.tasks += tasks
        return bound, store, tasks

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for store in self.stores:
            if not store.dead:
                await store.aclose()


@pytest.fixture
def server():
    return MemoryServer("2ms")


async def test_no_more_calls_are_in_flight_than_there_are_places(server):
    """Of all workers together; all places are used, and each worker has its part."""
    crew = Crew(server, 12)
    for name in "abc":
        crew.worker(name)
    await asyncio.sleep(20)
    await crew.end()
    assert 12 == crew.peak
    assert sum(crew.done.values()) >= 0.93 * 12 * 40
    assert all(count >= 0.8 * 160 for count in crew.done.values())


async def test_places_that_one_worker_does_not_need_are_for_the_others(server):
    """One call at a time here, all that is left there."""
    crew = Crew(server, 10)
    crew.worker("modest", callers=1)
    crew.worker("busy")
    await asyncio.sleep(20)
    await crew.end()
    assert crew.done["modest"] >= 36
    assert crew.done["busy"] >= 0.75 * 9 * 40
    assert crew.peak <= 10


@pytest.mark.parametrize("latency", ["2ms", "100ms", "400ms"])
async def test_calls_that_begin_while_a_question_is_on_its_way_are_counted(latency):
    """It says that two of ten places are in use, and by the time of its answer all ten are: they are not for others."""
    server = MemoryServer(latency)
    rng = Random(3)
    inside = peak = done = 0

    async def provider():
        nonlocal inside, peak, done
        inside += 1
        peak = max(peak, inside)
        try:
            await asyncio.sleep(rng.expovariate(3))
            done += 1
        finally:
            inside -= 1

    async def in_bursts(ask):
        while True:
            await asyncio.gather(*[ask() for _ in range(rng.randint(1, 10))])
            await asyncio.sleep(rng.uniform(0, 0.6))

    stores = [MemoryStore(server) for _ in range(3)]
    tasks = [asyncio.create_task(in_bursts(bounded(10, store=store)(provider))) for store in stores]
    await asyncio.sleep(120)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for store in stores:
        await store.aclose()
    assert 10 == peak
    assert done > 800


@pytest.mark.parametrize(("away", "most"), [("local_share", 10), ("open", 20)])
async def test_nobody_waits_for_a_store_that_hangs(server, away, most):
    """It is looked for beside the calls: who comes meanwhile has what the policy says."""
    bound = bounded(10, store=MemoryStore(server, away=away))
    ask = bound(ScriptedProvider(1, latency=0.01))
    await ask()
    server.latency = 3_600.0
    await asyncio.sleep(1.5)
    for _ in range(40):
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*[ask() for _ in range(most)])
        assert asyncio.get_running_loop().time() - began < 1.1
        await asyncio.sleep(0.1)
        if began > 5:
            assert asyncio.get_running_loop().time() - began < 0.12
    assert began > 5


async def test_fewer_places_than_workers_go_round(server):
    """No worker starves."""
    crew = Crew(server, 2)
    for name in "abcde":
        crew.worker(name, callers=3)
    await asyncio.sleep(60)
    await crew.end()
    assert crew.peak <= 2
    assert all(count > 0.5 * 2 * 120 / 5 * 0.8 for count in crew.done.values())


async def test_two_layers_of_one_process_share_the_places_of_one_store(server):
    """Each is a worker of its own: under one name the store would know the places of one of them only."""
    counted = Counted()
    async with MemoryStore(server) as store:
        asks = [bounded(6, store=store)(counted) for _ in range(2)]
        await asyncio.gather(*[ask() for ask in asks for _ in range(30)])
    assert 6 == counted.peak
    assert asyncio.get_running_loop().time() < 60 * 0.5 / 6 * 1.25


async def test_a_dead_process_frees_its_places_after_its_lease(server):
    """Nobody gets them before, since its calls may still be running at the provider."""
    crew = Crew(server, 10, lease="5s", timeout="1s")
    _, store, tasks = crew.worker("dead")
    await asyncio.sleep(3)
    store.dead = True
    for task in tasks:
        task.cancel()
    _, living, _ = crew.worker("living")
    await asyncio.sleep(3)
    assert crew.done["living"] == 0
    await asyncio.sleep(5)
    assert crew.done["living"] >= 20
    assert crew.inside == 10
    await crew.end()
    assert living.server.asked


async def test_a_long_call_keeps_its_place(server):
    """The lease is renewed as long as the call runs."""
    crew = Crew(server, 1, lease="2s", timeout="500ms")
    crew.worker("long", callers=1, latency=60)
    await asyncio.sleep(1)
    crew.worker("next", callers=1)
    await asyncio.sleep(50)
    assert (1, 0) == (crew.peak, crew.done["next"])
    await asyncio.sleep(15)
    assert crew.done["next"] > 0
    await crew.end()


async def test_nothing_runs_when_nothing_is_left_to_do(server):
    """The task ends by itself, and the places are free."""
    bound = bounded(5, store=MemoryStore(server))
    await asyncio.gather(*[bound(ScriptedProvider(1, latency=0.2))() for _ in range(12)])
    await asyncio.sleep(5)
    asked = server.asked
    await asyncio.sleep(20)
    assert asked == server.asked
    assert 1 == len(asyncio.all_tasks())
    other = bounded(5, store=MemoryStore(server), max_wait=0)
    await asyncio.gather(*[other(ScriptedProvider(1, latency=0.2))() for _ in range(5)])


async def test_max_wait_0_asks_the_store_and_refuses_then(server):
    """All places are taken elsewhere."""
    crew = Crew(server, 2)
    crew.worker("a", latency=30)
    await asyncio.sleep(1)
    bound = bounded(2, max_wait=0, store=MemoryStore(server))
    with pytest.raises(BoundExceeded):
        await bound(ScriptedProvider(1))()
    await crew.end()


@pytest.mark.parametrize(("away", "most"), [("local_share", 5), ("closed", 0), ("open", 20)])
async def test_while_the_store_is_away_its_policy_holds(server, away, most):
    """Ten places and two workers: five each, none, or all who come."""
    crew = Crew(server, 10, away=away, lease="2s", timeout="500ms")
    for name in "ab":
        crew.worker(name)
    await asyncio.sleep(5)
    server.down = True
    await asyncio.sleep(5)
    assert 2 * most == crew.inside
    server.down = False
    await asyncio.sleep(6)
    assert 10 == crew.inside
    await crew.end()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_store_that_goes_away_while_nobody_is_there_stops_nobody(server, workers):
    """The number of workers last heard of is not that without oneself, who has just said goodbye."""
    bounds = [bounded(4, store=MemoryStore(server)) for _ in range(workers)]
    provider = ScriptedProvider(1, latency=1)
    asks = [bound(provider) for bound in bounds]
    await asyncio.gather(*[ask() for ask in asks])
    await asyncio.sleep(10)
    server.down = True
    began = asyncio.get_running_loop().time()
    calls = [asyncio.create_task(ask()) for ask in asks for _ in range(4)]
    await asyncio.sleep(0.5)
    assert 4 == sum(bound.snapshot()[0].in_flight for bound in bounds)
    async with asyncio.timeout(10):
        await asyncio.gather(*calls)
    assert asyncio.get_running_loop().time() - began == pytest.approx(workers, abs=0.1)


@pytest.mark.parametrize("down", [0, 4])
async def test_a_store_that_lost_everything_does_not_deal_out_what_is_in_use(server, down):
    """Flushed, or started again with nothing on disk: the first to ask again does not get the places of all others."""
    crew = Crew(server, 12)
    for name in "abc":
        crew.worker(name, latency=6)
    await asyncio.sleep(20)
    server.lose_everything()
    server.down = down > 0
    await asyncio.sleep(down)
    server.down = False
    await asyncio.sleep(30)
    assert (12, 12) == (crew.inside, crew.peak)
    await crew.end()


async def test_a_question_that_was_given_up_undoes_nothing_when_it_arrives(server):
    """It says that one place is in use, and since then 19 more are."""
    inside = 0

    async def long():
        nonlocal inside
        inside += 1
        await asyncio.sleep(30)
        inside -= 1

    slow, other = Slow(server), MemoryStore(server)
    ask, ask_too = bounded(20, store=slow)(long), bounded(20, store=other)(long)
    calls = [asyncio.create_task(ask())]
    await asyncio.sleep(1)
    slow.late = 1.31
    await asyncio.sleep(1.2)
    calls += [asyncio.create_task(ask()) for _ in range(19)]
    await asyncio.sleep(0.1)
    assert 20 == inside
    calls += [asyncio.create_task(ask_too()) for _ in range(30)]
    await asyncio.sleep(5)
    assert 20 == inside
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    for store in (slow, other):
        await store.aclose()


async def test_requests_and_places_are_taken_together(server):
    """rate_limited(in_flight=) shares both."""
    counted = Counted()

    async def worker():
        store = MemoryStore(server)
        ask = rate_limited(rps=1_000, in_flight=6, store=store)(counted)
        await asyncio.gather(*[ask() for _ in range(30)])
        await store.aclose()

    await asyncio.gather(worker(), worker())
    assert 6 == counted.peak
    assert asyncio.get_running_loop().time() < 60 * 0.5 / 6 * 1.25
