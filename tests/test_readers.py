"""What a reader holds: the provider's own stream or generator, but for reading and leaving it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from asyncio import CancelledError, current_task
from unittest.mock import MagicMock

import pytest

from sluiceway.binding import bind
from sluiceway.call import hints
from sluiceway.errors import TimedOut
from sluiceway.layer import Layer
from sluiceway.layers.bounded import bounded
from sluiceway.layers.timed import timed
from sluiceway.streaming import is_stream
from spies import Again, Passing, Spy, Stream, Within
from streams import Setter, anext_of, counting, held, made_by, read, some_rounds

# ------------------------------------------------------------------ the stream of a function that returns one


async def test_a_permit_is_held_from_the_opening_of_the_stream_to_its_end():
    """A bound counts a stream until its last item is read, not until the function returned."""
    bound = bounded(1)
    ask, opened = made_by(bound)
    stream = await ask()
    assert 1 == held(bound)
    items = []
    async for item in stream:
        items.append(item)
        assert 1 == held(bound)
    assert [1, 2, 3] == items
    assert 0 == held(bound)
    assert opened[0].closed


async def test_the_stream_is_taken_for_the_providers_own():
    """`isinstance` and every attribute but reading and closing are those of the provider's stream."""
    ask, opened = made_by(bounded(1))
    stream = await ask()
    assert isinstance(stream, Stream)
    assert "the response" == stream.response
    assert stream.__wrapped__ is opened[0]
    await stream.close()


async def test_a_plain_result_meets_none_of_this():
    """What is no stream is returned as it is."""
    result = object()

    async def ask():
        return result

    assert result is await bind(ask, (bounded(1),))()


async def test_a_page_of_results_is_no_stream():
    """Streams are told by `__anext__`: a page, which only has `__aiter__`, is a plain result whose call is over."""

    class Page:
        def __aiter__(self):
            return read(self)

    page = Page()
    bound = bounded(1)

    async def ask():
        return page

    assert page is await bind(ask, (bound,))()
    assert 0 == held(bound)


async def test_a_mock_is_no_stream_although_it_answers_to_everything():
    """A `MagicMock` in place of a response is a plain result: its test shall not hold a permit for ever."""
    bound = bounded(1)
    response = MagicMock()

    async def ask():
        return response

    assert response is await bind(ask, (bound,))()
    assert 0 == held(bound)
    assert not is_stream(response)


async def test_async_for_on_the_object_itself_and_by_hand_are_the_same():
    """`aiter` returns the very object, and `anext` its next item."""
    ask, _ = made_by(bounded(1))
    stream = await ask()
    assert stream is aiter(stream)
    assert 1 == await anext(stream)
    assert [2, 3] == [item async for item in stream]
    assert "no more" == await anext(stream, "no more")


async def test_a_stream_of_nothing_ends_at_the_first_read():
    """A stream without items is over at once, and its permit is back."""
    bound = bounded(1)
    ask, opened = made_by(bound, n=0)
    assert ([], None) == await read(await ask())
    assert 0 == held(bound)
    assert opened[0].closed


async def test_a_stream_that_is_read_without_keeping_it_still_reads():
    """`await anext(await ask())` keeps its stream until the item is there, and ends it then."""
    bound = bounded(1)
    ask, opened = made_by(bound, gap=1.0)
    assert 1 == await (await ask()).__anext__()
    await some_rounds()
    assert 0 == held(bound)
    assert opened[0].closed


async def test_a_stream_dropped_while_a_task_still_reads_it_is_read(loop_complaints):
    """The task that waits for an item keeps its stream alive, whoever else let go of it."""
    bound = bounded(1)
    ask, _ = made_by(bound, gap=1.0)
    stream = await ask()
    reading = asyncio.create_task(stream.__anext__())
    await asyncio.sleep(0.5)
    del stream
    assert 1 == await reading
    await some_rounds()
    assert 0 == held(bound)
    assert [] == loop_complaints


# ------------------------------------------------------------------ async generator functions


async def test_an_async_generator_starts_at_its_first_read_as_a_plain_one_does():
    """Calling it takes no permit; the first read does, and the last gives it back."""
    bound = bounded(1)
    stream = counting(Within(60), bound)()
    assert 0 == held(bound)
    assert 1 == await anext(stream)
    assert 1 == held(bound)
    assert [2, 3] == [item async for item in stream]
    assert 0 == held(bound)
    assert "no more" == await anext(stream, "no more")


async def test_the_first_item_of_an_async_generator_waits_for_the_permit():
    """With all places taken, reading queues."""
    bound = bounded(1)
    ask = counting(bound)
    first, second = ask(), ask()
    await anext(first)
    waiting = asyncio.create_task(anext_of(second))
    await asyncio.sleep(1)
    assert not waiting.done()
    await first.aclose()
    assert 1 == await waiting
    await second.aclose()


@pytest.mark.parametrize("leave", ["aclose", "async with", "aclosing", "break", "thread", "cancel"])
async def test_leaving_an_async_generator_ends_it_for_its_layers(leave, loop_complaints):
    """Every way out of a stream is one out of a generator; its own `finally` runs and may await."""
    log, spy, bound = [], Spy(), bounded(1)
    ask = counting(spy, bound, hang_at=1, log=log)
    stream = ask()
    await anext(stream)
    if leave == "aclose":
        await stream.aclose()
        await stream.aclose()
    elif leave == "async with":
        async with stream:
            pass
    elif leave == "aclosing":
        async with contextlib.aclosing(stream):
            pass
    elif leave == "thread":
        box = [stream]
        del stream
        thread = threading.Thread(target=box.clear)
        thread.start()
        await asyncio.to_thread(thread.join)
    elif leave == "cancel":
        task = asyncio.create_task(read(stream))
        await asyncio.sleep(1)
        task.cancel()
        assert ([], CancelledError) == await task
    else:
        del stream
    await some_rounds()
    assert ["enter", "CancelledError" if leave == "cancel" else "Abandoned"] == spy.log
    assert ["closed"] == log
    assert 0 == held(bound)
    assert [] == loop_complaints


async def test_an_async_generator_that_was_never_read_is_left_without_a_trace(loop_complaints):
    """Neither closing nor dropping it starts it, and a read after closing finds the end."""
    spy = Spy()
    ask = counting(spy)
    stream = ask()
    await stream.aclose()
    assert ([], None) == await read(stream)
    del stream
    ask()
    await some_rounds()
    assert [] == spy.log
    assert [] == loop_complaints


async def test_an_error_in_an_async_generator_is_the_same_object_for_layers_and_reader():
    """What the generator raises in the middle reaches the reader itself."""
    error, spy = ConnectionError("reset"), Spy()
    stream = counting(spy, fail_at=2, error=error)()
    assert [1, 2] == [await anext(stream), await anext(stream)]
    with pytest.raises(ConnectionError) as raised:
        await anext(stream)
    assert raised.value is error
    assert spy.errors[0] is error
    assert ([], None) == await read(stream)


async def test_an_async_generator_is_started_over_before_its_first_item_only():
    """A retry calls the function again as long as nothing is out."""
    calls = []

    async def ask(fail_at):
        calls.append(fail_at)
        for number in range(3):
            if number == fail_at and len(calls) < 3:
                raise ConnectionError
            yield number

    again = bind(ask, (Again(),))
    assert ([0, 1, 2], None) == await read(again(0))
    assert 3 == len(calls)
    calls.clear()
    assert ([0], ConnectionError) == await read(again(1))
    assert 1 == len(calls)


@pytest.mark.parametrize("limit", [Within, timed])
async def test_limits_end_async_generators_read_and_unread(limit):
    """The waiting read raises; unread, the permit returns at the limit and the next read raises."""
    bound = bounded(1)
    ask = counting(limit(3), bound, hang_at=1)
    assert ([1], TimedOut) == await read(ask())
    stream = ask()
    await anext(stream)
    await asyncio.sleep(4)
    assert 0 == held(bound)
    with pytest.raises(TimedOut):
        await anext(stream)
    assert 0 == current_task().cancelling()


async def test_a_generator_read_in_several_tasks_and_contexts_is_one_call():
    """Each item in a task of its own; what a layer set around it is reset in the call's context."""
    bound = bounded(1)
    stream = counting(bound, Setter())()
    assert [1, 2, 3] == [await asyncio.create_task(anext_of(stream)) for _ in range(3)]
    assert ([], None) == await read(stream)
    assert 0 == held(bound)


async def test_the_hints_of_a_generator_are_those_at_its_call():
    """`hints` around the call count, not those around the first read."""
    seen = []

    class Look(Layer):
        async def handle(self, call, proceed):
            seen.append(call.hints.tenant)
            return await proceed(call)

    ask = counting(Look())
    with hints(tenant="at the call"):
        stream = ask()
    with hints(tenant="at the read"):
        await read(stream)
    assert ["at the call"] == seen


async def test_two_readers_of_a_generator_at_once_are_told_so():
    """As with any stream."""
    stream = counting(Passing(), hang_at=0)()
    first = asyncio.create_task(anext_of(stream))
    await asyncio.sleep(1)
    with pytest.raises(RuntimeError, match="is being read by another task"):
        await anext(stream)
    first.cancel()
    with pytest.raises(CancelledError):
        await first


async def test_a_generator_whose_first_read_is_cancelled_before_it_ran_leaves_nothing(loop_complaints):
    """A read cancelled in the tick in which it was made has taken no permit, and dropping the stream is clean."""
    bound = bounded(1)
    stream = counting(Within(3), bound)()
    reading = asyncio.create_task(anext_of(stream))
    reading.cancel()
    with pytest.raises(CancelledError):
        await reading
    assert 0 == held(bound)
    del stream, reading
    await some_rounds()
    assert [] == loop_complaints


async def test_a_plain_wrapper_around_an_async_generator_function_is_iterated_as_before():
    """A wrapper that returns the generator instead of being one is called without `await`, bound or not."""
    import functools

    async def ask(n):
        for number in range(n):
            yield number

    @functools.wraps(ask)
    def wrapper(*args):
        return ask(*args)

    bound = bounded(1)
    stream = bind(wrapper, (bound,))(3)
    assert 0 == await anext(stream)
    assert 1 == held(bound)
    assert [1, 2] == [item async for item in stream]
    assert 0 == held(bound)


async def test_a_coroutine_function_that_returns_an_async_generator_is_a_stream():
    """`async def ask(): return generate()` is awaited and then read, its generator closed at the end."""
    log = []

    async def generate():
        try:
            yield 1
            yield 2
        finally:
            log.append("closed")

    async def ask():
        return generate()

    bound = bounded(1)
    ask = bind(ask, (bound,))
    assert [1, 2] == [item async for item in await ask()]
    stream = await ask()
    await anext(stream)
    await stream.aclose()
    assert ["closed", "closed"] == log
    assert 0 == held(bound)


async def test_a_stream_through_two_decorated_functions_holds_both_permits():
    """A decorated function that returns another one's stream adds its layers to it."""
    inner, outer, spy = bounded(1), bounded(1), Spy()
    ask, opened = made_by(inner)

    async def outside():
        return await ask()

    stream = await bind(outside, (outer, spy))()
    assert (1, 1) == (held(inner), held(outer))
    assert "the response" == stream.response
    await anext(stream)
    await stream.aclose()
    assert (0, 0) == (held(inner), held(outer))
    assert ["enter", "Abandoned"] == spy.log
    assert opened[0].closed


async def test_an_error_thrown_into_an_async_generator_reaches_its_yield():
    """`athrow` is answered by the generator: with an item, with its end, with the same error or with another."""
    log, bound = [], bounded(1)

    async def ask():
        try:
            while True:
                try:
                    yield "item"
                except KeyError as error:
                    log.append(error)
                    yield "answer"
                except IndexError:
                    return
        finally:
            log.append("closed")

    ask = bind(ask, (Within(60), bound, timed(idle=5)))
    mine = KeyError("mine")
    stream = ask()
    await anext(stream)
    assert "answer" == await stream.athrow(mine)
    assert log[0] is mine
    assert "item" == await stream.asend(None)
    with pytest.raises(StopAsyncIteration):
        await stream.athrow(IndexError())
    assert 0 == held(bound)
    other = OSError("other")
    stream = ask()
    await anext(stream)
    with pytest.raises(OSError, match="other") as raised:
        await stream.athrow(other)
    assert raised.value is other
    assert other.__context__ is None
    assert 0 == held(bound)
    assert [mine, "closed", "closed"] == log
    with pytest.raises(StopAsyncIteration):
        await stream.athrow(other)
    unread = ask()
    with pytest.raises(OSError, match="other"):
        await unread.athrow(other)
    assert ([], None) == await read(unread)


async def test_nothing_but_none_can_be_sent_into_an_async_generator():
    """A value has no way through the layers, and says so."""
    stream = counting(Passing())()
    assert 1 == await stream.asend(None)
    with pytest.raises(TypeError, match="a str cannot be sent into an async generator with layers, only None"):
        await stream.asend("value")
    await stream.aclose()


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (None, "value"),
        (KeyError("mine"), "KeyError"),
        (RuntimeError("mine"), "RuntimeError"),
        (StopAsyncIteration(), "RuntimeError"),  # as Python turns it into one in any async generator
    ],
    ids=repr,
)
async def test_a_bound_can_hold_a_block_by_contextlibs_asynccontextmanager(error, seen):
    """`@asynccontextmanager` over a bounded generator holds a place for a block, and its errors pass unchanged."""
    spy, bound = Spy(), bounded(1)

    @contextlib.asynccontextmanager
    @bound
    @spy
    async def place():
        yield "a place"

    async def use():
        async with place() as given:
            assert ("a place", 1) == (given, held(bound))
            if error is not None:
                raise error

    if error is None:
        await use()
    else:
        with pytest.raises(type(error)) as raised:
            await use()
        assert raised.value is error
    assert ["enter", seen] == spy.log
    assert 0 == held(bound)
