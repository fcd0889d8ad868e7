"""`coalesced`: one flight for equal calls, however its passengers come and go."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from asyncio import CancelledError, create_task, gather, get_running_loop, sleep

import pytest

from sluiceway import (
    BoundExceeded,
    Pipeline,
    ReentrantUse,
    Session,
    TimedOut,
    bounded,
    coalesced,
    hedged,
    hints,
    retry_jitter,
    timed,
)
from sluiceway.events import AttemptFinished, AttemptStarted, Coalesced, Phase
from sluiceway.layers.coalesced import CoalescedSnapshot
from sluiceway.testing import ScriptedProvider, after, completion, stream
from sluiceway.testing.virtual_time import VirtualTimeLoop
from spies import Spy
from stepping import cancel_at_every_step


def now():
    return get_running_loop().time()


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


def held(bound):
    return bound.snapshot()[0].in_flight


async def settled():
    for _ in range(10):
        await sleep(0)


def slow(*script, latency=1.0):
    return ScriptedProvider(*script, latency=latency)


# ------------------------------------------------------------------ one flight


async def test_equal_calls_at_the_same_time_are_one():
    """All get the same object, at the time at which the first would have had it."""
    ask = slow(completion("hi"))
    f = coalesced()(ask)
    first, *rest = await gather(*(f("prompt") for _ in range(5)))
    assert all(answer is first for answer in rest)
    assert (1, 1.0, set()) == (ask.count, now(), others())


async def test_a_call_joins_one_that_is_under_way_and_not_one_that_is_over():
    """What is over is no flight."""
    ask = slow("a", "b")
    f = coalesced()(ask)
    early = create_task(f("x"))
    await sleep(0.9)
    assert "a" == await f("x")
    assert "a" == await early
    assert "b" == await f("x")
    assert (2, 2.0) == (ask.count, now())


async def test_a_flight_goes_as_far_as_it_can_at_once():
    """Whoever comes first is first at the layers inside, and what is refused there needs no task."""
    order = []

    async def ask(prompt):
        order.append(prompt)
        await sleep(1)

    f = Pipeline(coalesced(), bounded(1, max_wait=0))(ask)
    first = create_task(f("a"))
    await sleep(0)
    assert ["a"] == order
    with pytest.raises(BoundExceeded):
        await f("b")
    assert 2 == len(others())  # the first caller and its flight
    await first
    assert (["a"], set()) == (order, others())


async def test_a_call_that_never_waits_leaves_nothing_behind():
    """Neither a task nor anything for the garbage collector: a loop over such calls must not grow."""

    async def ask():
        return 1

    f = coalesced()(ask)
    await f()
    gc.collect()
    for _ in range(100):
        await f()
    assert set() == others()
    assert 0 == gc.collect()


async def test_different_arguments_or_functions_are_different_calls():
    """Also through one object."""
    layer, one, two = coalesced(), slow("one"), slow("two")
    f, g = layer(one), layer(two)
    assert ["one", "one", "two"] == await gather(f("x"), f("y"), g("x"))
    assert (2, 1) == (one.count, two.count)


async def test_methods_of_two_objects_are_one_call_unless_the_key_says_otherwise():
    """`self` is no argument."""

    class Bot:
        def __init__(self, model):
            self.model = model

        async def ask(self, prompt):
            await sleep(1)
            return self.model, prompt

    small, large = Bot("small"), Bot("large")
    f = coalesced()
    plain = [Pipeline(f)(bot.ask) for bot in (small, large)]
    assert [("small", "x"), ("small", "x")] == await gather(*(ask("x") for ask in plain))
    keyed = Pipeline(coalesced(key=lambda call: (call.instance.model, *call.args)))
    assert [("small", "x"), ("large", "x")] == await gather(*(keyed(bot.ask)("x") for bot in (small, large)))


async def test_an_error_goes_to_all():
    """The same object."""
    error = ConnectionError("reset")
    f = coalesced()(slow(error))
    ends = await gather(*(f() for _ in range(3)), return_exceptions=True)
    assert all(end is error for end in ends)
    assert set() == others()


async def test_a_key_of_none_flies_alone():
    """As does a call that must not be repeated: leaving one out is no different."""
    ask = slow()
    f = coalesced(key=lambda _: None)(ask)
    await gather(f(), f())
    assert 2 == ask.count
    f = coalesced()(ask)
    with hints(idempotent=False):
        await gather(f(), f())
    assert 4 == ask.count


async def test_arguments_that_cannot_be_compared_are_refused_by_name():
    """And the error says what to do."""
    f = coalesced()(slow())
    with pytest.raises(TypeError, match="key="):
        await f(object())


async def test_a_call_inside_an_equal_one_is_refused():
    """It would wait for itself."""

    async def ask(depth):
        return await f(depth)

    f = coalesced()(ask)
    with pytest.raises(ReentrantUse):
        await f(1)


async def test_a_call_inside_a_different_one_is_fine():
    """Each is a flight."""

    async def ask(depth):
        return await f(depth - 1) if depth else "ground"

    f = coalesced()(ask)
    assert "ground" == await f(3)


async def test_permits_inside_are_those_of_the_flight():
    """One, however many wait."""
    bound = bounded(5)
    f = Pipeline(coalesced(), bound)(slow("x"))
    tasks = [create_task(f()) for _ in range(10)]
    await sleep(0.5)
    assert 1 == held(bound)
    await gather(*tasks)
    assert 0 == held(bound)


# ------------------------------------------------------------------ who leaves


async def test_the_leaders_cancellation_does_not_fail_its_followers():
    """The flight goes on as long as somebody waits."""
    ask = slow("answer")
    f = coalesced()(ask)
    leader, follower = create_task(f()), create_task(f())
    await sleep(0.5)
    leader.cancel()
    await asyncio.wait([leader])
    assert (leader.cancelled(), 0.5) == (True, now())
    assert "answer" == await follower
    assert (1, 1.0, set()) == (ask.count, now(), others())


async def test_when_the_last_is_gone_the_flight_is_cancelled_and_awaited():
    """Its clean-up is over before the last one is."""
    cleaned = []

    async def ask():
        try:
            await sleep(10)
        finally:
            await sleep(0.25)
            cleaned.append(now())

    f = coalesced()(ask)
    tasks = [create_task(f()) for _ in range(2)]
    await sleep(1)
    tasks[0].cancel()
    await sleep(1)
    assert [] == cleaned
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert ([2.25], 2.25, set()) == (cleaned, now(), others())


async def test_a_call_that_comes_while_a_left_flight_ends_flies_anew():
    """It is not taken along into the cancellation."""
    ask = slow("a", "b")

    async def stubborn():
        try:
            return await ask()
        finally:
            await sleep(0.5)

    f = coalesced()(stubborn)
    leaving = create_task(f())
    await sleep(0.1)
    leaving.cancel()
    await sleep(0.1)
    assert "b" == await f()
    assert leaving.cancelled()


async def test_each_callers_own_time_limit_ends_its_own_waiting():
    """The flight of a caller who waits longer goes on, without the first one's deadline."""
    ask = slow("answer", latency=5)
    f = coalesced()
    short, long = Pipeline(timed(2), f)(ask), Pipeline(timed(60), f)(ask)
    first, second = create_task(short()), create_task(long())
    with pytest.raises(TimedOut):
        await first
    assert 2.0 == now()
    assert "answer" == await second
    assert 1 == ask.count


async def test_a_retry_inside_is_the_flights_and_sees_no_ones_deadline():
    """It makes the attempts for all."""
    ask = ScriptedProvider(ConnectionError, "answer")
    f = Pipeline(timed(0.1), coalesced(), retry_jitter(3, base=1, jitter="none"))(ask)
    g = Pipeline(timed(60), *f._self_chain.layers[1:])(ask)
    ends = await gather(f(), g(), return_exceptions=True)
    assert (TimedOut, "answer") == (type(ends[0]), ends[1])
    assert 2 == ask.count


@pytest.mark.parametrize("followers", [0, 1])
async def test_a_leader_cancelled_at_any_step_leaves_nothing(followers):
    """No permit, no task, no flight; and followers have their answer."""
    layer, bound = coalesced(), bounded(5)
    for step in cancel_at_every_step():
        f = Pipeline(layer, bound, Spy())(slow("answer"))
        waiting = create_task(step(f()))
        await sleep(0.5)
        tasks = [create_task(f()) for _ in range(followers if layer.snapshot().flights else 0)]
        outcome = await waiting
        assert "cancelled" == outcome or not step.reached
        assert ["answer"] * len(tasks) == await gather(*tasks)
        assert (0, 0, 0) == (held(bound), layer.snapshot().flights, layer.snapshot().waiting)
        await settled()
        assert set() == others()


async def test_a_follower_cancelled_at_any_step_leaves_nothing():
    """And the leader has its answer."""
    layer = coalesced()
    for step in cancel_at_every_step():
        f = layer(slow("answer"))
        leader = create_task(f())
        await sleep(0.5)
        outcome = await step(f())
        assert "cancelled" == outcome or not step.reached
        assert "answer" == await leader
        assert (0, 0) == (layer.snapshot().flights, layer.snapshot().waiting)
        assert set() == others()


# ------------------------------------------------------------------ streams that are not shared


async def test_calls_that_ask_for_a_stream_pass():
    """Each has its own."""
    ask = slow(stream([1, 2]))
    f = coalesced()(ask)
    streams = await gather(f("x", stream=True), f("x", stream=True))
    assert [[1, 2], [1, 2]] == [[item async for item in each] for each in streams]
    assert 2 == ask.count


async def test_async_generators_pass():
    """Each caller runs its own."""
    begun = []

    async def ask(prompt):
        begun.append(prompt)
        yield prompt
        await sleep(1)
        yield prompt

    f = coalesced()(ask)

    async def read():
        return [item async for item in f("x")]

    assert [["x", "x"]] * 2 == await gather(read(), read())
    assert ["x", "x"] == begun


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks from Python 3.12 on")
@pytest.mark.parametrize("latency", [0, 1])
@pytest.mark.parametrize("step", ["value", ValueError("broken")], ids=["value", "error"])
async def test_it_works_where_all_tasks_are_eager(step, latency):
    """A flight may be over before its task is there to be waited for; one that waits is joined, and left, as any."""
    get_running_loop().set_task_factory(asyncio.eager_task_factory)
    ask = slow(step, latency=latency)
    layer = coalesced()
    f = layer(ask)
    assert [step] * 2 == await gather(f("x"), f("x"), return_exceptions=True)
    assert (1 if latency else 2, latency) == (ask.count, now())
    tasks = [create_task(f("y")) for _ in range(2)]
    for task in tasks:
        task.cancel()
    left = await gather(*tasks, return_exceptions=True)
    assert ([CancelledError] * 2 if latency else [type(step)] * 2) == [type(each) for each in left]
    assert (0, 0) == (layer.snapshot().flights, layer.snapshot().waiting)
    assert set() == others()


@pytest.mark.parametrize("latency", [0, 1])
@pytest.mark.parametrize("step", ["value", ValueError("broken"), stream([1])], ids=["value", "error", "stream"])
async def test_it_works_where_a_factory_makes_the_tasks(step, latency):
    """The first step of a flight is then made in its task, and what it comes to is everybody's all the same."""
    get_running_loop().set_task_factory(lambda loop, work, **more: asyncio.Task(work, loop=loop, **more))
    ask = slow(step, latency=latency)
    layer = coalesced(streams=True)
    f = layer(ask)

    async def outcome():
        got = await f("x")
        return got if got == step else [item async for item in got]

    first, second = await gather(outcome(), outcome(), return_exceptions=True)
    assert first == second == (step if isinstance(step, (str, ValueError)) else [1])
    assert (1, latency) == (ask.count, now())
    assert (0, 0) == (layer.snapshot().flights, layer.snapshot().waiting)
    await settled()
    assert set() == others()


async def test_it_keeps_no_async_generator_function_alive():
    """Such functions may be made at run time, thousands of them, and are known only while they live."""
    layer = coalesced()
    there = weakref.WeakSet()
    for _ in range(10):

        async def ask():
            yield 1

        there.add(ask)
        assert [1] == [item async for item in layer(ask)()]
    del ask
    gc.collect()
    assert 0 == len(there)


async def test_where_only_the_answer_tells_the_first_gets_the_stream_and_the_others_their_own():
    """The permit of each is held to the end of its stream."""
    bound = bounded(5)
    ask = slow(stream([1, 2], gap=1))
    f = Pipeline(coalesced(), bound)(ask)
    streams = await gather(f("x"), f("x"))
    assert (2, 2, 2.0) == (ask.count, held(bound), now())
    assert [1, 2] == [item async for item in streams[0]]
    assert 1 == held(bound)
    await streams[1].aclose()
    assert (0, set()) == (held(bound), others())


async def test_a_stream_that_the_first_did_not_wait_for_is_closed():
    """Nobody else can read it."""
    bound = bounded(5)
    ask = slow(stream([1, 2]))
    f = Pipeline(coalesced(), bound)(ask)
    first, second = create_task(f("x")), create_task(f("x"))
    await sleep(0.5)
    first.cancel()
    assert [1, 2] == [item async for item in await second]
    assert (2, 0, 0, set()) == (ask.count, held(bound), ask.in_flight, others())


# ------------------------------------------------------------------ streams that are


async def test_a_shared_stream_is_given_to_all_from_its_first_item():
    """Also to one who comes in the middle; it is opened once."""
    bound = bounded(5)
    ask = slow(stream([1, 2, 3], gap=1))
    f = Pipeline(coalesced(streams=True), bound)(ask)

    async def read(delay):
        await sleep(delay)
        return [(item, now()) async for item in await f("x")]

    early, late = await gather(read(0), read(2.5))
    assert [(1, 2.0), (2, 3.0), (3, 4.0)] == early
    assert [(1, 2.5), (2, 3.0), (3, 4.0)] == late
    assert (1, 0, set()) == (ask.count, held(bound), others())


async def test_a_shared_generator_is_run_once():
    """Its items are for all, those too that came before the last of them was there."""
    begun = []

    async def ask(prompt):
        begun.append(prompt)
        yield 1
        await sleep(0)
        yield 2

    f = coalesced(streams=True)(ask)

    async def read():
        return [item async for item in f("x")]

    assert [[1, 2]] * 3 == await gather(read(), read(), read())
    assert ["x"] == begun


async def test_the_first_reader_may_leave_a_shared_stream():
    """The others read on; when the last leaves, it is closed."""
    bound = bounded(5)
    ask = slow(stream([1, 2, 3, 4], gap=1))
    f = Pipeline(coalesced(streams=True), bound)(ask)
    first, second = await gather(f("x"), f("x"))
    assert 1 == await anext(first)
    await first.aclose()
    assert 1 == await anext(second)
    assert 2 == await anext(second)
    assert 1 == held(bound)
    del second
    gc.collect()
    await settled()
    assert (0, 0, set()) == (held(bound), ask.in_flight, others())


async def test_an_error_in_the_middle_goes_to_all_after_the_items_before_it():
    """The same object."""
    error = ConnectionError("cut")
    ask = slow(stream([1, 2], gap=1, fail_at=1, error=error))
    f = coalesced(streams=True)(ask)
    for each in await gather(f("x"), f("x")):
        assert 1 == await anext(each)
        with pytest.raises(ConnectionError) as raised:
            await anext(each)
        assert raised.value is error


async def test_time_limits_on_items_inside_run_with_the_shared_stream_and_not_with_a_slow_reader():
    """It is read at its own pace."""
    ask = slow(stream([1, 2, 3], gap=1))
    f = Pipeline(coalesced(streams=True), timed(idle=1.5, first_item=5))(ask)
    items = []
    async for item in await f("x"):
        items.append(item)
        await sleep(10)
    assert [1, 2, 3] == items
    ask = slow(stream([1, 2, 3], gap=1, hang_at=2))
    f = Pipeline(coalesced(streams=True), timed(idle=1.5, first_item=5))(ask)
    each = await f("x")
    assert [1, 2] == [await anext(each), await anext(each)]
    with pytest.raises(TimedOut):
        await anext(each)


async def test_a_reader_of_a_shared_stream_cancelled_at_any_step_leaves_nothing():
    """Opening, reading, with and without company."""
    layer, bound = coalesced(streams=True), bounded(5)

    async def read(f):
        return [item async for item in await f("x")]

    for company in (False, True):
        for step in cancel_at_every_step():
            f = Pipeline(layer, bound, Spy())(slow(stream([1, 2], gap=1)))
            other = create_task(read(f)) if company else None
            await sleep(0)
            outcome = await step(read(f))
            assert "cancelled" == outcome or not step.reached
            if other is not None:
                assert [1, 2] == await other
            gc.collect()
            await settled()
            assert (0, 0, 0, set()) == (held(bound), layer.snapshot().flights, layer.snapshot().waiting, others())


# ------------------------------------------------------------------ what is told


async def test_calls_that_were_spared_are_told(listen):
    """Where the attempt was made there is one; the others waited."""
    heard = listen()
    f = coalesced()(slow(completion("hi")))
    first = create_task(f())
    await sleep(0.4)
    await gather(first, f())
    (event,) = heard(Coalesced)
    assert ("coalesced", 0.6) == (event.layer, pytest.approx(event.waited))
    assert (1, 1) == (len(heard(AttemptStarted)), len(heard(AttemptFinished)))
    (phase,) = heard(Phase)
    assert ("coalesced wait", 0.4, 1.0) == (phase.name, phase.started_at, phase.at)


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_session_counts_the_attempt_and_its_tokens_once(leaves):
    """Whether or not the first caller was there at the end."""
    ask = slow(completion("hi", prompt_tokens=7, completion_tokens=5))
    f = coalesced()(ask)
    async with Session() as session:
        first, second = create_task(f()), create_task(f())
        await sleep(0.5)
        if leaves:
            first.cancel()
        await gather(first, second, return_exceptions=True)
    stats = session.stats
    assert (2, 1, 1, 7, 5) == (
        stats.calls, stats.attempts, stats.coalesced, stats.tokens.input, stats.tokens.output
    )  # fmt: skip


@pytest.mark.parametrize(
    "layers",
    [(coalesced(), hedged(5)), (hedged(5), coalesced()), (hedged(5), coalesced(), hedged(5))],
    ids=["around a hedge", "inside of one", "between two"],
)
@pytest.mark.parametrize("slowly", [False, True])
async def test_a_session_counts_what_branches_do_after_their_caller_left(layers, slowly):
    """Whichever of them made the attempt, and whether it was under way already."""
    ask = ScriptedProvider(*[after(7 if slowly else 1, completion("hi", prompt_tokens=7)) for _ in range(9)])
    f = Pipeline(*layers)(ask)
    async with Session() as session:
        first, second = create_task(f()), create_task(f())
        await sleep(0.5)
        first.cancel()
        await gather(first, second, return_exceptions=True)
        await sleep(20)
    stats = session.stats
    assert (2, 1, 1, 0) == (stats.calls, stats.succeeded, stats.cancelled, stats.in_flight)
    assert (len(ask.calls), 7) == (stats.attempts, stats.tokens.input)


async def test_nothing_is_remembered_of_a_call_whose_flight_went_on():
    """Failed attempts of no known model are held until their call ends, to be named; this one has ended before."""
    shared = coalesced()(ScriptedProvider(after(1, ConnectionError())))
    async with Session() as session:
        first, second = create_task(shared()), create_task(shared())
        await sleep(0.5)
        first.cancel()
        await gather(first, second, return_exceptions=True)
        assert (1, 1) == (session.stats.attempts, session.stats.attempt_errors["ConnectionError"])
        assert {} == session._statistics._unnamed


async def test_its_snapshot_and_repr_say_what_is_under_way():
    """How many flights, who waits, and how many calls were spared."""
    layer = coalesced()
    f = layer(slow("x"))
    tasks = [create_task(f(number % 2)) for number in range(5)]
    await sleep(0.5)
    assert CoalescedSnapshot(flights=2, waiting=5, joined=0) == layer.snapshot()
    assert "<coalesced(): 2 flights, 5 waiting, 0 spared>" == repr(layer)
    await gather(*tasks)
    assert CoalescedSnapshot(flights=0, waiting=0, joined=3) == layer.snapshot()


def test_one_object_serves_one_loop_after_the_other():
    """Flights that a loop left behind are not joined in the next."""
    layer = coalesced()
    ask = slow("x")
    f = layer(ask)

    async def leave():
        create_task(f())  # noqa: RUF006 - it is to be left behind
        await sleep(0.5)

    for _ in range(2):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(leave())
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert "x" == runner.run(f())
    assert 3 == ask.count


@pytest.mark.parametrize("settings", [{"key": "prompt"}, {"streams": 1}])
def test_bad_settings_are_refused(settings):
    """By name."""
    with pytest.raises(TypeError, match=f"{next(iter(settings))}="):
        coalesced(**settings)


async def test_an_asynchronous_key_is_refused():
    """Its result would be a coroutine."""

    async def key(call):
        """Not called."""

    with pytest.raises(TypeError, match="key="):
        coalesced(key=key)


async def test_a_key_that_is_not_hashable_is_refused_with_what_to_return():
    """The error names the setting and the type, not the value, which may hold the prompt."""
    ask = coalesced(key=lambda call: list(call.args))(slow())
    with pytest.raises(TypeError, match=r"^key= returned a list, which is not hashable: return a str, int or tuple$"):
        await ask("a")


async def test_a_cancellation_that_the_provider_raises_itself_is_everybodys():
    """As it would be without this layer."""
    f = coalesced()(slow(CancelledError))
    ends = await gather(f(), f(), return_exceptions=True)
    assert [CancelledError, CancelledError] == [type(end) for end in ends]
