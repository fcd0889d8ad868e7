"""To layers a stream is one call that ends when the stream does, run step by step in a context of its own."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import current_task
from contextvars import copy_context

import pytest

from sluiceway.binding import bind
from sluiceway.call import Attempt, Call, Run
from sluiceway.events import AttemptFinished, CallFinished, FirstItem
from sluiceway.layer import Layer
from sluiceway.layers.bounded import bounded
from sluiceway.pump import Pump
from sluiceway.readers import BoundStream
from sluiceway.streaming import Abandoned, Opened, drive, pull
from spies import Again, Observed, Passing, Spy, Stream, Within
from streams import Setter, anext_of, held, made_by, read, some_rounds, var

# ------------------------------------------------------------------ errors


async def test_an_error_in_mid_stream_is_the_same_object_for_layers_and_reader_and_then_it_is_over():
    """Layers and reader get the provider's error itself; permits return and further reads find the end."""
    error = ConnectionError("reset")
    spy, bound = Spy(), bounded(1)
    ask, opened = made_by(spy, bound, fail_at=2, error=error)
    stream = await ask()
    assert [1, 2] == [await anext(stream), await anext(stream)]
    with pytest.raises(ConnectionError) as raised:
        await anext(stream)
    assert raised.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    assert ["enter", "ConnectionError"] == spy.log
    assert spy.errors[0] is error
    assert 0 == held(bound)
    assert opened[0].closed
    assert ([], None) == await read(stream)


async def test_an_error_while_closing_a_broken_stream_does_not_hide_what_broke_it():
    """The first error tells; that closing failed as well is not the reader's news."""

    class Broken(Stream):
        async def close(self):
            self.closed = True
            raise OSError("already closed")

    error = ConnectionError("reset")
    ask, _ = made_by(bounded(1), streams=[lambda: Broken(fail_at=1, error=error)])
    stream = await ask()
    await anext(stream)
    with pytest.raises(ConnectionError) as raised:
        await anext(stream)
    assert raised.value is error


async def test_a_stream_whose_close_is_synchronous_and_returns_something_is_closed_too():
    """`close()` may be a plain function with any result."""

    class Plain(Stream):
        def close(self):
            self.closed = True
            return self.closed

    bound = bounded(1)
    ask, opened = made_by(bound, streams=[Plain])
    assert ([1, 2, 3], None) == await read(await ask())
    assert opened[0].closed
    assert 0 == held(bound)


async def test_a_stream_without_any_close_is_read_and_left():
    """A bare async iterator is a stream too."""

    class Bare:
        def __init__(self):
            self.left = [1, 2]

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    bound = bounded(1)
    ask, _ = made_by(bound, streams=[Bare, Bare])
    assert ([1, 2], None) == await read(await ask())
    stream = await ask()
    await anext(stream)
    await stream.aclose()
    assert 0 == held(bound)


# ------------------------------------------------------------------ another stream behind the same object


async def test_a_retry_before_the_first_item_opens_another_stream_behind_the_same_object():
    """The reader's object stays, its attributes become the new stream's, and the failed ones are closed."""
    failing = [lambda: Stream(fail_at=0, error=ConnectionError())] * 2
    bound = bounded(1)
    ask, opened = made_by(Again(), bound, streams=[*failing, Stream])
    stream = await ask()
    assert stream.__wrapped__ is opened[0]
    assert 1 == held(bound)
    assert [1, 2, 3] == [item async for item in stream]
    assert stream.__wrapped__ is opened[2]
    assert [True, True, True] == [each.closed for each in opened]
    assert 0 == held(bound)


async def test_a_retry_after_the_first_item_never_happens():
    """An item is out: starting over would yield it twice."""
    ask, opened = made_by(Again(), fail_at=1, error=ConnectionError())
    assert ([1], ConnectionError) == await read(await ask())
    assert 1 == len(opened)


async def test_a_retry_may_sleep_in_the_first_read():
    """The backoff between two streams runs while the reader waits for its first item."""
    ask, _ = made_by(Again(pause=7), streams=[lambda: Stream(fail_at=0, error=ConnectionError()), Stream])
    assert [1, 2, 3] == [item async for item in await ask()]
    assert 7.0 == asyncio.get_running_loop().time()


async def test_a_plain_result_where_the_reader_holds_a_stream_is_an_error_not_an_empty_stream():
    """A layer that answers with a value once a stream is open would lose it: the reader is told."""

    class Default(Layer):
        async def handle(self, call, proceed):
            try:
                return await proceed(call)
            except ConnectionError:
                return "a cached answer"

    ask, _ = made_by(Default(), fail_at=0, error=ConnectionError())
    stream = await ask()
    with pytest.raises(RuntimeError, match="returned a str although a stream was open"):
        await anext(stream)
    assert ([], None) == await read(stream)


async def test_attempts_of_a_swapped_stream_are_told_apart():
    """Each opening is an attempt with its own items, outcome and time of the first item."""
    ask, _ = made_by(Again(), streams=[lambda: Stream(fail_at=0, error=ConnectionError()), lambda: Stream(gap=2.0)])
    with Observed() as observed:
        assert ([1, 2, 3], None) == await read(await ask())
    finished = [event.attempt for event in observed.of(AttemptFinished)]
    assert [("error", 0, True), ("ok", 3, True)] == [(a.outcome, a.items, a.streamed) for a in finished]
    assert [2.0] == [event.latency for event in observed.of(FirstItem)]
    assert ["ok"] == [event.outcome for event in observed.of(CallFinished)]


@pytest.mark.parametrize(
    ("leave", "outcome"), [("end", "ok"), ("break", "cancelled"), ("error", "error"), ("limit", "timed out")]
)
async def test_a_streams_call_finishes_when_the_stream_does(leave, outcome):
    """`CallFinished` comes once, at the end of the stream, with the word for how it ended."""
    shape = {"error": {"fail_at": 1, "error": ConnectionError()}, "limit": {"hang_at": 1}}.get(leave, {})
    ask, _ = made_by(Within(3), **shape)
    with Observed() as observed:
        stream = await ask()
        await anext(stream)
        assert [] == observed.of(CallFinished)
        if leave == "break":
            await stream.aclose()
        else:
            await read(stream)
        await stream.aclose()
    assert [outcome] == [event.outcome for event in observed.of(CallFinished)]


# ------------------------------------------------------------------ contextvars


async def test_what_a_layer_sets_around_proceed_does_not_leak_into_the_reader():
    """Between two items the reader sees its own context; inside, every step sees the layer's."""
    seen = []

    class Looking(Stream):
        async def __anext__(self):
            seen.append(var.get())
            return await super().__anext__()

    ask, _ = made_by(Setter(), streams=[Looking])
    stream = await ask()
    assert "outside" == var.get()
    async for _ in stream:
        assert "outside" == var.get()
    assert ["inside"] * 4 == seen


@pytest.mark.parametrize("leave", ["read", "aclose", "garbage"])
async def test_what_a_layer_set_is_reset_in_whatever_task_the_stream_ends(leave, loop_complaints):
    """Another task, or none but the collector's, may finish the stream: the token is reset in its own context."""
    bound = bounded(1)
    ask, _ = made_by(bound, Setter())
    stream = await ask()

    async def elsewhere():
        var.set("the other task's")
        if leave == "read":
            assert [1, 2, 3] == [item async for item in stream]
        else:
            await stream.aclose()
        assert "the other task's" == var.get()

    if leave == "garbage":
        del stream
        await some_rounds()
    else:
        await asyncio.create_task(elsewhere())
    assert 0 == held(bound)
    assert [] == loop_complaints


@pytest.mark.parametrize("kind", ["plain", "returned", "generated"])
async def test_the_collector_may_end_a_call_from_inside(kind):
    """It begins with any of the coroutines of a circle, and in no context of theirs: that is no error."""

    class Within(Layer):
        async def handle(self, call, proceed):
            self.inner = proceed(call)
            return await self.inner

    async def hang():
        await asyncio.get_running_loop().create_future()

    async def returned():
        await read(await made_by(layer, hang_at=1)[0]())

    async def items():
        yield 1
        await hang()

    async def generated():
        await read(bind(items, (layer,))())

    layer = Within()
    with Observed() as heard:
        task = asyncio.create_task(
            {"plain": bind(hang, (layer,)), "returned": returned, "generated": generated}[kind]()
        )
        await asyncio.sleep(1)
        layer.inner.close()
        assert ["cancelled"] == [event.attempt.outcome for event in heard.of(AttemptFinished)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_the_provider_sets_stays_inside_the_call():
    """Every step runs in a copy of the caller's context: the provider reads the caller's values, and sets its own."""
    seen = []

    async def ask():
        seen.append(var.get())
        var.set("the provider's")

    token = var.set("the caller's")
    await bind(ask, (Passing(),))()
    assert ["the caller's"] == seen
    assert "the caller's" == var.get()
    var.reset(token)


# ------------------------------------------------------------------ tasks of a layer's own


class Racing(Layer):
    """A layer of somebody else's that runs the rest in a task."""

    async def handle(self, call, proceed):
        return await asyncio.create_task(proceed(call))


async def test_a_layer_that_opens_a_stream_in_a_task_of_its_own_is_told_so_and_nothing_leaks():
    """The provider's stream is closed, permits return, and the error names what to do."""
    outer, inner = bounded(1), bounded(1)
    ask, opened = made_by(outer, Racing(), inner)
    with pytest.raises(RuntimeError, match="a layer ran `proceed` in a task of its own"):
        await ask()
    assert (0, 0) == (held(outer), held(inner))
    assert opened[0].closed


async def test_an_async_generator_behind_a_layer_with_a_task_of_its_own_is_refused_too():
    """The same for async generator functions, at the first read."""
    bound = bounded(1)

    async def ask():
        yield 1

    stream = bind(ask, (Racing(), bound))()
    with pytest.raises(RuntimeError, match="a layer ran `proceed` in a task of its own"):
        await anext(stream)
    assert 0 == held(bound)


async def test_a_layer_with_a_task_of_its_own_serves_plain_calls():
    """Only streams need the layer's own coroutine."""

    async def ask():
        return 7

    assert 7 == await bind(ask, (Within(3), Racing(), bounded(1)))()


class Relay(Layer):
    """What a layer with tasks does for streams: drives the rest by hand in its task, then passes the stream on."""

    async def handle(self, call, proceed):
        run = call.run
        inner = Run(run.loop, None, copy_context(), run.layers, run.name, run.parent, run.said)
        own = Call(call.function, call.args, call.kwargs, call.instance, inner, call.hints, call.attempt)

        async def attempt():
            inner.task = current_task()
            coroutine = proceed(own)
            return coroutine, await drive(inner.context, coroutine)

        coroutine, out = await asyncio.create_task(attempt())
        if not isinstance(out, Opened):
            return out
        stream = BoundStream(out.value, Pump(coroutine, own, lambda call, error: None))
        return await pull(call, Attempt(1, run.loop.time()), stream)


@pytest.mark.parametrize("leave", ["end", "aclose", "garbage", "limit"])
async def test_a_layer_with_tasks_can_nest_the_driver_and_hold_its_inner_permits_to_the_end(leave):
    """A nested driver and `pull` keep permits inside and outside of the task until the stream is over."""
    spy, outer, inner = Spy(), bounded(1), bounded(1)
    ask, opened = made_by(Within(30), outer, Relay(), inner, spy)
    stream = await ask()
    assert (1, 1, 1) == (held(outer), held(inner), spy.inside)
    assert 1 == await anext(stream)
    assert (1, 1, 1) == (held(outer), held(inner), spy.inside)
    if leave == "end":
        assert [2, 3] == [item async for item in stream]
    elif leave == "aclose":
        await stream.aclose()
    elif leave == "limit":
        await asyncio.sleep(60)
    else:
        del stream
    await some_rounds(20)
    assert (0, 0, 0) == (held(outer), held(inner), spy.inside)
    assert opened[0].closed


async def test_abandoned_is_a_cancellation_for_everyone_who_asks():
    """`except CancelledError` and `except asyncio.CancelledError` see it; `except Exception` does not."""
    assert issubclass(Abandoned, asyncio.CancelledError)
    assert not issubclass(Abandoned, Exception)


async def test_a_stream_works_with_a_context_of_the_readers_own():
    """A reader that runs its reads by `Context.run` and tasks with contexts of their own is no different."""
    ask, _ = made_by(Setter(), bounded(1))
    context = contextvars.copy_context()
    stream = await asyncio.create_task(ask(), context=context)
    assert 1 == await asyncio.create_task(anext_of(stream), context=context)
    assert [2, 3] == [item async for item in stream]
