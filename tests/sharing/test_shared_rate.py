"""rate_limited(store=): several workers, one limit; on virtual time, each worker with a store of its own."""

import asyncio
import gc
import sys
import weakref

import pytest

from sluiceway.backends.memory import MemoryServer, MemoryStore
from sluiceway.call import hints
from sluiceway.errors import RateLimited
from sluiceway.events import StoreChanged
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.queues import Priority
from sluiceway.telemetry.hub import listen, unlisten
from sluiceway.testing import ScriptedProvider, completion, openai_error, run


def now():
    return asyncio.get_running_loop().time()


@pytest.fixture
def server():
    return MemoryServer("2ms")


@pytest.fixture
def changes():
    """What is told of stores."""
    heard = []
    sink = listen(lambda event: heard.append((event.state, event.policy)) if type(event) is StoreChanged else None)
    yield heard
    unlisten(sink)


class Worker:
    """One process, as far as the store knows: so many callers, as fast as they are let."""

    pace = 0.01

    def __init__(self, server, *, callers=20, store=(), **limits):
        self.store = MemoryStore(server, **dict(store))
        self.limiter = rate_limited(**limits, store=self.store)
        self.times = []
        self._ask = self.limiter(self._provider)
        self._tasks = [asyncio.create_task(self._call()) for _ in range(callers)]

    async def _provider(self):
        self.times.append(now())

    async def _call(self):
        while True:
            await self._ask()
            await asyncio.sleep(self.pace)

    async def end(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.aclose()


async def working(workers, seconds):
    """Let them work; return when each of all permits came, in order."""
    await asyncio.sleep(seconds)
    for worker in workers:
        await worker.end()
    return sorted(time for worker in workers for time in worker.times)


def within(times, start, end):
    return sum(start <= time < end for time in times)


def busiest(times, window):
    return max(within(times, time, time + window) for time in times)


# ------------------------------------------------------------------ what holds


async def test_workers_together_stay_inside_one_limit_and_use_all_of_it(server):
    """In any second no more than the rate and the burst, which is two blocks smaller; each gets its part."""
    workers = [Worker(server, rps=100) for _ in range(8)]
    times = await working(workers, 12)
    assert busiest(times, 1.0) <= 100 + 70 + 1
    assert 0.97 <= within(times, 2, 12) / 1_000 <= 1.01
    parts = [within(worker.times, 2, 12) for worker in workers]
    assert all(0.8 * 125 <= part <= 1.2 * 125 for part in parts)


async def test_an_exact_window_is_never_passed(server):
    """Whatever each worker holds and wherever a window begins, more than the limit is never in it."""
    workers = [Worker(server, rps=20, window="1s", algorithm="sliding_window") for _ in range(4)]
    times = await working(workers, 15)
    assert busiest(times, 0.999) <= 20
    assert within(times, 2, 14) >= 0.95 * 12 * 20


async def test_requests_and_tokens_are_taken_together(server):
    """Where tokens are short, requests are not what is used up."""
    workers = [Worker(server, rps=100, tpm=60_000, tokens=lambda call: 100) for _ in range(4)]
    times = await working(workers, 20)
    assert within(times, 4, 19) / 15 == pytest.approx(10, rel=0.1)


async def test_what_is_settled_in_one_process_is_there_for_the_others(server):
    """Calls estimated at 500 tokens that take 100 leave room for five times as many, in every process."""
    limits = {"tpm": 60_000, "tokens": lambda call: 500}
    provider = ScriptedProvider(completion("yes", prompt_tokens=60, completion_tokens=40))
    ask = rate_limited(**limits, store=MemoryStore(server))(provider)
    other = Worker(server, callers=5, **limits)

    async def many():
        while True:
            await ask()

    tasks = [asyncio.create_task(many()) for _ in range(20)]
    await asyncio.sleep(30)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await other.end()
    used = len(other.times) * 500 + len(provider.calls) * 100  # the others' calls report no usage
    assert 0.95 * 30_000 <= used <= 30_000 + 900 + 500


@pytest.mark.parametrize("order", ["old first", "new first"])
async def test_a_configuration_that_adds_a_limit_shares_the_others(server, order):
    """A fleet that is replaced worker by worker stays inside one limit of requests."""
    old, new = {"rps": 20}, {"rps": 20, "tpm": 600_000, "tokens": lambda call: 1}
    workers = [Worker(server, **limits) for limits in ((old, new) if order == "old first" else (new, old))]
    times = await working(workers, 12)
    assert busiest(times, 1.0) <= 20 + 14 + 1
    assert 0.97 <= within(times, 2, 12) / 200 <= 1.01
    assert all(within(worker.times, 2, 12) > 80 for worker in workers)


async def test_a_limit_that_is_lowered_holds_from_then_on(server):
    """What the old one had left is no burst under the new one."""
    before = MemoryStore(server)
    await rate_limited(rps=1_000, store=before)(ScriptedProvider(1))()
    await asyncio.sleep(1)
    await before.aclose()
    times = await working([Worker(server, rps=10)], 5)
    assert busiest(times, 1.0) <= 10 + 7


@pytest.mark.parametrize(
    ("limits", "latest"),
    [({"tpd": 1_000}, 20), ({"tpd": 1_000, "algorithm": "sliding_window"}, 20), ({"tpm": 500}, 35)],
)
@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_who_can_be_promised_nothing_hears_soon_of_what_others_did_not_need(server, limits, latest, where):
    """Two calls reserve all of a day and take a hundredth of it: the third does not wait until tomorrow."""
    provider = ScriptedProvider(completion(prompt_tokens=5, completion_tokens=5), latency=5)
    ask, other = (rate_limited(**limits, tokens=lambda _: 500, store=MemoryStore(server))(provider) for _ in range(2))
    first = [asyncio.create_task(ask()) for _ in range(2)]
    await asyncio.sleep(1)
    await (ask if where == "here" else other)()
    assert now() <= latest
    await asyncio.gather(*first)


async def test_what_was_settled_is_told_while_others_of_the_same_worker_wait(server):
    """Within moments, though there is nothing to ask before the next permit that is promised comes due."""
    provider = ScriptedProvider(completion(prompt_tokens=5, completion_tokens=5), latency=1)
    limiter = rate_limited(tpm=6_000, tokens=lambda call: call.args[0], store=MemoryStore(server))
    ask = limiter(provider)
    waiting = [asyncio.create_task(ask(cost)) for cost in (1_000, 1_000, 100)]
    await asyncio.sleep(1.5)
    other = MemoryStore(server)
    layer = rate_limited(tpm=6_000, tokens=lambda _: 1, store=other)
    began = now()
    await layer(ScriptedProvider(1))()
    assert now() - began < 12
    assert layer.snapshot()[0].available["tpm"] > -1_000
    await asyncio.gather(*waiting)
    await other.aclose()


async def test_a_pause_that_one_process_hears_of_is_for_all(server):
    """After a 429 with Retry-After nobody goes on before its end."""
    other = Worker(server, rps=50)
    await asyncio.sleep(2)
    limiter = rate_limited(rps=50, store=MemoryStore(server))
    with pytest.raises(Exception, match="429"):
        await limiter(ScriptedProvider(openai_error(429, headers={"retry-after": "5"})))()
    at = now()
    await asyncio.sleep(8)
    await other.end()
    assert within(other.times, at + 0.25, at + 4.9) == 0
    assert within(other.times, at + 5, at + 8) > 50


async def test_priority_holds_within_a_process(server):
    """Who is served next is decided where they wait."""
    limiter = rate_limited(rps=10, burst="0.1s", queue=Priority(), store=MemoryStore(server))
    order = []

    @limiter
    async def ask(who):
        order.append(who)

    await ask("first")
    tasks = []
    for rank in (2, 2, 0, 1):
        with hints(priority=rank):
            tasks.append(asyncio.create_task(ask(rank)))
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    assert ["first", 0, 1, 2, 2] == order


async def test_who_is_next_is_asked_for_first_whatever_he_costs(server):
    """A heavy call that overtakes light ones gets its tokens, though what is held would do for those."""
    cost = {"light": 100, "heavy": 5_000}
    limits = {"tpm": 60_000, "tokens": lambda call: cost[call.args[0]], "queue": Priority()}
    other = Worker(server, callers=3, **(limits | {"tokens": lambda call: 100}))
    limiter = rate_limited(**limits, store=MemoryStore(server))

    @limiter
    async def ask(kind):
        return now()

    light = [asyncio.create_task(ask("light")) for _ in range(40)]
    await asyncio.sleep(1)
    with hints(priority=0):
        heavy = await asyncio.wait_for(ask("heavy"), 30)
    await asyncio.gather(*light)
    assert 1 < heavy < 15
    await other.end()


# ------------------------------------------------------------------ blocks


async def test_blocks_save_questions(server):
    """Two thousand permits of one busy worker cost the store far fewer questions; without blocks one each."""
    worker = Worker(server, rps=1_000, callers=100)
    times = await working([worker], 2)
    assert len(times) >= 2_000
    assert server.asked < len(times) / 10
    alone = MemoryServer("2ms")
    times = await working([Worker(alone, rps=1_000, callers=100, store={"block": 0})], 2)
    assert alone.asked >= len(times)


async def test_what_nobody_uses_goes_back_and_the_task_ends(server):
    """Soon after the last call the store has everything again, and nothing runs any more."""
    limiter = rate_limited(rps=100, store=MemoryStore(server))
    ask = limiter(ScriptedProvider(1))
    for _ in range(50):
        await ask()
        await asyncio.sleep(0.005)
    await asyncio.sleep(3)
    asked = server.asked
    await asyncio.sleep(10)
    assert asked == server.asked
    assert 1 == len(asyncio.all_tasks())
    other = rate_limited(rps=100, store=MemoryStore(server))
    await other(ScriptedProvider(1))()
    assert 69 == pytest.approx(other.snapshot()[0].available["rps"], abs=1)


async def test_a_cancelled_caller_leaves_its_permit_to_the_next(server):
    """Nothing is lost with those who give up."""
    limiter = rate_limited(rps=10, burst="0.1s", store=MemoryStore(server))
    ask = limiter(ScriptedProvider(1))
    await ask()
    tasks = [asyncio.create_task(ask()) for _ in range(10)]
    await asyncio.sleep(0.05)
    for task in tasks[:5]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert now() < 0.9


async def test_max_wait_0_waits_for_the_store_and_for_nothing_else(server):
    """It asks, since this process holds nothing yet; and refuses when there is nothing."""
    limiter = rate_limited(rps=1, burst="1s", max_wait=0, store=MemoryStore(server))
    ask = limiter(ScriptedProvider(1))
    await ask()
    with pytest.raises(RateLimited):
        await ask()
    assert now() < 0.5


# ------------------------------------------------------------------ the store is away


@pytest.mark.parametrize(
    ("away", "least", "most"), [("local_share", 180, 240), ("closed", 0, 30), ("open", 900, 9_999)]
)
async def test_while_the_store_is_away_its_policy_holds(server, changes, away, least, most):
    """Two workers of 50 a second: each half of it, nothing, or whatever comes; then it is as before."""
    workers = [Worker(server, rps=50, callers=10, store={"away": away}) for _ in range(2)]
    await asyncio.sleep(5)
    server.down = True
    await asyncio.sleep(4.2)
    assert ["away"] * 2 == [state for state, _ in changes]
    assert {away} == {policy for _, policy in changes}
    shared = workers[0].limiter.snapshot()[0].shared
    assert ("away: ConnectionError", 2, away) == (shared.store.partition("(")[0], shared.workers, shared.policy)
    server.down = False
    await asyncio.sleep(6)
    times = await working(workers, 0)
    assert least <= within(times, 5, 9.2) <= most
    assert ["back"] * 2 == [state for state, _ in changes[2:]]
    assert within(times, 12, 15) <= 3 * 50 + 5
    assert within(times, 12, 15) >= 0.9 * 3 * 50


@pytest.mark.parametrize(
    "limits", [{"rpd": 100}, {"requests": 100, "window": "1h"}, {"rps": 50, "requests": 100, "window": "2h"}]
)
async def test_what_is_used_of_a_day_is_used_whether_the_store_is_there_or_not(server, limits):
    """Each time that it is away, every worker goes on with its part of what is left, and tells it afterwards."""
    workers = [Worker(server, callers=1, **limits) for _ in range(2)]
    for worker in workers:
        worker.pace = 0.15
    for up in (5, 15, 15):  # once they have heard of each other
        await asyncio.sleep(up)
        server.down = True
        await asyncio.sleep(6)
        server.down = False
    times = await working(workers, 10)
    assert 98 <= len(times) <= 100


async def test_a_store_that_lost_everything_does_not_give_a_second_burst(server):
    """A server that starts again empty looks full; those who were there know better."""
    workers = [Worker(server, rps=50) for _ in range(2)]
    await asyncio.sleep(5)
    server.down = True
    server.lose_everything()
    await asyncio.sleep(3)
    server.down = False
    times = await working(workers, 5)
    assert all(within(times, start, start + 1) <= 65 for start in range(3, 12))


async def test_no_call_hangs_on_a_store_that_never_answers(server):
    """Each operation has its time limit, and then the policy holds."""
    server.latency = 3_600.0
    limiter = rate_limited(rps=50, store=MemoryStore(server, timeout="500ms"))
    await limiter(ScriptedProvider(1))()
    assert now() < 1.0


async def test_a_store_that_hangs_costs_no_permits_either(server):
    """Who looks whether it is back does not keep the others waiting."""
    worker = Worker(server, rps=50)
    await asyncio.sleep(3)
    server.latency = 3_600.0
    await asyncio.sleep(12)
    await worker.end()
    assert within(worker.times, 5, 15) >= 0.95 * 500
    assert within(worker.times, 5, 15) <= 1.02 * 500


async def test_a_slow_store_costs_no_permits(server):
    """Answers in 200 ms: blocks are asked for ahead of their time."""
    server.latency = 0.2
    workers = [Worker(server, rps=100, callers=40) for _ in range(4)]
    times = await working(workers, 12)
    assert within(times, 3, 12) >= 0.97 * 900
    assert busiest(times, 1.0) <= 200


async def test_a_clock_that_is_set_back_or_ahead_stops_nobody(server):
    """The server's clock jumps by an hour; time goes on from there."""
    workers = [Worker(server, rps=50) for _ in range(2)]
    for jump in (-3_600.0, 3_600.0):
        await asyncio.sleep(3)
        server.ahead += jump
    times = await working(workers, 3)
    assert all(within(times, start, start + 1) >= 40 for start in range(1, 8))


async def test_a_clock_that_is_set_ahead_makes_no_question_late(server, changes):
    """The answer tells the time by which the same question is not."""
    worker = Worker(server, rps=50)
    for _ in range(3):
        await asyncio.sleep(1)
        server.ahead += 3_600.0
    await working([worker], 1)
    assert [] == changes


# ------------------------------------------------------------------ loops and settings


def test_one_object_serves_one_loop_after_the_other(server):
    """What was promised to the first loop is returned with it, and the second begins anew."""
    store = MemoryStore(server)
    limiter = rate_limited(rps=100, store=store)

    async def some():
        await asyncio.gather(*[limiter(ScriptedProvider(1))() for _ in range(20)])

    for _ in range(3):
        run(some())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.eager_task_factory is of Python 3.12")
def test_where_all_tasks_are_eager_each_state_has_one_task(server):
    """One that is kicked by what it does at once, before anybody knows it, does not begin a second time."""
    limiter = rate_limited(rps=50, store=MemoryStore(server))
    ask = limiter(ScriptedProvider(1, latency=0.1))

    async def many():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await ask()
        await asyncio.sleep(5)
        server.down = True
        for _ in range(5):
            await asyncio.gather(*[ask() for _ in range(20)])
            assert 1 == sum(task.get_name().startswith("sluiceway rate") for task in asyncio.all_tasks())

    run(many())


def test_a_store_keeps_no_event_loop():
    """A loop goes when its program is done with it; the layer itself still knows the one it was used in last."""
    loops = weakref.WeakSet()
    limiter = rate_limited(rpm=6_000, store=MemoryStore())
    ask = limiter(ScriptedProvider(1))

    async def main():
        loops.add(asyncio.get_running_loop())
        await ask()

    for _ in range(3):
        run(main())
    gc.collect()
    assert 1 == len(loops)


def test_what_is_no_store_is_refused():
    """By name."""
    with pytest.raises(TypeError, match="store='redis://localhost' must be a store such as RedisStore"):
        rate_limited(rps=1, store="redis://localhost")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prefix": ""}, "prefix='' must have at least one letter"),
        ({"prefix": "a{b}"}, "no braces"),
        ({"away": "shut"}, "away='shut' must be one of 'local_share', 'open', 'closed'"),
        ({"timeout": 5}, "timeout=5 must be less than half of lease='10s'"),
        ({"block": -1}, "block=-1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    """When the store is made."""
    with pytest.raises(ValueError, match=message):
        MemoryStore(**settings)


async def test_stores_of_two_names_share_nothing(server):
    """And the same name is the same limit."""
    store = MemoryStore(server)
    a, again, b = store.named("a"), store.named("a"), store.named("b")
    limits = [rate_limited(rps=10, burst="1s", store=each) for each in (a, again, b)]
    for limiter in limits:
        await limiter(ScriptedProvider(1))()
    first, second, third = (limiter.snapshot()[0].available["rps"] for limiter in limits)
    assert second == pytest.approx(first - 1, abs=0.2)
    assert third == pytest.approx(first, abs=0.2)
