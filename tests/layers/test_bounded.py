"""`bounded`: at most so many in flight, whoever comes, waits, leaves or is cancelled."""

from __future__ import annotations

import asyncio
import threading
from asyncio import CancelledError, get_running_loop, sleep

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway import (
    BoundExceeded,
    Deployment,
    Fifo,
    Pipeline,
    QueueFull,
    ReentrantUse,
    bounded,
    fallback,
    hedged,
    hints,
    routed,
    timed,
)
from sluiceway.events import CallRejected, Waited
from sluiceway.testing.virtual_time import VirtualTimeLoop
from spies import Again, Stream
from stepping import cancel_at_every_step


def now():
    return get_running_loop().time()


def held(bound, key=None):
    return next((shot.in_flight for shot in bound.snapshot() if shot.key == key), 0)


def waiting(bound, key=None):
    return next((shot.waiting for shot in bound.snapshot() if shot.key == key), 0)


class Provider:
    """Takes its time, and knows the most that it had at once."""

    def __init__(self, seconds=1.0):
        self.seconds = seconds
        self.inside = 0
        self.peak = 0
        self.order = []

    async def __call__(self, name=None, seconds=None):
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        self.order.append(name)
        try:
            await sleep(self.seconds if seconds is None else seconds)
            return name
        finally:
            self.inside -= 1


def tenant(call):
    return call.hints.tenant


# ------------------------------------------------------------------ at most so many


async def test_never_more_than_the_limit_are_in_flight_and_all_get_their_turn_in_order():
    """Ten calls through three places take four rounds, first come, first served."""
    provider, bound = Provider(), bounded(3)
    ask = bound(provider)
    assert list(range(10)) == await asyncio.gather(*(ask(number) for number in range(10)))
    assert (3, 4.0, list(range(10))) == (provider.peak, now(), provider.order)
    assert (0, 0) == (held(bound), waiting(bound))


async def test_a_free_place_is_taken_without_waiting():
    """As long as there is one, no time passes."""
    provider = Provider(0)
    ask = bounded(1)(provider)
    for number in range(3):
        assert number == await ask(number)
    assert 0.0 == now()


@pytest.mark.parametrize("error", [ValueError, CancelledError, GeneratorExit], ids=lambda e: e.__name__)
async def test_the_place_comes_back_however_the_call_ends(error):
    """By an error of whatever kind."""
    bound = bounded(1)

    async def ask():
        raise error

    with pytest.raises(error):
        await bound(ask)()
    assert 0 == held(bound)


async def test_a_stream_counts_until_it_ends():
    """Its place is held while it is read, and whoever waits gets in when it is over."""
    bound = bounded(1)
    provider = Provider()

    async def ask():
        return Stream()

    stream = await bound(ask)()
    next_call = asyncio.create_task(bound(provider)("next"))
    await sleep(5)
    assert [] == provider.order
    assert [1, 2, 3] == [item async for item in stream]
    assert "next" == await next_call
    assert 6.0 == now()


async def test_one_object_on_two_functions_is_one_bound():
    """A layer object is its state."""
    bound, provider = bounded(1), Provider()
    first, second = bound(provider), bound(Provider())
    await asyncio.gather(first(), second(), first())
    assert 3.0 == now()


# ------------------------------------------------------------------ how long, how many


async def test_a_call_that_finds_no_place_within_max_wait_is_refused():
    """`BoundExceeded` after exactly that time; the place that comes later is the next one's."""
    bound = bounded(1, max_wait="500ms")
    ask = bound(Provider())
    first = asyncio.create_task(ask("first"))
    await sleep(0.1)
    with pytest.raises(BoundExceeded, match=r"bounded\(1\): no place within max_wait=0.5 s") as raised:
        await ask("second")
    assert 0.6 == now()
    assert ("bounded", None) == (raised.value.layer, raised.value.retry_after)
    assert (1, 0) == (held(bound), waiting(bound))
    third = asyncio.create_task(ask("third"))
    assert ["first", "third"] == [await first, await third]


async def test_with_a_max_wait_of_zero_a_call_is_refused_at_once():
    """No queue at all."""
    bound = bounded(2, max_wait=0)
    ask = bound(Provider())
    tasks = [asyncio.create_task(ask(number)) for number in range(2)]
    await sleep(0)
    with pytest.raises(BoundExceeded, match=r"bounded\(2\): all 2 places are taken"):
        await ask()
    assert 0.0 == now()
    await asyncio.gather(*tasks)
    assert "later" == await ask("later")


async def test_more_than_max_queue_do_not_wait():
    """`QueueFull` says how many wait; somebody who leaves makes room for another."""
    bound = bounded(1, max_queue=2)
    ask = bound(Provider())
    tasks = [asyncio.create_task(ask(number)) for number in range(3)]
    await sleep(0)
    with pytest.raises(QueueFull, match=r"2 calls wait already \(max_queue=2\)") as raised:
        await ask()
    assert "bounded" == raised.value.layer
    tasks[2].cancel()
    await sleep(0)
    last = asyncio.create_task(ask("last"))
    assert [0, 1, "last"] == [await tasks[0], await tasks[1], await last]


async def test_a_max_queue_of_zero_refuses_whoever_would_wait():
    """Places yes, waiting no."""
    ask = bounded(1, max_queue=0)(Provider())
    task = asyncio.create_task(ask())
    await sleep(0)
    with pytest.raises(QueueFull):
        await ask()
    await task


async def test_a_limit_around_it_ends_the_wait_and_leaves_no_trace():
    """Waiting for a place is part of the total, and the error says so."""
    bound = bounded(1)
    ask = timed(3)(bound(Provider(60)))
    holder = asyncio.create_task(bound(Provider(5))())
    await sleep(1)
    with pytest.raises(TimeoutError, match=r"3 s in bounded wait"):
        await ask()
    assert (1, 0) == (held(bound), waiting(bound))
    await holder


# ------------------------------------------------------------------ by key


async def test_each_key_has_places_of_its_own():
    """One tenant's queue is not another's."""
    bound, provider = bounded(1, by=tenant), Provider()
    ask = bound(provider)

    async def as_tenant(name):
        with hints(tenant=name):
            return await ask(name)

    await asyncio.gather(*(as_tenant(name) for name in "aab"))
    assert 2.0 == now()
    assert ["a", "b", "a"] == provider.order
    assert {"a", "b"} == {shot.key for shot in bound.snapshot()}


async def test_a_refusal_names_the_key():
    """Whose places are taken."""
    ask = bounded(1, by=tenant, max_wait=0)(Provider())
    with hints(tenant="acme"):
        task = asyncio.create_task(ask())
        await sleep(0)
        with pytest.raises(BoundExceeded, match=r"bounded\(1\) for 'acme': all 1 places are taken"):
            await ask()
    await task


async def test_a_key_that_is_in_use_is_not_forgotten_among_a_thousand():
    """With more keys than are kept, a key with a call in flight or in line keeps its count."""
    bound, provider = bounded(1, by=lambda call: call.args[0]), Provider(0)
    ask = bound(provider)
    busy = asyncio.create_task(ask("busy", 100))
    await sleep(0)
    queued = asyncio.create_task(ask("busy", 100))
    await sleep(0)
    for number in range(1500):
        await ask(number)
    assert (1, 1) == (held(bound, "busy"), waiting(bound, "busy"))
    assert len(bound.snapshot()) <= 1000
    await asyncio.gather(busy, queued)
    assert 200.0 == now()


async def test_an_error_of_by_is_the_calls_and_takes_no_place():
    """What the user's function raises comes out; an unhashable key is explained."""

    def failing(call):
        raise LookupError("no tenant")

    bound = bounded(1, by=failing)
    with pytest.raises(LookupError, match="no tenant"):
        await bound(Provider())()
    with pytest.raises(TypeError, match="not hashable"):
        await bounded(1, by=lambda call: [])(Provider())()


# ------------------------------------------------------------------ resizing


async def test_shrunk_from_ten_to_two_and_grown_to_four_never_lets_twelve_in():
    """With ten inside nobody enters before they are fewer than the limit: it is derived from what is held."""
    provider, bound = Provider(), bounded(10)
    ask = bound(provider)
    first = [asyncio.create_task(ask(number, number + 1)) for number in range(10)]
    await sleep(0)
    bound.resize(2)
    rest = [asyncio.create_task(ask("late", 100)) for _ in range(10)]
    await sleep(0)
    bound.resize(4)
    entered = []
    for second in range(1, 11):
        await sleep(1)
        await sleep(0)
        entered.append((second, held(bound), provider.order.count("late")))
    assert [(second, max(10 - second, 4), max(0, second - 6)) for second in range(1, 11)] == entered
    for task in (*first, *rest):
        task.cancel()
    await asyncio.gather(*first, *rest, return_exceptions=True)
    assert (0, 0, 10) == (held(bound), waiting(bound), provider.peak)


async def test_growing_lets_waiters_in_at_once():
    """Who waits does not wait for somebody to leave."""
    bound, provider = bounded(1), Provider()
    ask = bound(provider)
    tasks = [asyncio.create_task(ask(number)) for number in range(4)]
    await sleep(0.5)
    bound.resize(3)
    await sleep(0)
    assert 3 == provider.inside
    assert (3, 3) == (bound.limit, bound.snapshot()[0].limit)
    await asyncio.gather(*tasks)
    assert 2.0 == now()


async def test_resizing_reaches_every_key_those_to_come_too():
    """The limit is the layer's."""
    bound = bounded(1, by=tenant)
    ask = bound(Provider())

    async def three(name):
        with hints(tenant=name):
            await asyncio.gather(*(ask() for _ in range(3)))

    first = asyncio.create_task(three("a"))
    await sleep(0)
    bound.resize(3)
    await asyncio.gather(first, three("b"))
    assert 1.0 == now()


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_wrong_limit_is_refused_and_changes_nothing(limit, error):
    """At construction and when it is resized."""
    with pytest.raises(error, match=f"limit={limit!r}"):
        bounded(limit)
    bound = bounded(3)
    with pytest.raises(error, match=f"limit={limit!r}"):
        bound.resize(limit)
    assert 3 == bound.limit


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"by": "tenant"}, TypeError),
        ({"max_wait": -1}, ValueError),
        ({"max_wait": "soon"}, ValueError),
        ({"max_queue": -1}, ValueError),
        ({"max_queue": 1.5}, TypeError),
        ({"queue": "fifo"}, TypeError),
    ],
    ids=str,
)
def test_other_wrong_settings_are_refused_when_it_is_made(wrong, error):
    """Each by its name and value."""
    with pytest.raises(error, match=f"{next(iter(wrong))}="):
        bounded(1, **wrong)


# ------------------------------------------------------------------ a call inside of a call


async def test_a_call_inside_of_one_that_holds_a_place_is_refused_at_once_not_only_under_load():
    """`ReentrantUse`, deterministically: with free places it would work today and hang tomorrow."""
    bound = bounded(100)
    inner = bound(Provider())

    async def outer():
        return await inner()

    with pytest.raises(ReentrantUse, match=r"Provider is called inside outer, which holds a place of the same bounded"):
        await bound(outer)()
    assert 0.0 == now()
    assert 0 == held(bound)


async def test_it_is_refused_through_functions_in_between_and_from_tasks_too():
    """However deep, and from whatever task the provider made."""
    bound, other = bounded(100), bounded(100)
    inner = bound(Provider())

    @other
    async def between():
        return await asyncio.gather(inner())

    @bound
    async def outer():
        return await between()

    with pytest.raises(ReentrantUse):
        await outer()
    assert (0, 0) == (held(bound), held(other))


async def test_a_place_that_was_given_back_is_no_reentrance():
    """A call that fell back to a function under the same object holds nothing any more."""
    bound = bounded(1)

    @bound
    async def other():
        return "other"

    @fallback(other)
    @bound
    async def ask():
        raise ConnectionResetError

    assert "other" == await ask()


@pytest.mark.parametrize("around", [lambda b: routed(Deployment("a", layers=[b])), lambda b: Pipeline(hedged("1s"), b)])
async def test_it_is_refused_however_the_outer_call_came_by_its_place(around):
    """In a deployment, or as one of attempts that run side by side."""
    bound = bounded(2)
    inner = bound(Provider())

    @around(bound)
    async def outer():
        return await inner()

    with pytest.raises(ReentrantUse):
        await outer()
    assert 0 == held(bound)


async def test_another_object_another_key_or_a_finished_call_is_no_reentrance():
    """Only a place that this very call holds can be waited for in vain."""
    bound, own = bounded(1, by=tenant), bounded(1)
    inner = bound(own(Provider()))

    @bound
    async def outer():
        with hints(tenant="b"):
            return await inner("inner")

    with hints(tenant="a"):
        assert "inner" == await outer()
        assert "again" == await inner("again")


async def test_a_task_left_behind_by_its_call_is_no_reentrance():
    """It holds no place any more, and waits like anybody."""
    bound, left = bounded(1), []
    inner = bound(Provider())

    async def later():
        await sleep(1)
        return await inner("later")

    @bound
    async def outer():
        left.append(asyncio.create_task(later()))

    await outer()
    assert "later" == await left[0]


async def test_a_reader_that_calls_between_two_items_is_no_reentrance_but_may_have_to_wait():
    """The reader's own calls are not made by the stream's provider; with a place free they run."""
    bound = bounded(2)
    inner = bound(Provider(0))

    @bound
    async def ask():
        return Stream()

    assert [1, 2, 3] == [item async for item in await ask() if await inner(item)]


# ------------------------------------------------------------------ nothing is left behind


async def test_cancelled_at_any_step_of_a_call_nothing_is_left():
    """Holding, waiting, being woken: whatever the moment, no place and nobody in line stays."""
    bound = bounded(1)
    ask = timed(60)(bound(Provider()))
    for step in cancel_at_every_step():
        holder = asyncio.create_task(ask("holder"))
        await sleep(0)
        outcome = await step(ask("cancelled"))
        behind = asyncio.create_task(ask("behind"))
        assert ["holder", "behind"] == [await holder, await behind]
        assert ("cancelled" if step.reached else "value") == outcome
        assert (0, 0) == (held(bound), waiting(bound))


async def test_cancelled_at_any_step_of_a_stream_nothing_is_left():
    """The same for a reader that waits for its place and reads its stream."""
    bound = bounded(1)

    async def ask():
        await sleep(1)
        return Stream(gap=1.0)

    ask = bound(ask)

    async def whole():
        async with await ask() as stream:
            return [item async for item in stream]

    for step in cancel_at_every_step():
        holder = asyncio.create_task(whole())
        await sleep(0)
        await step(whole())
        await holder
        assert [1, 2, 3] == await whole()
        assert (0, 0) == (held(bound), waiting(bound))


async def test_a_grant_that_is_cancelled_in_the_same_tick_goes_to_the_next():
    """The place is handed over, its new holder is cancelled before it runs, and the one behind gets it."""
    bound, provider = bounded(1), Provider()
    ask = bound(provider)

    async def hold():
        await ask("holder")
        chosen.cancel()

    holder = asyncio.create_task(hold())
    await sleep(0)
    chosen, behind = asyncio.create_task(ask("chosen")), asyncio.create_task(ask("behind"))
    await holder
    assert "behind" == await behind
    with pytest.raises(CancelledError):
        await chosen
    assert ["holder", "behind"] == provider.order


async def test_a_wait_that_runs_out_in_the_tick_of_its_grant_has_one_outcome():
    """Either it got the place and runs, or it did not and the place is the next one's."""
    bound = bounded(1, max_wait=1)
    ask = bound(Provider())
    holder = asyncio.create_task(ask("holder"))
    await sleep(0)
    results = await asyncio.gather(ask("a"), ask("b"), return_exceptions=True)
    await holder
    granted = [result for result in results if isinstance(result, str)]
    assert len(granted) <= 1
    assert (0, 0) == (held(bound), waiting(bound))
    assert "after" == await ask("after")


async def test_a_retry_gives_its_place_back_between_attempts():
    """No place is held across a backoff, and a further attempt keeps its rank in line."""
    bound, provider = bounded(1), Provider()
    fails = [1]

    async def flaky():
        await sleep(1)
        if fails:
            fails.pop()
            raise ConnectionError
        return "flaky"

    retried = Again(pause=10)(bound(flaky))
    task = asyncio.create_task(retried())
    await sleep(2)
    assert 0 == held(bound)
    other = bound(provider)
    tasks = [asyncio.create_task(other(number, 9.5)) for number in range(3)]
    assert "flaky" == await task
    assert [0, 1] == provider.order
    await asyncio.gather(*tasks)


storms = st.lists(
    st.tuples(st.sampled_from(["call", "cancel", "sleep", "resize"]), st.integers(0, 6), st.integers(0, 3)),
    max_size=40,
)


@settings(deadline=None)
@given(st.integers(1, 4), storms)
def test_whatever_comes_leaves_and_is_cancelled_places_are_conserved(limit, storm):
    """Never more inside than the largest limit so far, nobody forgotten, and in the end everything is free."""

    async def play():
        bound, provider = bounded(limit), Provider()
        ask, tasks, most = bound(provider), [], limit
        for step, number, extra in storm:
            if step == "call":
                tasks.append(asyncio.create_task(ask(number, extra)))
            elif step == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            elif step == "sleep":
                await sleep(number / 4)
            elif step == "resize":
                most = max(most, number + 1)
                bound.resize(number + 1)
            assert provider.inside <= held(bound) <= most
        await asyncio.gather(*tasks, return_exceptions=True)
        assert provider.peak <= most
        assert (0, 0) == (held(bound), waiting(bound))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(play())


# ------------------------------------------------------------------ what it shows


async def test_a_wait_is_reported_with_what_it_waited_for(listen):
    """From when to when, how many were in line, how full it was, and whether it was granted."""
    events = listen(detailed=False)
    ask = bounded(1)(Provider())
    await asyncio.gather(ask("a"), ask("b"))
    waits = events(Waited)
    assert [(0.0, 1.0, "bounded", "bounded wait", True, 0)] == [
        (event.started_at, event.at, event.reason, event.name, event.granted, event.queue_depth) for event in waits
    ]
    assert {"sluiceway.bounded.limit": 1, "sluiceway.bounded.in_flight": 1, "sluiceway.queue.depth": 0} == dict(
        waits[0].attributes
    )


async def test_a_call_that_did_not_wait_is_reported_only_when_detail_is_wanted(listen):
    """A phase without length is for a recording span."""
    events = listen(detailed=True)
    await bounded(1)(Provider())()
    assert [(0.0, 0.0)] == [(event.started_at, event.at) for event in events(Waited)]
    events = listen(detailed=False)
    await bounded(1)(Provider())()
    assert [] == events(Waited)


async def test_a_refusal_is_reported_once_with_its_error(listen):
    """And a wait in vain as a wait that was not granted."""
    events = listen(detailed=False)
    ask = bounded(1, max_wait=0.5)(Provider())
    task = asyncio.create_task(ask())
    await sleep(0)
    with pytest.raises(BoundExceeded) as raised:
        await ask()
    await task
    assert [("bounded", raised.value)] == [(event.layer, event.error) for event in events(CallRejected)]
    assert [False] == [event.granted for event in events(Waited)]


async def test_its_repr_and_snapshot_say_why_somebody_waits():
    """How many are in flight and in line, for each key."""
    bound = bounded(1, by=tenant)
    ask = bound(Provider())
    with hints(tenant="a"):
        tasks = [asyncio.create_task(ask()) for _ in range(3)]
    await sleep(0)
    assert repr(bound).endswith(": 1 in flight, 2 waiting, 1 keys>")
    assert [("a", 1, 1, 2)] == [(s.key, s.in_flight, s.limit, s.waiting) for s in bound.snapshot()]
    await asyncio.gather(*tasks)
    assert "<bounded(30): 0 in flight, 0 waiting>" == repr(bounded(30))
    assert bound.keyed
    assert not bounded(1).keyed


def test_its_settings_are_all_there():
    """For `describe`."""
    assert {"limit": 1, "by": None, "max_wait": None, "max_queue": 5, "queue": Fifo(), "store": None} == dict(
        bounded(1, max_queue=5, queue=Fifo()).settings()
    )


def test_a_loop_that_ended_with_callers_in_line_leaves_the_next_one_nothing():
    """Those who waited when the first loop ended are gone; the places are all free."""
    bound = bounded(1)
    ask = Pipeline(bound)(Provider())

    async def left():
        for _ in range(3):
            asyncio.get_running_loop().create_task(ask())
        await sleep(0.5)

    async def anew():
        return await asyncio.gather(ask("a"), ask("b"))

    for main in (left, anew, left, anew):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            result = runner.run(main())
    assert ["a", "b"] == result
    assert (0, 0) == (held(bound), waiting(bound))


def test_a_second_loop_at_the_same_time_is_refused():
    """A place given back in one thread could not wake who waits in another: he would wait for ever."""
    ask = Pipeline(bounded(1))(Provider(0))
    first = asyncio.new_event_loop()
    thread = threading.Thread(target=first.run_forever)
    thread.start()
    try:
        assert "a" == asyncio.run_coroutine_threadsafe(ask("a"), first).result()
        with asyncio.Runner() as second, pytest.raises(RuntimeError, match="bounded object is used by two event loops"):
            second.run(ask("b"))
    finally:
        first.call_soon_threadsafe(first.stop)
        thread.join()
        first.close()


def test_the_class_of_a_queue_is_no_queue():
    """`queue=Fifo` without its parentheses is refused by name."""
    with pytest.raises(TypeError, match=r"queue=<class .*Fifo'> must be the order of a queue, such as Fifo\(\)"):
        bounded(1, queue=Fifo)
