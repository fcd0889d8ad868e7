"""The one driver: an `await` that can stop at an item, and the innermost step of a stream.

To layers a stream is the same coroutine as a plain call, whose `proceed` returns when the stream is over. The driver
does by hand what `await` does, but looks at what the pipeline yields: futures go up to the event loop; a signal (a
stream was opened, an item came) stops the driving and leaves the pipeline suspended, with every `finally` of every
layer still ahead of it. Whoever drives it next, in whatever task, goes on. No task, no queue.

Every step runs in the call's own context, so that what layers set around `proceed` neither leaks into the reader's
code between two items nor fails to reset when another task finishes the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from asyncio import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .call import Attempt, Call, Run, current
from .closing import close, close_broken, close_from_outside
from .events import FirstItem
from .providers.stream_usage import StreamUsage

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Coroutine, Generator


class Abandoned(CancelledError):
    """The reader left its stream.

    A `CancelledError`, to which every layer is neutral already; not `GeneratorExit`, which an `await` chain turns into
    `close()` of the inner coroutine, where no clean-up may await (PEP 380).
    """


class Thrown(BaseException):
    """What carries an error of the reader's through the layers into the generator that it reads: `athrow`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Signal:
    """What the pipeline yields to its driver instead of a future."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Opened(Signal):
    """A stream was opened; `value` is the provider's stream."""

    __slots__ = ()


class Item(Signal):
    """An item of the stream came."""

    __slots__ = ()


@types.coroutine
def signal(what: Signal) -> Generator[Signal, None, None]:
    """Tell the driver *what* happened, and stay suspended until it goes on."""
    yield what


@types.coroutine
def drive(
    context: contextvars.Context, coroutine: Coroutine[Any, Any, Any], error: BaseException | None = None
) -> Generator[Any, Any, Any]:
    """Run *coroutine* in *context* until it returns (the value) or signals (the signal).

    *error* is thrown into it first, if given.
    """
    try:
        out = context.run(coroutine.send, None) if error is None else context.run(coroutine.throw, error)
    except StopIteration as stop:
        return stop.value
    return (yield from drive_on(context, coroutine, out))


@types.coroutine
def drive_on(context: contextvars.Context, coroutine: Coroutine[Any, Any, Any], out: Any) -> Generator[Any, Any, Any]:
    """Run *coroutine* on in *context* from *out*, which its first step yielded, as `drive` does.

    This is PEP 380's `yield from`, written out; a signal ends it instead of going up to the event loop.
    """
    enter = context.run
    try:
        while not isinstance(out, Signal):
            try:
                got = yield out
            except GeneratorExit:
                enter(coroutine.close)
                raise
            except BaseException as thrown:  # noqa: BLE001 - whatever is thrown at us is for the pipeline
                out = enter(coroutine.throw, thrown)
            else:
                out = enter(coroutine.send, got)
    except StopIteration as stop:
        return stop.value
    return out


@types.coroutine
def emit_to_reader(item: Any) -> Generator[Signal, None, None]:
    """Hand *item* to the reader and stay suspended until the next one is asked for."""
    yield Item(item)


no_streams: Final[set[type]] = set()
"""Types that are known not to be streams: looking for what is not there costs six times as much."""
_MANY = 1000


def is_stream(value: object) -> bool:
    """Whether *value* is a stream: by `__anext__`, since pages of results have `__aiter__` too.

    A `MagicMock` is none, though it answers to every name: a test's stand-in for a response that nobody will read
    would hold its permits until it is garbage.
    """
    kind = type(value)
    if kind in no_streams:
        return False
    if hasattr(kind, "__anext__") and kind.__module__ != "unittest.mock":
        return True
    if len(no_streams) >= _MANY:  # classes made on the fly must not live for ever
        no_streams.clear()
    no_streams.add(kind)
    return False


async def pull(call: Call, attempt: Attempt, stream: Any) -> None:
    """Open *stream* to the reader and pass its items on until it ends; close it whatever happens."""
    try:
        _only_the_driver(call.run)
        attempt.streamed = True
        await signal(Opened(stream))
        await _relay(call, attempt, stream)
    except GeneratorExit:
        close_from_outside(stream, call.run.loop)
        raise
    except BaseException:
        await close_broken(stream)
        raise
    await close(stream)


async def generate(call: Call, attempt: Attempt, stream: Any) -> None:
    """Pass on the items of an async generator, whose reader has its stream already."""
    try:
        _only_the_driver(call.run)
        attempt.streamed = True
        await _relay(call, attempt, stream)
    except GeneratorExit:
        close_from_outside(stream, call.run.loop)
        raise
    except BaseException:
        await close_broken(stream)
        raise
    await close(stream)


async def _relay(call: Call, attempt: Attempt, stream: Any) -> None:
    run = call.run
    emit = call.emit or emit_to_reader
    attempt.reader = reader = StreamUsage()
    note = reader.note
    following = advance = stream.__anext__
    while True:
        token = current.set(call)
        try:
            item = await following()
        except BaseException as error:
            reset(token)
            if isinstance(error, StopAsyncIteration):
                return
            raise
        current.reset(token)
        if attempt.items == 0:
            now = run.time()
            attempt.first_item_at = now
            if run.listening:
                run.sink(FirstItem(now, call, attempt, now - attempt.started_at))
            told, run.at_first_item = run.at_first_item, None
            while told is not None:
                told[0](told)
                told = told[1]
        attempt.items += 1
        note(item)
        run.emitted = True
        following = advance
        try:
            await emit(item)
        except Thrown as thrown:
            following = partial(stream.athrow, thrown.error)


def reset(token: contextvars.Token[Call | None]) -> None:
    """Take back what was made `current`.

    The garbage collector may end this coroutine by itself, in a context of somebody else's that was never changed.
    """
    with contextlib.suppress(ValueError):
        current.reset(token)


def _only_the_driver(run: Run) -> None:
    if asyncio.current_task(run.loop) is not run.task:
        raise RuntimeError(
            "a layer ran `proceed` in a task of its own, and the provider returned a stream: await `proceed(call)` "
            "in the layer's own coroutine"
        )
