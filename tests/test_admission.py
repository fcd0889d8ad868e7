"""The waiting room: order, hand-over, hand-back."""

import asyncio
import gc
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluiceway.admission import WaitingRoom
from sluiceway.algorithms.in_flight import InFlight
from sluiceway.algorithms.token_buckets import TokenBuckets
from sluiceway.expiry import Wheel
from sluiceway.queues import Fair, Fifo
from sluiceway.testing import VirtualTimeLoop, run


def room_of(limiter, slack=0.0):
    return WaitingRoom(limiter, Fifo().open(), slack)


async def acquire(room, costs, **options):
    loop = asyncio.get_running_loop()
    if room.try_acquire(costs, loop.time()):
        return True
    return await room.wait(costs, loop, **options)


async def crowd(room, n, costs=(1.0,), order=None, granted=None):
    """Start *n* tasks that acquire in turn; return them."""
    loop = asyncio.get_running_loop()

    async def one(i):
        await acquire(room, costs)
        if order is not None:
            order.append(i)
        if granted is not None:
            granted.append(loop.time())

    tasks = [loop.create_task(one(i)) for i in range(n)]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize(("n", "rate"), [(1_000, 200), (100_000, 50_000)])
async def test_waiters_are_served_in_the_order_they_came(n, rate):
    """A thousand or a hundred thousand waiters on one limiter are served first come, first served, at its rate."""
    room = room_of(TokenBuckets([(rate, 1.0)]))
    order, granted = [], []
    tasks = await crowd(room, n, order=order, granted=granted)
    await asyncio.wait(tasks)
    assert list(range(n)) == order
    assert (n - 0.9 * rate) / rate == pytest.approx(granted[-1], abs=0.01)
    assert 0 == len(room)


async def test_no_rolling_second_sees_more_than_the_bucket_allows():
    """A thousand waiters at 200 a second never pass faster than the rate plus one burst."""
    granted = []
    tasks = await crowd(room_of(TokenBuckets([(200, 1.0)])), 1_000, granted=granted)
    await asyncio.wait(tasks)
    worst = max(sum(1 for t in granted if start <= t < start + 1.0) for start in granted)
    assert worst <= 200 + 180


@pytest.mark.parametrize("which", ["evens", "front", "random"])
async def test_cancelling_half_of_the_queue_loses_no_permit_and_delays_nobody(which):
    """With 400 of 800 cancelled the other 400 pass at the full rate, in order, and nothing is left behind."""
    room = room_of(TokenBuckets([(200, 1.0)], burst=0.005))
    order, granted = [], []
    tasks = await crowd(room, 800, order=order, granted=granted)
    victims = {
        "evens": range(0, 800, 2),
        "front": range(1, 401),
        "random": random.Random(1).sample(range(1, 800), 400),
    }[which]
    for i in victims:
        tasks[i].cancel()
    done, _ = await asyncio.wait(tasks)
    assert 800 - sum(task.cancelled() for task in done) == len(order)
    assert sorted(order) == order
    assert (len(order) - 1) / 200 == pytest.approx(granted[-1], abs=0.02)
    assert 0 == len(room) == len(room.queue)


async def test_a_heavy_call_gets_its_turn():
    """A call of ten permits in front of many light ones is not passed by them."""
    room = room_of(TokenBuckets([(10, 1.0)], burst=1.0))
    order = []

    async def one(name, cost):
        await acquire(room, (cost,))
        order.append(name)

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(one("first", 10.0))]
    tasks += [loop.create_task(one("heavy", 10.0))]
    tasks += [loop.create_task(one("light", 1.0)) for _ in range(20)]
    await asyncio.wait(tasks)
    assert ["first", "heavy"] == order[:2]


async def test_a_grant_that_meets_a_cancellation_goes_back_and_to_the_next():
    """Granted and cancelled in one tick: the permit is not lost, the next waiter has it."""
    places = InFlight(1)
    room = room_of(places)
    assert room.try_acquire(1, 0.0)
    loop = asyncio.get_running_loop()
    first = loop.create_task(acquire(room, 1))
    second = loop.create_task(acquire(room, 1))
    await asyncio.sleep(0)
    room.release(1, loop.time())
    first.cancel()
    assert True is await second
    assert first.cancelled()
    assert 1 == places.held


async def test_a_newcomer_does_not_pass_those_who_wait():
    """Who comes while others wait waits behind them, even if it would fit."""
    room = room_of(TokenBuckets([(10, 1.0)], burst=1.0))
    loop = asyncio.get_running_loop()
    assert room.try_acquire((8.0,), loop.time())
    heavy = loop.create_task(acquire(room, (9.0,)))
    await asyncio.sleep(0)
    assert not room.try_acquire((1.0,), loop.time())
    await heavy


async def test_patience_ends_a_wait_and_leaves_no_place_taken():
    """A waiter whose patience runs out gets False, and the permit it would have had goes to the next."""
    places = InFlight(1)
    room = room_of(places)
    loop = asyncio.get_running_loop()
    assert room.try_acquire(1, 0.0)
    impatient = loop.create_task(acquire(room, 1, patience=Wheel(1.0)))
    patient = loop.create_task(acquire(room, 1))
    await asyncio.sleep(2.0)
    assert False is await impatient
    assert 1 == len(room)
    room.release(1, loop.time())
    assert True is await patient
    assert 1 == places.held


async def test_slack_lets_one_timer_admit_several():
    """With 50 ms of slack a thousand permits at 1,000 a second need about 20 wake-ups, not a thousand."""
    room = room_of(TokenBuckets([(1_000, 1.0)], burst=0.1), slack=0.05)
    granted = []
    tasks = await crowd(room, 1_000, granted=granted)
    await asyncio.wait(tasks)
    assert 0.9 == pytest.approx(granted[-1], abs=0.06)
    assert len(set(granted)) <= 22


async def test_a_pause_holds_everybody_and_then_lets_them_come_paced():
    """After a pause of ten seconds nobody comes early, and they come at the rate instead of as a burst."""
    limiter = TokenBuckets([(10, 1.0)], burst=1.0)
    room = room_of(limiter)
    granted = []
    tasks = await crowd(room, 15, granted=granted)
    limiter.pause(10.0, 0.0)
    await asyncio.wait(tasks)
    assert [0.0] * 10 == granted[:10]
    assert 10.0 <= granted[10]
    assert granted[-1] >= granted[10] + 0.39


def test_a_room_serves_one_event_loop_after_another():
    """Waiters that a finished event loop left behind do not stand in the way of the next loop's."""
    places = InFlight(1)
    room = room_of(places)

    async def leave_waiters():
        await acquire(room, 1)
        return [asyncio.create_task(acquire(room, 1)) for _ in range(3)], await asyncio.sleep(0)

    run(leave_waiters())
    assert 0 == len(room)

    async def again():
        task = asyncio.create_task(acquire(room, 1))
        await asyncio.sleep(0)
        room.release(1, 0.0)
        return await task

    assert True is run(again())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_permits_are_conserved_in_any_storm(seed):
    """However callers come, work and are cancelled, never more than the limit are inside and all places come back."""

    async def storm():
        rng = random.Random(seed)
        places = InFlight(rng.randint(1, 5))
        room = room_of(places)
        inside = peak = 0

        async def worker():
            nonlocal inside, peak
            await acquire(room, 1)
            inside += 1
            peak = max(peak, inside)
            try:
                await asyncio.sleep(rng.choice([0, 0, 0.001, 0.01]))
            finally:
                inside -= 1
                room.release(1, 0.0)

        tasks = []
        for _ in range(150):
            tasks.append(asyncio.create_task(worker()))
            if rng.random() < 0.5:
                await asyncio.sleep(rng.choice([0, 0, 0.002]))
            if rng.random() < 0.4:
                rng.choice(tasks).cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0.1)
        return places, peak, room

    places, peak, room = run(storm())
    assert 0 == places.held
    assert peak <= places.limit
    assert 0 == len(room)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
@example(seed=519912)  # who asks when the queue is served goes on at once, before those who were served are woken
def test_requests_and_tokens_stay_inside_their_buckets_in_any_storm(seed):
    """Grants come in order of arrival and every span of time stays under rate x time + capacity, for each limit."""

    async def storm():
        rng = random.Random(seed)
        loop = asyncio.get_running_loop()
        room = room_of(TokenBuckets([(50, 1.0), (5_000, 1.0)]))
        got = []

        async def worker(i):
            costs = (1.0, float(rng.randint(1, 900)))
            await acquire(room, costs)
            got.append((loop.time(), costs, i))

        tasks = []
        for i in range(120):
            tasks.append(loop.create_task(worker(i)))
            if rng.random() < 0.5:
                await asyncio.sleep(rng.choice([0, 0.01]))
            if rng.random() < 0.4:
                rng.choice(tasks).cancel()
        await asyncio.wait(tasks)
        return got

    got = run(storm())
    in_order = [at for at, _, i in sorted(got, key=lambda grant: grant[2])]
    assert sorted(in_order) == in_order
    for resource, (rate, capacity) in enumerate(((50, 45), (5_000, 4_500))):
        for a, (start, _, _) in enumerate(got):
            total = 0.0
            for at, costs, _ in got[a:]:
                total += costs[resource]
                assert total <= capacity + rate * (at - start) + 1e-3


def left_in(loop, room):
    """Return a task of *loop* that waits in *room*, and of which nobody complains when it is destroyed."""

    async def begin():
        task = loop.create_task(room.wait(1, loop))
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())
    task._log_destroy_pending = False
    return task


@pytest.mark.parametrize("queue", [Fifo(), Fair(lambda call: None)], ids=repr)
def test_a_grant_to_one_whose_loop_was_closed_meanwhile_goes_to_the_next(queue):
    """Loops that take turns share a room; one that is closed has nobody any more who could be woken."""
    places = InFlight(1)
    room = WaitingRoom(places, queue.open())
    assert room.try_acquire(1, 0.0)
    first, second = VirtualTimeLoop(), VirtualTimeLoop()
    dead, alive = left_in(first, room), left_in(second, room)
    first.close()
    room.release(1, 0.0)
    assert True is second.run_until_complete(alive)
    assert (1, 0) == (places.held, len(room))
    del dead
    gc.collect()
    assert (1, 0) == (places.held, len(room))
    second.close()


@pytest.mark.parametrize("granted", [True, False])
def test_a_waiter_destroyed_with_its_loop_keeps_no_permit_and_no_place_in_line(granted):
    """What it was granted and never learnt of goes back."""
    places = InFlight(1)
    room = room_of(places)
    assert room.try_acquire(1, 0.0)
    loop = VirtualTimeLoop()
    task = left_in(loop, room)
    if granted:
        room.release(1, 0.0)
    coroutine = task.get_coro()
    loop.close()
    coroutine.close()
    assert (0 if granted else 1, 0) == (places.held, len(room))


async def test_retries_keep_the_rank_of_their_calls_start():
    """A further attempt stands in front of calls that started after its own did, behind those that did before."""

    class Again:
        attempt = 2

        class run:
            started_at = 5.0

    queue = Fifo().open()
    loop = asyncio.get_running_loop()
    from sluiceway.admission import Waiter

    early = Waiter(loop.create_future(), 1, None, 1.0)
    late = Waiter(loop.create_future(), 1, None, 9.0)
    again = Waiter(loop.create_future(), 1, Again(), 10.0)
    for waiter in (early, late, again):
        queue.push(waiter)
    assert [early, again, late] == [queue.pop() for _ in range(3)]
