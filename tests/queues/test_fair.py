"""`Fair`: tenants share what a waiting layer lets through, whoever floods, cancels, retries or misjudges its tokens."""

from __future__ import annotations

import asyncio
import random
from asyncio import get_running_loop, sleep
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway import Fair, Priority, bounded, hints, rate_limited, retry_jitter
from sluiceway.admission import WaitingRoom
from sluiceway.algorithms.in_flight import InFlight
from sluiceway.testing import ScriptedProvider, completion, openai_error, run
from stepping import cancel_at_every_step
from waiters import call, waiter


def now():
    return get_running_loop().time()


async def ask_as(ask, tenant, *args, **said):
    with hints(tenant=tenant, **said):
        return await ask(*args)


def start(ask, tenant, *args, **said):
    return asyncio.create_task(ask_as(ask, tenant, *args, **said))


async def end(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# ------------------------------------------------------------------ shares


async def test_a_flood_of_one_tenant_delays_another_by_one_service_time():
    """A queues 10,000 calls, then B sends one every second: B waits no longer than one call takes."""
    bound = bounded(1, queue=Fair())

    @bound
    async def ask():
        await sleep(0.7)

    flood = [start(ask, "a") for _ in range(10_000)]
    await sleep(0)
    waits = []
    for _ in range(30):
        began = now()
        await ask_as(ask, "b")
        waits.append(now() - began - 0.7)
        await sleep(max(0.0, began + 1.0 - now()))
    assert max(waits) <= 0.7 + 1e-6
    await end(flood)


async def test_a_flood_of_tokens_delays_another_tenant_by_one_service_time():
    """The same where tokens per minute are what is short, and where all that A reserves is far too much."""
    limiter = rate_limited(tpm=60_000, tokens=lambda call: call.args[0], queue=Fair())
    ask = limiter(ScriptedProvider(completion(prompt_tokens=400, completion_tokens=100), latency=5.0))
    flood = [start(ask, "a", 1_000) for _ in range(10_000)]
    await sleep(0)
    waits = []

    async def light():
        began = now()
        await ask_as(ask, "b", 500)
        waits.append(now() - began - 5.0)

    calls = []
    for _ in range(60):
        calls.append(asyncio.create_task(light()))
        await sleep(2.0)
    await asyncio.gather(*calls)
    assert max(waits) <= 1.5 + 0.05  # a call of A's, and B's own 500 tokens
    await end(flood)


async def test_under_saturation_tokens_divide_by_weight():
    """With weights 3:1 tokens served divide 3:1 within 5 %, though estimates are wrong and a third cancels."""
    served = Counter()
    rng = random.Random(3)
    limiter = rate_limited(tpm=600_000, tokens=lambda call: 1_000, queue=Fair(weights={"a": 3, "b": 1}))

    @limiter
    async def ask(tenant):
        await sleep(rng.uniform(0.5, 3.0))
        given = rng.randint(100, 500) if tenant == "a" else rng.randint(500, 2_000)
        served[tenant] += given + 100
        return completion(prompt_tokens=given, completion_tokens=100)

    tasks = [start(ask, tenant, tenant) for _ in range(6_000) for tenant in "ab"]
    for task in rng.sample(tasks, 4_000):
        get_running_loop().call_later(rng.uniform(0, 60), task.cancel)
    await sleep(120.0)
    assert 3.0 == pytest.approx(served["a"] / served["b"], rel=0.05)
    assert 0.95 * 120 * 10_000 <= sum(served.values())
    await end(tasks)


async def test_what_one_tenant_does_not_use_another_may():
    """Work-conserving: alone, a tenant of any weight has everything."""
    bound = bounded(2, queue=Fair(weights={"small": 0.01}))

    @bound
    async def ask():
        await sleep(1.0)

    await asyncio.gather(*(start(ask, "small") for _ in range(20)))
    assert 10.0 == now()


async def test_a_retried_call_keeps_its_place_in_its_flow():
    """After a 503 the call goes before its tenant's calls that came later."""
    order = []
    failed = []
    bound = bounded(1, queue=Fair())

    @retry_jitter(attempts=2, base=0.1, cap=0.1)
    @bound
    async def ask(name):
        await sleep(1.0)
        if name == "first" and not failed:
            failed.append(name)
            raise openai_error(503)
        order.append(name)

    tasks = [start(ask, "a", name) for name in ("first", *range(5))]
    await asyncio.gather(*tasks)
    assert [0, "first", 1, 2, 3, 4] == order


async def test_calls_without_a_tenant_and_blocks_of_code_are_flows_of_their_own():
    """A flood of permits around blocks delays neither tenants nor calls without one."""
    limiter = rate_limited(rps=10, burst="100ms", slack=0, queue=Fair())
    ask = limiter(ScriptedProvider(1))

    async def block():
        async with limiter.permit():
            pass

    flood = [asyncio.create_task(block()) for _ in range(100)]
    await sleep(0)
    for tenant in (None, "a"):
        began = now()
        await ask_as(ask, tenant)
        assert now() - began <= 0.2 + 1e-6
    await end(flood)


# ------------------------------------------------------------------ what is charged


async def next_of(limiter, ask):
    """Return who of two waiting tenants goes first, both with calls of a hundred tokens."""
    order = []

    async def one(tenant):
        await ask_as(ask, tenant, 100)
        order.append(tenant)

    blocker = start(ask, "blocker", 900)
    await sleep(0)
    tasks = [asyncio.create_task(one(tenant)) for tenant in ("spent", "fresh")]
    await asyncio.gather(blocker, *tasks)
    return order[0]


def limited(**options):
    return rate_limited(tpm=6_000, burst="10s", slack=0, tokens=lambda call: call.args[0], queue=Fair(), **options)


async def test_usage_settles_what_a_call_that_never_waited_was_charged():
    """More than was reserved puts its tenant behind, though it never stood in the queue."""
    limiter = limited()
    ask = limiter(ScriptedProvider(completion(prompt_tokens=800, completion_tokens=0)))
    await ask_as(ask, "spent", 10)
    assert "fresh" == await next_of(limiter, limiter(ScriptedProvider(1)))


async def test_a_call_that_was_never_sent_is_refunded():
    """Its tenant stands as if it had asked for nothing, and goes first since it came first."""
    limiter = limited()

    async def refuse(tokens):
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await ask_as(limiter(refuse), "spent", 900)
    assert "spent" == await next_of(limiter, limiter(ScriptedProvider(1)))


async def test_permits_settle_their_own_flow():
    """What a block turned out to cost is not charged to a tenant."""
    limiter = limited()
    async with limiter.permit(tokens=10) as permit:
        permit.settle(tokens=900)
    assert "spent" == await next_of(limiter, limiter(ScriptedProvider(1)))


async def test_who_is_cancelled_at_any_step_is_not_charged():
    """A wait that ends in a cancellation, granted or not, leaves its flow where it was."""
    for step in cancel_at_every_step():
        places = InFlight(1)
        room = WaitingRoom(places, Fair().open())
        loop = get_running_loop()
        assert room.try_acquire(1, 0.0, call("holder"))
        loop.call_soon(room.release, 1, loop.time())
        outcome = await step(room.wait(1, loop, call("a")))
        await sleep(0)
        granted = outcome == "value"
        assert granted == places.held
        flow = room.queue._machine._flows["a"]
        assert (1.0 if granted else 0.0) == max(0.0, flow.finish)


@pytest.mark.parametrize(
    ("limits", "counted"),
    [
        ({"rpm": 9}, 1),
        ({"rpm": 9, "rpd": 99}, 1),
        ({"rpm": 9, "tpm": 9_000}, 1 + 500),
        ({"tpm": 9_000, "tpd": 90_000, "input_tpm": 9_000}, 500),
        ({"rps": 9, "input_tpm": 9_000, "output_tpm": 9_000}, 1 + 500),
        ({"output_tpm": 9_000}, 100),
    ],
    ids=str,
)
async def test_each_unit_counts_once(limits, counted):
    """Requests and tokens are added up, however many limits there are on the same of them."""
    limiter = rate_limited(**limits, tokens=lambda call: (400, 100), queue=Fair())
    await ask_as(limiter(ScriptedProvider(1)), "a")
    (state,) = limiter._states.values()
    assert counted == state.room.queue._machine._flows["a"].finish


# ------------------------------------------------------------------ a queue among others


def test_dead_waiters_are_neither_served_nor_charged():
    """Who gave up leaves its turn to the next of its flow."""
    queue = Fair().open()
    waiters = [waiter(tenant=name) for name in "aabb"]
    for each in waiters:
        queue.push(each)
    waiters[0].future.over = True
    assert waiters[0] is queue.pop()
    assert [waiters[1], waiters[2], waiters[3]] == [queue.pop() for _ in range(3)]


def test_a_sweep_lets_go_of_the_dead():
    """And says so to them."""
    queue = Fair().open()
    waiters = [waiter(tenant="ab"[i % 2]) for i in range(10)]
    for each in waiters:
        queue.push(each)
    for each in waiters[::3]:
        each.future.over = True
    queue.sweep()
    assert [each.future.over for each in waiters] == [each.out for each in waiters]
    assert 6 == len(queue) == len(list(queue))


def test_how_many_are_served_before_a_call():
    """A newcomer among floods waits for one of each; who floods waits for its own."""
    queue = Fair().open()
    for _ in range(1_000):
        queue.push(waiter(tenant="a"))
        queue.push(waiter(tenant="b"))
    assert (2, 2_000) == (queue.ahead(call("new")), queue.ahead(call("a")))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_permits_are_conserved_in_any_storm(seed):
    """However callers of three tenants come, work and are cancelled, all places come back and nobody is left."""

    async def storm():
        rng = random.Random(seed)
        places = InFlight(rng.randint(1, 4))
        discipline = rng.choice([Fair(), Priority(), Priority(aging=0.01), Priority(aging=0.01, within=Fair())])
        room = WaitingRoom(places, discipline.open())
        loop = get_running_loop()
        peak = 0

        async def worker():
            nonlocal peak
            who = call(rng.choice("abc"), rng.randint(0, 2), rng.choice([1, 1, 2]), loop.time() - rng.random())
            if not room.try_acquire(1, loop.time(), who):
                await room.wait(1, loop, who)
            peak = max(peak, places.held)
            try:
                await sleep(rng.choice([0, 0, 0.001, 0.01]))
            finally:
                room.release(1, loop.time())

        tasks = []
        for _ in range(150):
            tasks.append(loop.create_task(worker()))
            if rng.random() < 0.5:
                await sleep(rng.choice([0, 0, 0.002]))
            if rng.random() < 0.4:
                rng.choice(tasks).cancel()
        await asyncio.wait(tasks)
        await sleep(0.1)
        return places, peak, room

    places, peak, room = run(storm())
    assert (0, 0, 0) == (places.held, len(room), len(room.queue))
    assert peak <= places.limit


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"key": "tenant"}, TypeError, "key='tenant' must be a function"),
        ({"weights": [("a", 1)]}, TypeError, "weights=.* must be a mapping"),
        ({"weights": {"a": 0}}, ValueError, "the weight of 'a' is 0"),
        ({"weights": {"a": "3"}}, TypeError, "the weight of 'a' is '3'"),
        ({"default_weight": float("inf")}, ValueError, "default_weight is inf"),
        ({"default_weight": True}, TypeError, "default_weight is True"),
    ],
)
def test_bad_settings_are_refused(options, error, text):
    """By name, with what is allowed."""
    with pytest.raises(error, match=text):
        Fair(**options)


def test_settings_can_be_read_and_compared():
    """As they would be written."""
    assert "Fair()" == repr(Fair())
    assert "Fair(weights={'a': 3.0}, default_weight=2)" == repr(Fair(weights={"a": 3}, default_weight=2))
    assert Fair(weights={"a": 3}) == Fair(weights={"a": 3.0}) != Fair()
    assert hash(Fair(weights={"a": 3})) == hash(Fair(weights={"a": 3.0}))


async def test_a_key_that_cannot_be_one_costs_no_permit():
    """The call fails with a TypeError that says so, and what it took is there for the next."""
    limiter = rate_limited(rps=10, burst="1s", queue=Fair(key=lambda call: list(call.args)))
    with pytest.raises(TypeError, match="key= of Fair returned a list"):
        await limiter(ScriptedProvider(1))("prompt")
    assert 10.0 == pytest.approx(limiter.snapshot()[0].available["rps"])
