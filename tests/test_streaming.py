"""Streams: to layers one call that ends when the stream does; to the reader the provider's own object."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
from asyncio import CancelledError, current_task
from contextvars import ContextVar, copy_context
from unittest.mock import MagicMock

import pytest

from sluiceway.binding import bind
from sluiceway.call import Attempt, Call, Run, hints
from sluiceway.errors import TimedOut
from sluiceway.events import AttemptFinished, CallFinished, FirstItem
from sluiceway.layer import Layer
from sluiceway.layers.bounded import bounded
from sluiceway.layers.timed import timed
from sluiceway.pump import Pump
from sluiceway.readers import BoundStream
from sluiceway.streaming import Abandoned, Opened, drive, is_stream, pull
from sluiceway.testing.virtual_time import VirtualTimeLoop
from spies import Again, Observed, Passing, Spy, Stream, Within
from stepping import cancel_at_every_step


def made_by(*layers, streams=None, **shape):
    """Return a bound function that opens streams of *shape*, and the list of those it opened."""
    opened = []

    async def ask():
        stream = streams[len(opened)]() if streams else Stream(**shape)
        opened.append(stream)
        return stream

    return bind(ask, layers), opened


def held(bound):
    return bound.snapshot()[0].in_flight


async def read(stream):
    """Read to the end in whatever task this runs in; return the items and how it ended."""
    got = []
    try:
        async for item in stream:
            got.append(item)  # noqa: PERF401 - what came before the error counts
    except (Exception, CancelledError) as error:  # noqa: BLE001 - the test looks at it
        return got, type(error)
    return got, None


async def some_rounds(count=10):
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def complaints():
    """What the loop and the interpreter complained of: exceptions nobody awaited, errors in finalizers."""
    found = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: found.append(unraisable.exc_value)
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    yield found
    sys.unraisablehook = before


@pytest.fixture
async def loop_complaints(complaints):
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    return complaints


# ------------------------------------------------------------------ what the reader holds


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


# ------------------------------------------------------------------ leaving


@pytest.mark.parametrize("how", ["aclose", "close", "async with"])
async def test_leaving_a_stream_is_a_cancellation_to_its_layers(how):
    """`aclose`, `close` and `async with` end it as `Abandoned`, a `CancelledError`: neutral; closing twice is fine."""
    spy, bound = Spy(), bounded(1)
    ask, opened = made_by(spy, bound)
    stream = await ask()
    if how == "async with":
        async with stream as entered:
            assert entered is stream
            await anext(stream)
    else:
        await anext(stream)
        await getattr(stream, how)()
    assert ["enter", "Abandoned"] == spy.log
    assert isinstance(spy.errors[0], CancelledError)
    assert 0 == held(bound)
    assert opened[0].closed
    await stream.aclose()
    assert ([], None) == await read(stream)
    assert 0 == current_task().cancelling()


async def test_a_stream_left_before_its_first_item_is_left_as_any_other():
    """Closing an unread stream returns the permit and closes the provider's."""
    bound = bounded(1)
    ask, opened = made_by(bound)
    stream = await ask()
    await stream.aclose()
    assert 0 == held(bound)
    assert opened[0].closed


async def test_an_error_in_the_block_of_a_stream_comes_out_of_it_as_it_is():
    """`async with` ends the stream and lets the reader's own error through."""
    bound = bounded(1)
    ask, _ = made_by(bound)
    error = KeyError("mine")

    async def reader():
        async with await ask() as stream:
            await anext(stream)
            raise error

    with pytest.raises(KeyError) as raised:
        await reader()
    assert raised.value is error
    assert 0 == held(bound)


async def test_an_early_break_ends_the_stream_when_the_object_goes():
    """After `break` the stream is garbage, which is enough: the permit returns and the provider's is closed."""
    spy, bound = Spy(), bounded(1)
    ask, opened = made_by(spy, bound)
    async for _ in await ask():
        break
    await some_rounds()
    assert ["enter", "Abandoned"] == spy.log
    assert 0 == held(bound)
    assert opened[0].closed


async def test_garbage_from_another_thread_ends_the_stream_in_its_own_loop(loop_complaints):
    """Whatever thread drops the last reference, the pipeline ends where its loop runs."""
    spy, bound = Spy(), bounded(1)
    ask, opened = made_by(spy, bound)
    box = [await ask()]
    await anext(box[0])
    thread = threading.Thread(target=box.clear)
    thread.start()
    await asyncio.to_thread(thread.join)
    await some_rounds()
    assert ["enter", "Abandoned"] == spy.log
    assert 0 == held(bound)
    assert opened[0].closed
    assert [] == loop_complaints


async def test_cancelling_the_reader_while_it_waits_ends_the_stream():
    """Layers see the reader's own `CancelledError`; nothing is left."""
    spy, bound = Spy(), bounded(1)
    ask, opened = made_by(spy, bound, hang_at=1)
    task = asyncio.create_task(read(await ask()))
    await asyncio.sleep(1)
    assert 1 == held(bound)
    task.cancel()
    assert ([1], CancelledError) == await task
    assert ["enter", "CancelledError"] == spy.log
    assert 0 == held(bound)
    assert opened[0].closed


async def test_cancelling_the_reader_in_its_own_code_leaves_the_stream_to_be_dropped():
    """A reader cancelled between two items drops its stream, and garbage is enough."""
    bound = bounded(1)
    ask, opened = made_by(bound)

    async def reader():
        async for _ in await ask():
            await asyncio.sleep(3600)

    task = asyncio.create_task(reader())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(CancelledError):
        await task
    del task
    gc.collect()
    await some_rounds()
    assert 0 == held(bound)
    assert opened[0].closed


async def test_two_readers_at_once_are_told_so():
    """A second task that reads while one waits gets a `RuntimeError`, and the first goes on."""
    ask, _ = made_by(bounded(1), gap=1.0)
    stream = await ask()
    first = asyncio.create_task(anext_of(stream))
    await asyncio.sleep(0.5)
    with pytest.raises(RuntimeError, match="is being read by another task"):
        await anext(stream)
    with pytest.raises(RuntimeError, match="is being read by another task"):
        await stream.aclose()
    assert 1 == await first
    assert [2, 3] == [item async for item in stream]


async def anext_of(stream):
    return await anext(stream)


async def test_a_layer_that_will_not_let_its_reader_go_is_ended_with_an_error():
    """A layer that answers a closing with another item is told so, and holds nothing afterwards."""

    class Clinging(Layer):
        async def handle(self, call, proceed):
            try:
                return await proceed(call)
            except CancelledError:
                return await proceed(call)

    bound = bounded(1)
    ask, opened = made_by(bound, Clinging())
    stream = await ask()
    await anext(stream)
    with pytest.raises(RuntimeError, match="went on with a stream that its reader had left"):
        await stream.aclose()
    assert 0 == held(bound)
    assert [True, True] == [each.closed for each in opened]
    assert ([], None) == await read(stream)


async def test_the_pipelines_clean_up_may_await_on_every_way_out():
    """A `finally` around `proceed` may sleep, whether the stream ended, broke, was left, timed out or was garbage."""

    class Slow(Layer):
        left = 0

        async def handle(self, call, proceed):
            try:
                return await proceed(call)
            finally:
                await asyncio.sleep(1)
                Slow.left += 1

    async def leave(**shape):
        ask, _ = made_by(Within(60), Slow(), bounded(1), **shape)
        return await ask()

    await read(await leave())
    await read(await leave(fail_at=1, error=ConnectionError()))
    await (await leave()).aclose()
    await read(await leave(hang_at=1))
    await leave()
    await asyncio.sleep(2)
    kept = await leave()
    await asyncio.sleep(100)
    del kept
    assert 6 == Slow.left


async def test_a_reader_cancelled_while_the_end_cleans_up_takes_nothing_with_it():
    """At whatever step the reader of a whole stream is cancelled, permits return and the provider's is closed."""
    spy, bound = Spy(), bounded(1)

    async def whole():
        async with await ask() as stream:
            return [item async for item in stream]

    for step in cancel_at_every_step():
        ask, opened = made_by(Within(60), spy, bound, gap=0.1)
        outcome = await step(whole())
        assert ("cancelled" if step.reached else "value") == outcome
        await some_rounds()
        assert (0, 0) == (held(bound), spy.inside)
        assert all(each.closed for each in opened)


# ------------------------------------------------------------------ time limits


@pytest.mark.parametrize("limit", [Within, timed])
async def test_the_total_limit_ends_the_read_that_waits(limit):
    """`TimedOut` comes out of the waiting read, with the task's count of cancellations as before."""
    bound = bounded(1)
    ask, opened = made_by(limit(3), bound, hang_at=1)
    stream = await ask()
    assert 1 == await anext(stream)
    with pytest.raises(TimedOut) as raised:
        await anext(stream)
    assert "total" == raised.value.kind
    assert 3.0 == asyncio.get_running_loop().time()
    assert 0 == current_task().cancelling()
    assert 0 == held(bound)
    assert opened[0].closed


@pytest.mark.parametrize("limit", [Within, timed])
async def test_the_total_limit_in_the_readers_own_code_leaves_that_alone(limit):
    """While nobody reads, the permit returns at the limit, the reader's code runs on, and its next read raises."""
    bound = bounded(1)
    ask, opened = made_by(limit(3), bound)
    stream = await ask()
    await anext(stream)
    await asyncio.sleep(2.9)
    assert 1 == held(bound)
    await asyncio.sleep(0.2)
    assert 0 == held(bound)
    assert opened[0].closed
    await asyncio.sleep(10)
    with pytest.raises(TimedOut):
        await anext(stream)
    assert 0 == current_task().cancelling()
    assert ([], None) == await read(stream)


async def test_a_read_right_while_the_limit_ends_the_pipeline_waits_for_that_and_raises():
    """A read that comes while the clean-up of an expired pipeline still runs is told `TimedOut` when it is over."""

    class Slow(Layer):
        async def handle(self, call, proceed):
            try:
                return await proceed(call)
            finally:
                await asyncio.sleep(5)

    bound = bounded(1)
    ask, _ = made_by(Within(3), Slow(), bound)
    stream = await ask()
    await asyncio.sleep(4)
    with pytest.raises(TimedOut):
        await anext(stream)
    assert 8.0 == asyncio.get_running_loop().time()
    assert 0 == held(bound)


async def test_a_reader_that_gives_up_on_an_expiring_stream_does_not_stop_its_end():
    """Cancelling a read that waits for the end of an expired pipeline cancels the read only."""

    class Slow(Layer):
        left = False

        async def handle(self, call, proceed):
            try:
                return await proceed(call)
            finally:
                await asyncio.sleep(5)
                self.left = True

    slow = Slow()
    ask, _ = made_by(Within(3), slow)
    stream = await ask()
    await asyncio.sleep(4)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await anext(stream)
    assert not slow.left
    await asyncio.sleep(4)
    assert slow.left
    with pytest.raises(TimedOut):
        await anext(stream)


@pytest.mark.parametrize("leave", ["aclose", "async with"])
async def test_leaving_a_stream_while_it_expires_is_quiet(leave):
    """Whoever leaves does not care for the limit: no `TimedOut` replaces what the reader was doing."""
    spy = Spy()
    ask, opened = made_by(Within(3), spy)
    stream = await ask()

    async def reader():
        async with stream:
            await asyncio.sleep(3)
            raise KeyError("mine")

    if leave == "aclose":
        await asyncio.sleep(3)
        await stream.aclose()
    else:
        with pytest.raises(KeyError):
            await reader()
    assert ["enter", "CancelledError"] == spy.log
    assert opened[0].closed


async def test_two_limits_that_pass_at_one_moment_end_an_unread_stream_once(loop_complaints):
    """Equal limits of two layers do not end it in two tasks at a time."""
    spy = Spy()
    ask, opened = made_by(Within(3), Within(3), spy)
    stream = await ask()
    await asyncio.sleep(4)
    with pytest.raises(TimedOut):
        await anext(stream)
    assert ["enter", "CancelledError"] == spy.log
    assert opened[0].closed
    assert [] == loop_complaints


async def test_a_second_limit_that_passes_while_the_first_cleans_up_cuts_that_short():
    """The total around an expired inner limit ends the inner one's clean-up, and its own error is raised."""

    class Stuck(Layer):
        async def handle(self, call, proceed):
            try:
                return await proceed(call)
            finally:
                await asyncio.sleep(3600)

    bound = bounded(1)
    ask, _ = made_by(Within(5), Within(3), Stuck(), bound)
    stream = await ask()
    await asyncio.sleep(6)
    assert 0 == held(bound)
    with pytest.raises(TimedOut) as raised:
        await anext(stream)
    assert 5.0 == raised.value.limit


async def test_an_attempts_limit_that_passes_unread_lets_a_retry_open_the_next_stream(loop_complaints):
    """While nobody reads, a retry opens another stream behind the same object; the next read goes on with it."""
    bound = bounded(1)
    ask, opened = made_by(Again(3), Within(3), bound)
    stream = await ask()
    await asyncio.sleep(4)
    assert [True, False] == [each.closed for each in opened]
    assert stream.__wrapped__ is opened[1]
    assert 1 == held(bound)
    assert [1, 2, 3] == [item async for item in stream]
    assert 0 == held(bound)
    assert [] == loop_complaints


async def test_a_stream_dropped_while_a_retry_reopens_it_is_left(loop_complaints):
    """Garbage during the backoff after an unread limit ends the pipeline once the retry has its next stream."""
    bound = bounded(1)
    ask, opened = made_by(Again(3, pause=5), Within(3), bound)
    stream = await ask()
    await asyncio.sleep(4)
    del stream
    await asyncio.sleep(20)
    assert 0 == held(bound)
    assert all(each.closed for each in opened)
    assert [] == loop_complaints


async def test_a_layer_that_emits_while_a_limit_ends_its_stream_loses_no_item():
    """What a layer still has to say when a limit passes unread is the reader's at its next reads."""

    class Farewell(Layer):
        async def handle(self, call, proceed):
            try:
                return await proceed(call)
            except CancelledError:
                from sluiceway.streaming import emit_to_reader

                await emit_to_reader("the limit passed")
                raise

    ask, opened = made_by(Within(3), Farewell())
    stream = await ask()
    await anext(stream)
    await asyncio.sleep(4)
    assert "the limit passed" == await anext(stream)
    with pytest.raises(TimedOut):
        await anext(stream)
    assert opened[0].closed


async def test_made_in_one_task_and_read_in_another_the_limit_ends_the_reading_task():
    """A web framework reads in a task of its own: that is where `TimedOut` is raised."""
    bound = bounded(1)
    ask, _ = made_by(Within(5), bound, hang_at=2)
    task = asyncio.create_task(read(await ask()))
    assert ([1, 2], TimedOut) == await task
    assert (0, 0) == (task.cancelling(), current_task().cancelling())
    assert 0 == held(bound)


async def test_each_read_in_a_task_of_its_own_is_one_stream():
    """Every item may be asked for by another task."""
    spy, bound = Spy(), bounded(1)
    ask, _ = made_by(Within(60), spy, bound)
    stream = await asyncio.create_task(ask())
    items = [await asyncio.create_task(anext_of(stream)) for _ in range(3)]
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()
    assert [1, 2, 3] == items
    assert ["enter", "value"] == spy.log
    assert 0 == held(bound)


async def test_the_readers_own_timeout_works_as_on_a_plain_stream():
    """`asyncio.timeout` around a read is the reader's, raises its own error, and ends the stream."""
    bound = bounded(1)
    ask, opened = made_by(Within(60), bound, hang_at=1)
    stream = await ask()
    await anext(stream)
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(1):
            await anext(stream)
    assert not isinstance(raised.value, TimedOut)
    assert 0 == held(bound)
    assert opened[0].closed


async def test_a_stream_outlives_the_task_that_opened_it():
    """`wait_for` around the opening call runs it in a task of its own in Python 3.11; the stream reads on."""
    bound = bounded(1)
    ask, _ = made_by(Within(60), bound)
    stream = await asyncio.wait_for(ask(), 1)
    assert [1, 2, 3] == [item async for item in stream]
    assert 0 == held(bound)


async def test_first_item_and_idle_limits_run_only_while_somebody_waits():
    """A slow reader is not held against the provider; a silent provider is."""
    ask, _ = made_by(timed(first_item=5, idle=3), gap=1.0)
    stream = await ask()
    await asyncio.sleep(8)
    assert 1 == await anext(stream)
    await asyncio.sleep(6)
    assert [2, 3] == [item async for item in stream]
    ask, opened = made_by(timed(first_item=5, idle=3), hang_at=1)
    stream = await ask()
    await anext(stream)
    with pytest.raises(TimedOut) as raised:
        await anext(stream)
    assert "idle" == raised.value.kind
    assert opened[0].closed
    assert 0 == current_task().cancelling()


async def test_a_deadline_of_the_caller_holds_for_the_whole_stream():
    """`hints(deadline=...)` ends a stream as a total limit does, wherever it is read."""
    bound = bounded(1)
    ask, _ = made_by(bound, hang_at=1)
    with hints(deadline=3):
        stream = await ask()
    assert ([1], TimedOut) == await asyncio.create_task(read(stream))
    assert 0 == held(bound)


async def test_asyncio_timeout_held_across_proceed_cancels_the_readers_own_code():
    """Why layers use `call.within`: `asyncio.timeout` remembers the task that opened the stream, and cancels that."""

    class Hazard(Layer):
        async def handle(self, call, proceed):
            async with asyncio.timeout(2):
                return await proceed(call)

    ask, _ = made_by(Hazard())

    async def reader():
        stream = await ask()
        await anext(stream)
        try:
            await asyncio.sleep(5)
        except CancelledError:
            current_task().uncancel()
            with contextlib.suppress(TimeoutError):
                await stream.aclose()
            return "the reader's sleep was cancelled"

    assert "the reader's sleep was cancelled" == await asyncio.create_task(reader())


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


var: ContextVar[str] = ContextVar("var", default="outside")


class Setter(Layer):
    """Holds a contextvar token across `proceed`, as the guide forbids and others will do."""

    async def handle(self, call, proceed):
        token = var.set("inside")
        try:
            return await proceed(call)
        finally:
            var.reset(token)


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


# ------------------------------------------------------------------ async generator functions


def counting(*layers, n=3, fail_at=None, error=None, hang_at=None, log=None):
    """Return a bound async generator function of *n* items; *log* hears when it is closed."""

    async def ask():
        try:
            for number in range(1, n + 1):
                if number - 1 == fail_at:
                    raise error
                if number - 1 == hang_at:
                    await asyncio.get_running_loop().create_future()
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            if log is not None:
                log.append("closed")

    return bind(ask, layers)


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


# ------------------------------------------------------------------ the loop ends first


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


@pytest.mark.parametrize("kind", ["returned", "generated"])
def test_a_stream_that_outlives_its_loop_gives_its_permit_back_when_it_goes(kind, complaints):
    """The loop is closed, nothing can be awaited any more, and still every `finally` runs, without complaint."""
    spy, bound = Spy(), bounded(1)
    kept = []

    async def main():
        stream = (
            (await made_by(Within(60), Setter(), spy, bound)[0]()) if kind == "returned" else counting(spy, bound)()
        )
        await anext(stream)
        kept.append(stream)

    run(main())
    assert 1 == held(bound)
    kept.clear()
    assert 0 == held(bound)
    assert ["enter", "Abandoned"] == spy.log
    gc.collect()
    assert [] == complaints


@pytest.mark.parametrize("kind", ["returned", "generated"])
def test_a_stream_left_with_the_last_line_of_the_program_gives_its_permit_back(kind, complaints):
    """`asyncio.run` cancels the task that would close it before that began: the permit returns all the same."""
    bound = bounded(1)

    async def main():
        stream = await made_by(Setter(), bound)[0]() if kind == "returned" else counting(Setter(), bound)()
        async for _ in stream:
            break
        return "left early"

    assert "left early" == run(main())
    assert 0 == held(bound)
    assert "left early" == run(main())
    assert 0 == held(bound)
    gc.collect()
    assert [] == complaints


def test_streams_of_tasks_that_the_end_of_the_program_cancels_are_closed(complaints):
    """Tasks cancelled in their own code at the loop's end drop their streams, and nothing stays held."""
    bound = bounded(10)
    ask, opened = made_by(Setter(), bound)

    async def reader():
        async for _ in await ask():
            await asyncio.sleep(3600)

    async def main():
        tasks = [asyncio.create_task(reader()) for _ in range(10)]
        await asyncio.sleep(1)
        assert 10 == held(bound)
        return len(tasks)

    assert 10 == run(main())
    gc.collect()
    assert 0 == held(bound)
    assert all(stream.closed for stream in opened)
    assert [] == complaints


def test_a_reader_destroyed_with_its_loop_leaves_no_permit(complaints):
    """A task that still waits for an item when its loop is closed by force releases what its call holds."""
    bound = bounded(1)
    ask, _ = made_by(bound, Setter(), hang_at=0)
    loop = VirtualTimeLoop()

    async def reader():
        return [item async for item in await ask()]

    task = loop.create_task(reader())
    loop.run_until_complete(asyncio.sleep(1))
    assert 1 == held(bound)
    task._log_destroy_pending = False
    loop.close()
    del task
    gc.collect()
    assert 0 == held(bound)
    assert [] == [each for each in complaints if "different Context" in str(each)]


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
