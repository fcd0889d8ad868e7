"""`timed`: what it measures, what it ends, and that it ends it as `asyncio.timeout` would."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, current_task, get_running_loop, sleep

import pytest

from sluiceway.call import hints
from sluiceway.errors import TimedOut
from sluiceway.events import Phase
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.timed import timed
from sluiceway.order import Role
from sluiceway.testing.scripted import ScriptedProvider, after, hang
from sluiceway.testing.scripted_stream import stream
from timeout_scenarios import by_asyncio, long_clean_up, other, quick, ready_in_the_tick, slow, swallow


class Spy(Layer):
    """What any layer with a `finally` sees."""

    def __init__(self):
        self.log = []
        self.inside = 0

    async def handle(self, call, proceed):
        self.inside += 1
        try:
            result = await proceed(call)
        except BaseException as error:
            self.log.append(type(error).__name__)
            raise
        else:
            self.log.append("value")
            return result
        finally:
            self.inside -= 1


class Deadlines(Layer):
    """Notes `call.deadline` on the way in and on the way out."""

    def __init__(self):
        self.seen = []

    async def handle(self, call, proceed):
        self.seen.append(call.deadline)
        try:
            return await proceed(call)
        finally:
            self.seen.append(call.deadline)


class Twice(Layer):
    """Runs its inside a second time after a timeout."""

    async def handle(self, call, proceed):
        try:
            return await proceed(call)
        except TimedOut:
            return await proceed(call.again(2))


def now():
    return get_running_loop().time()


async def items(reading):
    """Return the items of a stream, and the kind of limit that ended it."""
    got = []
    try:
        async for item in reading:
            got.append(item)  # noqa: PERF401 - what came before the error counts
    except TimedOut as error:
        return got, error.kind
    return got, None


# ------------------------------------------------------------------ as asyncio.timeout


def by_timed(seconds, function):
    return timed(seconds)(function)


def caught(limit):
    async def inner():
        try:
            return await limit(0.02, slow)()
        except TimeoutError:
            return "inner timed out, went on"

    return limit(0.5, inner)


def nested(limit, outer, inner):
    async def through():
        return await limit(inner, slow)()

    return limit(outer, through)


SCENARIOS = {
    "in time": (lambda limit: limit(0.05, quick), []),
    "expires": (lambda limit: limit(0.02, slow), []),
    "swallowed": (lambda limit: limit(0.02, swallow), []),
    "turned into ValueError": (lambda limit: limit(0.02, other), []),
    "long clean-up": (lambda limit: limit(0.02, long_clean_up), []),
    "cancelled from outside before": (lambda limit: limit(0.05, slow), [0.01]),
    "cancelled from outside during clean-up": (lambda limit: limit(0.02, long_clean_up), [0.03]),
    "outside and timer in one tick": (lambda limit: limit(0.02, slow), [0.02]),
    "nested, both due at once": (lambda limit: nested(limit, 0.02, 0.02), []),
    "nested, outer first": (lambda limit: nested(limit, 0.02, 0.05), []),
    "nested, inner first": (lambda limit: nested(limit, 0.05, 0.02), []),
    "inner caught, goes on": (caught, []),
    "result ready in the tick of the timer": (lambda limit: limit(0.02, ready_in_the_tick), []),
    "zero": (lambda limit: limit(0, quick), []),
}


async def outcome(function, cancel_at):
    """Return how *function* ended in a task of its own, and the task's count of cancellations after it."""

    async def body():
        try:
            ended = ("value", await function())
        except BaseException as error:  # noqa: BLE001 - the outcome is the subject
            kind = "TimeoutError" if isinstance(error, TimeoutError) else type(error).__name__
            ended = (kind, type(error.__cause__).__name__)
        return ended, current_task().cancelling(), round(now() - began, 6)

    began = now()
    task = asyncio.create_task(body())
    for at in cancel_at:
        get_running_loop().call_later(at, task.cancel)
    try:
        return await task
    except CancelledError:
        return "task cancelled", task.cancelling()


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_ends_as_asyncio_timeout_does(scenario):
    """Outcome, cause, moment and `cancelling()` are those of `asyncio.timeout`, whatever races the limit."""
    make, cancel_at = SCENARIOS[scenario]
    expected = await outcome(make(by_asyncio), cancel_at)
    assert expected == await outcome(make(by_timed), cancel_at)


@pytest.mark.parametrize(("outer", "inner"), [(0.02, 0.02), (0.05, 0.02)])
async def test_two_in_one_pipeline_end_as_nested_timeouts_do(outer, inner):
    """Two limits of one pipeline race each other as two nested `asyncio.timeout` do."""
    expected = await outcome(nested(by_asyncio, outer, inner), [])
    assert expected == await outcome(timed(outer)(timed(inner)(slow)), [])


async def test_20000_calls_at_once_expire_each_on_its_own():
    """One layer times 20,000 concurrent calls, of which half expire, and forgets them all."""
    total = timed(0.05)
    ask = total(lambda seconds: sleep(seconds, "done"))
    results = await asyncio.gather(*(ask(0.5 * (i % 2)) for i in range(20_000)), return_exceptions=True)
    assert 10_000 == results.count("done") == sum(isinstance(result, TimedOut) for result in results)
    assert 0 == len(total._wheel)


# ------------------------------------------------------------------ the limit


async def test_the_error_says_which_limit_how_long_and_where_the_time_went():
    """`TimedOut` names the function, the limit and the time in each attempt, in words and as attributes."""

    class Wait(Layer):
        async def handle(self, call, proceed):
            since = now()
            await sleep(2)
            call.run.waited("somewhere", since, now())
            return await proceed(call)

    ask = timed("5s")(Wait()(ScriptedProvider(hang(), name="ask")))
    with pytest.raises(TimedOut) as caught:
        await ask()
    error = caught.value
    assert "ask not done within 5 s (spent: 3 s in attempt 1, 2 s in somewhere)" == str(error)
    assert ("total", 5.0, 5.0) == (error.kind, error.limit, error.elapsed)
    assert {"attempt 1": 3.0, "somewhere": 2.0} == error.spent


async def test_without_a_limit_it_only_measures():
    """`timed()` lets a call of an hour through."""
    assert "late" == await timed()(ScriptedProvider(after("1h", "late")))()
    assert 3600 == now()


async def test_inner_layers_see_a_cancellation_outer_ones_the_timeout():
    """What is inside sees a limit as `CancelledError`, which is nobody's fault; what is outside sees `TimedOut`."""
    outer, inner = Spy(), Spy()
    with pytest.raises(TimedOut):
        await outer(timed(1)(inner(ScriptedProvider(hang()))))()
    assert (["TimedOut"], ["CancelledError"]) == (outer.log, inner.log)


async def test_the_deadline_is_the_nearest_around_and_is_restored():
    """`call.deadline` is the nearest limit's end inside, and what it was before again outside."""
    outside, between, inside = Deadlines(), Deadlines(), Deadlines()
    ask = outside(timed(10)(between(timed(3)(inside(ScriptedProvider(after(1, "v")))))))
    assert "v" == await ask()
    assert ([None, None], [10.0, 10.0], [3.0, 3.0]) == (outside.seen, between.seen, inside.seen)


async def test_a_longer_limit_inside_does_not_move_the_deadline():
    """A limit that ends after the one around it leaves `call.deadline` alone."""
    inside = Deadlines()
    with pytest.warns(match="can never fire"):
        ask = timed(3)(timed(10)(inside(ScriptedProvider("v"))))
    assert "v" == await ask()
    assert [3.0, 3.0] == inside.seen


@pytest.mark.parametrize(("limit", "deadline", "kind", "ended"), [(10, 2, "deadline", 2), (2, 10, "total", 2)])
async def test_a_deadline_tightens_the_limit_and_never_loosens_it(limit, deadline, kind, ended):
    """Of `timed(limit)` and `hints(deadline=...)` the nearer ends the call."""
    ask = timed(limit)(ScriptedProvider(hang()))
    with hints(deadline=deadline), pytest.raises(TimedOut) as caught:
        await ask()
    assert (kind, ended) == (caught.value.kind, now())


async def test_cancelling_the_caller_leaves_nothing_behind():
    """Cancelled from outside, it raises `CancelledError` and its timer knows nothing of the call."""
    total = timed(10)
    task = asyncio.create_task(total(ScriptedProvider(hang()))())
    await sleep(1)
    task.cancel()
    with pytest.raises(CancelledError):
        await task
    assert 0 == len(total._wheel)


async def test_a_call_that_swallows_the_limit_leaves_no_cancellation_in_its_task():
    """Where the wrapped function swallows our cancellation, its value counts, and so does the task's zero."""
    for layer in (timed(0.02), timed(first_item=0.02)):
        assert "swallowed" == await layer(swallow)()
        assert 0 == current_task().cancelling()
    await sleep(1)


def test_one_object_serves_one_loop_after_another():
    """A `timed` made at import time works under `asyncio.run` twice."""
    ask = timed(0.001)(slow)
    for _ in range(2):
        with pytest.raises(TimedOut):
            asyncio.run(ask())


async def test_a_layer_that_runs_the_rest_in_a_task_of_its_own_is_cancelled_there():
    """Inside a layer's own task the limit cancels that task and not the caller's."""

    class OwnTask(Layer):
        async def handle(self, call, proceed):
            self.task = asyncio.create_task(self.run(call, proceed))
            return await self.task

        async def run(self, call, proceed):
            return await proceed(call)

    own = OwnTask()
    with pytest.raises(TimedOut):
        await own(timed(1)(ScriptedProvider(hang())))()
    assert (0, 0) == (own.task.cancelling(), current_task().cancelling())


# ------------------------------------------------------------------ streams


async def test_total_passes_while_the_reader_waits():
    """The limit ends the read that is under way, gives everything back and leaves the reader's task clean."""
    spy = Spy()
    ask = timed(3)(spy(ScriptedProvider(stream("ab", hang_at=1))))
    reading = await ask()
    assert "a" == await anext(reading)
    with pytest.raises(TimedOut):
        await anext(reading)
    assert (0, 0, 3.0, True) == (spy.inside, current_task().cancelling(), now(), reading.__wrapped__.over)


async def test_total_passes_in_the_readers_own_code():
    """A timeout open across items would cancel the reader's own code; here the stream ends beside it, at its limit."""
    spy = Spy()
    ask = timed(3)(spy(ScriptedProvider(stream("abc"))))
    reading = await ask()
    assert "a" == await anext(reading)
    await sleep(2.9)
    assert 1 == spy.inside
    await sleep(10)  # untouched
    assert (["CancelledError"], True) == (spy.log, reading.__wrapped__.over)
    with pytest.raises(TimedOut) as caught:
        await anext(reading)
    assert (3.0, 0) == (caught.value.elapsed, current_task().cancelling())
    with pytest.raises(StopAsyncIteration):
        await anext(reading)


async def test_a_stream_opened_in_one_task_and_read_in_another_is_cancelled_where_it_is_read():
    """Web frameworks open in one task and read in another: the limit cancels the reading one."""
    reading = await timed(3)(ScriptedProvider(stream("ab", hang_at=1)))()

    async def read():
        return await items(reading), current_task().cancelling()

    (got, kind), count = await asyncio.create_task(read())
    assert (["a"], "total", 0) == (got, kind, count)


async def test_the_readers_own_timeout_works_as_on_a_plain_stream():
    """`asyncio.timeout` of the reader ends the read with its own `TimeoutError`."""
    spy = Spy()
    reading = await timed(60)(spy(ScriptedProvider(stream("ab", hang_at=1))))()
    await anext(reading)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(1):
            await anext(reading)
    assert (False, ["CancelledError"]) == (isinstance(caught.value, TimedOut), spy.log)


async def test_a_generator_is_limited_from_its_first_read():
    """An async generator function starts when it is first read, and so does its limit."""

    @timed(3)
    async def ask():
        yield "a"
        await sleep(5)
        yield "b"

    reading = ask()
    await sleep(60)
    assert "a" == await anext(reading)
    with pytest.raises(TimedOut):
        await anext(reading)
    assert 63 == now()


async def test_an_abandoned_stream_is_no_timeout():
    """A reader who leaves takes the call's limits with it."""
    total = timed(3, first_item=2, idle=1)
    reading = await total(ScriptedProvider(stream("abc")))()
    await anext(reading)
    await reading.aclose()
    assert [0, 0, 0] == [len(wheel) for wheel in (total._wheel, total._first_wheel, total._idle_wheel)]
    await sleep(10)


# ------------------------------------------------------------------ waits for items


async def test_first_item_bounds_the_opening_of_a_stream():
    """A stream that does not open within `first_item` ends."""
    with pytest.raises(TimedOut) as caught:
        await timed(first_item=2)(ScriptedProvider(after(3, stream("abc"))))()
    assert ("first item", 2.0, 2.0) == (caught.value.kind, caught.value.limit, caught.value.elapsed)


async def test_first_item_adds_the_opening_and_the_first_read_but_not_the_pause_between():
    """What the reader does between opening and first read is not held against the provider."""
    reading = await timed(first_item=2)(ScriptedProvider(after(1.5, stream("abc", first=0.4))))()
    await sleep(100)
    assert "a" == await anext(reading)
    reading = await timed(first_item=2)(ScriptedProvider(after(1.5, stream("abc", first=0.6))))()
    await sleep(100)
    began = now()
    with pytest.raises(TimedOut) as caught:
        await anext(reading)
    assert (0.5, 2.0, 0) == (now() - began, caught.value.elapsed, current_task().cancelling())


async def test_first_item_bounds_the_whole_of_a_plain_value():
    """A call that returns a plain value must do so within `first_item`."""
    assert "v" == await timed(first_item=2, idle=1)(ScriptedProvider(after(1.9, "v")))()
    with pytest.raises(TimedOut):
        await timed(first_item=2)(ScriptedProvider(after(3, "v")))()


async def test_idle_bounds_each_further_wait_and_no_other():
    """`idle` bounds the wait between two items; neither the first nor a reader's pause."""
    reading = await timed(idle=1)(ScriptedProvider(stream("abc", first=30, gap=0.9)))()
    got = []
    async for item in reading:
        got.append(item)
        await sleep(50)
    assert ["a", "b", "c"] == got


async def test_idle_ends_a_stream_that_falls_silent():
    """A gap longer than `idle` ends the stream, and the error says how long it waited."""
    reading = await timed(first_item=5, idle=1)(ScriptedProvider(stream("abc", hang_at=2), name="ask"))()
    assert ["a", "b"] == [await anext(reading), await anext(reading)]
    await sleep(7)
    with pytest.raises(TimedOut, match="no further item within 1 s") as caught:
        await anext(reading)
    assert ("idle", 1.0, 8.0, 0) == (caught.value.kind, caught.value.elapsed, now(), current_task().cancelling())


async def test_total_and_idle_work_together():
    """Items in time do not save a stream from its total."""
    reading = await timed(3, idle=1)(ScriptedProvider(stream("abcdefgh", gap=0.9)))()
    assert (["a", "b", "c"], "total") == await items(reading)
    assert 3.0 == now()


@pytest.mark.parametrize(("outer", "inner", "kind"), [(3, 2, 2.0), (2, 3, 2.0)])
async def test_several_layers_keep_their_own_watch(outer, inner, kind):
    """Of two layers that watch the waits for items, each ends them by its own limit."""
    reading = await timed(idle=outer)(timed(idle=inner)(ScriptedProvider(stream("abc", gap=1, hang_at=2))))()
    assert ["a", "b"] == [await anext(reading), await anext(reading)]
    with pytest.raises(TimedOut) as caught:
        await anext(reading)
    assert (kind, 0) == (caught.value.limit, current_task().cancelling())


async def test_a_layer_that_keeps_items_to_itself_restarts_the_wait():
    """Where a layer outside drops items, `idle` counts from the last item that came, not from the last one read."""

    class Every3rd(Layer):
        async def handle(self, call, proceed):
            seen = []

            async def emit(item):
                seen.append(item)
                if len(seen) % 3 == 0:
                    await call.emit(item) if call.emit else await emit_to_reader(item)

            from sluiceway.streaming import emit_to_reader

            return await proceed(call.emitting(emit))

    ask = Every3rd()(timed(first_item=1, idle=1)(ScriptedProvider(stream("abcdef", gap=0.8))))
    assert ["c", "f"] == [item async for item in await ask()]


async def test_swallowing_inside_a_stream_gives_the_cancellation_back_with_the_next_item():
    """A provider that swallows our cancellation and goes on leaves no cancellation in the reader's task."""

    @timed(idle=1)
    async def ask():
        yield "a"
        try:
            await sleep(5)
        except CancelledError:
            yield "swallowed"
        await sleep(0.5)
        yield "b"

    reading = ask()
    got = [await anext(reading), await anext(reading)]
    assert 0 == current_task().cancelling()
    assert ["a", "swallowed", "b"] == [*got, await anext(reading)]
    await reading.aclose()


async def test_a_second_attempt_gets_a_first_item_clock_of_its_own():
    """Inside a layer that repeats, `first_item` is each attempt's own; the reader's stream is swapped."""
    provider = ScriptedProvider(after(1, stream("x", hang_at=0)), after(1, stream("ab", first=0.5)))
    reading = await Twice()(timed(first_item=2)(provider))()
    assert (["a", "b"], 2) == ([item async for item in reading], provider.count)
    assert 3.5 == now()


# ------------------------------------------------------------------ what it says


async def test_reports_a_phase_with_limit_elapsed_and_first_item(listen):
    """Where spans are detailed, its phase says the limit, the time it took and the time to the first item."""
    events = listen()
    reading = await timed(9)(ScriptedProvider(after(1, stream("ab", first=0.5, gap=2))))()
    assert ["a", "b"] == [item async for item in reading]
    [phase] = events(Phase)
    assert ("timed", "timed", 0.0, 3.5, None) == (phase.layer, phase.name, phase.started_at, phase.at, phase.error)
    assert {
        "sluiceway.timed.limit": 9.0,
        "sluiceway.timed.elapsed": 3.5,
        "sluiceway.timed.first_item": 1.5,
    } == phase.attributes


async def test_without_a_limit_its_phase_only_measures(listen):
    """`timed()` reports the time that a plain call took."""
    events = listen()
    await timed()(ScriptedProvider(after(2, "v")))()
    assert [{"sluiceway.timed.elapsed": 2.0}] == [phase.attributes for phase in events(Phase)]


async def test_an_expiry_is_reported_once_even_where_nobody_wants_detail(listen):
    """A limit that passed is a phase with its error; one that did not is none without detail."""
    events = listen(detailed=False)
    await timed(9)(ScriptedProvider("v"))()
    assert [] == events(Phase)
    with pytest.raises(TimedOut) as caught:
        await timed(2)(ScriptedProvider(hang()))()
    assert [caught.value] == [phase.error for phase in events(Phase)]


async def test_an_expired_wait_for_an_item_is_a_phase_of_its_own(listen):
    """A wait for an item that took too long is reported from its beginning, beside the whole."""
    events = listen()
    reading = await timed(9, idle=1)(ScriptedProvider(stream("ab", hang_at=1)))()
    await anext(reading)
    await sleep(2)
    with pytest.raises(TimedOut):
        await anext(reading)
    found = [(p.started_at, p.at, p.attributes.get("sluiceway.timed.kind"), p.error is None) for p in events(Phase)]
    assert [(2.0, 3.0, "idle", False), (0.0, 3.0, None, True)] == found


# ------------------------------------------------------------------ as a layer


def test_says_what_it_is():
    """It limits time, keeps no state that could be shared by mistake, and names its settings."""
    layer = timed("1m", idle=5)
    assert (Role.TIME, False, 60.0, 1) == (layer.role, layer.stateful, layer.time_limit, layer.attempts)
    assert {"limit": "1m", "first_item": None, "idle": 5} == dict(layer.settings())
    assert "timed('1m', idle=5)" == repr(layer)


def test_the_same_object_may_stand_twice_in_a_pipeline():
    """Without state there is nothing to take from twice."""
    layer = timed(5)
    assert (layer, layer) == Pipeline(layer, layer).layers


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"limit": -1}, ValueError, "limit=-1 must be at least 0"),
        ({"limit": "soon"}, ValueError, "limit='soon' is not a duration"),
        ({"limit": [1]}, TypeError, r"limit=\[1\] is not a duration"),
        ({"first_item": 0}, ValueError, "first_item=0 must be more than 0"),
        ({"idle": float("nan")}, ValueError, "idle=nan must be more than 0"),
    ],
)
def test_refuses_bad_limits(arguments, error, message):
    """A limit that is none is refused where it is written, by name."""
    with pytest.raises(error, match=message):
        timed(**arguments)


def test_a_bare_decorator_is_told_to_write_parentheses():
    """`@timed` without parentheses is a `TypeError` that says what to write."""
    with pytest.raises(TypeError, match=r"write @timed\(\)"):
        timed(quick)
