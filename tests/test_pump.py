"""The ways in which a stream ends: left, dropped, cancelled, timed out, or outlived by its loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from asyncio import CancelledError, current_task

import pytest

from sluiceway.binding import bind
from sluiceway.call import hints
from sluiceway.errors import TimedOut
from sluiceway.events import CallFinished
from sluiceway.layer import Layer
from sluiceway.layers.bounded import bounded
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.layers.timed import timed
from sluiceway.testing.virtual_time import VirtualTimeLoop
from spies import Again, Observed, Spy, Stream, Within
from stepping import cancel_at_every_step
from streams import Setter, anext_of, counting, held, made_by, read, run, some_rounds

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


class Circle:
    """References that only the garbage collector opens."""

    def __init__(self, stream):
        self.me = self
        self.stream = stream


class Outcomes(Observed):
    """Keeps how calls ended, and so no call alive."""

    def _listen(self, run, call):
        run.sink = lambda event: type(event) is CallFinished and self.events.append(event.outcome)
        run.listening = True


@pytest.mark.parametrize("items", [0, 1])
@pytest.mark.parametrize("kind", ["returned", "generated"])
async def test_a_stream_in_a_circle_of_garbage_is_ended_too(kind, items, loop_complaints):
    """The collector ends the pipeline together with its reader's object: the provider's is closed all the same."""
    limit, closed = rate_limited(rpm=600, in_flight=1), []
    ask, opened = made_by(limit)
    with Outcomes() as heard:
        circle = Circle(await ask() if kind == "returned" else counting(limit, log=closed)())
        for _ in range(items):
            await anext(circle.stream)
        del circle
        gc.collect()
        assert 0 == held(limit)
        await some_rounds()
    began = items > 0 or kind == "returned"
    assert all(stream.closed for stream in opened)
    assert ["closed"] * (began and kind == "generated") == closed
    assert ["cancelled"] * began == heard.events
    assert [] == loop_complaints


async def test_an_error_in_closing_a_stream_in_a_circle_of_garbage_is_told_to_the_loop(loop_complaints):
    """Nobody else is left to hear it."""

    class Stubborn(Stream):
        async def close(self):
            await super().close()
            raise KeyError("stays open")

    circle = Circle(await made_by(streams=[Stubborn])[0]())
    del circle
    gc.collect()
    await some_rounds()
    assert ["KeyError('stays open')"] == [repr(each["exception"]) for each in loop_complaints]


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


# ------------------------------------------------------------------ the loop ends first


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
def test_a_stream_in_a_circle_of_garbage_that_outlives_its_loop_is_closed_as_far_as_that_goes(kind, complaints):
    """The collector ends the pipeline, and the closing gets as far as its first wait."""
    limit, kept, log = rate_limited(rpm=600, in_flight=1), [], []
    ask, opened = made_by(limit)

    async def items():
        try:
            yield 1
        finally:
            log.append("closing")
            await asyncio.sleep(1)

    async def main():
        kept.append(Circle(await ask() if kind == "returned" else bind(items, [limit])()))
        await anext(kept[0].stream)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.get_loop().shutdown_asyncgens = some_rounds  # else it has closed the generator before
        runner.run(main())
    assert 1 == held(limit)
    kept.clear()
    gc.collect()
    assert 0 == held(limit)
    assert [True] == [stream.closed for stream in opened] or ["closing"] == log
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


@pytest.mark.parametrize("kind", ["plain", "returned", "generated"])
async def test_a_call_that_succeeds_leaves_nothing_to_the_garbage_collector(kind):
    """No circles of references: thousands of prompts and answers go as soon as they are used."""
    layers = (Within(60), bounded(1))
    ask = {
        "plain": bind(asyncio.sleep, layers),
        "returned": made_by(*layers)[0],
        "generated": counting(*layers),
    }[kind]

    async def use():
        if kind == "plain":
            await ask(0)
        else:
            async for _ in ask() if kind == "generated" else await ask():
                pass

    await use()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await use()
        assert 0 == gc.collect()
    finally:
        gc.enable()
