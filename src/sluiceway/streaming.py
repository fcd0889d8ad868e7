"""The one driver: an `await` that can stop at an item, and what a reader sees of a stream.

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
import inspect
import types
import weakref
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Final, Self

import wrapt

from .call import Attempt, Call, Run, current
from .errors import TimedOut
from .events import FirstItem
from .providers.stream_usage import StreamUsage
from .tasks import task_of

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Coroutine, Generator


class Abandoned(CancelledError):
    """The reader left its stream.

    A `CancelledError`, to which every layer is neutral already; not `GeneratorExit`, which an `await` chain turns into
    `close()` of the inner coroutine, where no clean-up may await (PEP 380).
    """


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
def _signal(signal: Signal) -> Generator[Signal, None, None]:
    yield signal


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
        await _signal(Opened(stream))
        await _relay(call, attempt, stream.__anext__)
    except BaseException:
        await _close_broken(stream)
        raise
    await _close(stream)


async def generate(call: Call, attempt: Attempt, stream: Any) -> None:
    """Pass on the items of an async generator, whose reader has its stream already."""
    try:
        _only_the_driver(call.run)
        attempt.streamed = True
        await _relay(call, attempt, stream.__anext__)
    except BaseException:
        await _close_broken(stream)
        raise
    await _close(stream)


async def _relay(call: Call, attempt: Attempt, following: Callable[[], Awaitable[Any]]) -> None:
    run = call.run
    emit = call.emit or emit_to_reader
    attempt.reader = reader = StreamUsage()
    note = reader.note
    while True:
        token = current.set(call)
        try:
            item = await following()
        except StopAsyncIteration:
            return
        finally:
            current.reset(token)
        if attempt.items == 0:
            now = run.loop.time()
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
        await emit(item)


def _only_the_driver(run: Run) -> None:
    if asyncio.current_task(run.loop) is not run.task:
        raise RuntimeError(
            "a layer ran `proceed` in a task of its own, and the provider returned a stream: await `proceed(call)` "
            "in the layer's own coroutine"
        )


async def _close(stream: Any) -> None:
    close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
    if close is not None:
        result = close()
        if inspect.isawaitable(result):
            await result


async def _close_broken(stream: Any) -> None:
    """Close *stream* on behalf of an error that tells more than one in its closing would."""
    with contextlib.suppress(Exception):
        await _close(stream)


_ending: Final[set[asyncio.Task[None]]] = set()  # the loop holds tasks weakly
_STUBBORN: Final = 100  # cancellations that a clean-up may swallow before it is closed by force


class Pump:
    """The suspended pipeline behind a stream."""

    __slots__ = ("__weakref__", "_call", "_coroutine", "_end", "_failure", "_finish", "_left", "_proxy", "done", "run")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        call: Call,
        finish: Callable[[Call, BaseException | None], None],
    ) -> None:
        """Take over *coroutine*, suspended or not begun; *finish* hears how *call* ended."""
        self._coroutine = coroutine
        self._call = call
        self._finish = finish
        self._proxy: weakref.ref[BoundStream] | None = None
        self._failure: BaseException | None = None
        self._end: asyncio.Task[None] | None = None
        self._left: list[Any] = []  # what a layer emitted when nobody had asked
        self.run = call.run
        self.done = False
        self.run.pump = self
        self._release()

    def shown_by(self, proxy: BoundStream) -> None:
        """Remember what the reader holds, for a retry that opens another stream behind it."""
        self._proxy = weakref.ref(proxy)

    async def drive(self, reader: object) -> Any:  # noqa: ARG002 - held, so that it is no garbage while it is read
        """Return the next item, for *reader*, the object that stands for the stream.

        Raises:
            StopAsyncIteration: the stream is over.
            RuntimeError: another task reads it right now.
            BaseException: the pipeline's error, once.
        """
        if self._end is not None:
            await self._ended()
        if self._left:
            return self._left.pop(0)
        if self.done:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            raise StopAsyncIteration
        run = self.run
        self._take()
        if run.watches is not None:
            for watch in run.watches:
                watch.resume()
        coroutine = self._coroutine
        try:
            try:
                out = run.context.run(coroutine.send, None)
            except StopIteration as stop:
                out = stop.value
            else:
                if type(out) is not Item:  # it waits; an item that was there already needs no driver
                    out = await drive_on(run.context, coroutine, out)
                    while isinstance(out, Opened):  # a retry before the first item
                        self._swap(out.value)
                        out = await drive(run.context, coroutine)
        except BaseException as failure:
            self._over(failure)
            raise
        finally:
            self._release()
        if type(out) is Item:
            return out.value
        self._returned(out)
        raise StopAsyncIteration

    async def _throw(self, error: CancelledError) -> Any:
        """Throw *error* into the pipeline; return what it returns to that, a signal if it goes on with the stream."""
        run = self.run
        self._take()
        try:
            out = await drive(run.context, self._coroutine, error)
        except BaseException as failure:
            self._over(failure)
            raise
        finally:
            self._release()
        if isinstance(out, Opened):
            self._swap(out.value)
        elif isinstance(out, Item):
            self._left.append(out.value)
        return out

    def _returned(self, value: Any) -> None:
        """The pipeline is over and returned *value*, which a stream has no way to show."""
        if value is None or self.run.emitted:
            self._over(None)
            return
        error = RuntimeError(
            f"a layer returned a {type(value).__name__} although a stream was open: its reader waits for items"
        )
        self._over(error)
        raise error

    async def _ended(self) -> None:
        """Wait for what ends the pipeline beside its reader, if anything does."""
        end = self._end
        if end is not None and not end.done() and asyncio.current_task(self.run.loop) is not end:
            await asyncio.wait([end])

    def _take(self) -> None:
        run = self.run
        if run.task is not None:
            raise RuntimeError("the stream is being read by another task")
        run.task = task = task_of(run.loop)
        run.base = 0 if task is None else task.cancelling()

    def _release(self) -> None:
        run = self.run
        run.task = None
        if run.watches is not None:
            for watch in run.watches:
                watch.pause()

    def _over(self, error: BaseException | None) -> None:
        self.done = True
        self._finish(self._call, error)

    def _swap(self, stream: Any) -> None:
        proxy = None if self._proxy is None else self._proxy()
        if proxy is not None:
            proxy.__wrapped__ = stream

    async def aclose(self) -> None:
        """End the stream for its layers, as a cancellation; a second time does nothing.

        Raises:
            RuntimeError: another task reads it right now, or a layer would not let it go.
            BaseException: the pipeline's error in its clean-up.
        """
        await self._ended()
        self._left.clear()
        if self.done:
            return
        mine = Abandoned()
        try:
            out = await self._throw(mine)
        except CancelledError as raised:
            if raised is not mine:
                raise
            return
        if not isinstance(out, Signal):
            self._over(None)
            return
        self._left.clear()
        self._drop()
        raise RuntimeError("a layer went on with a stream that its reader had left")

    def expire(self) -> None:
        """A time limit passed while nobody was reading: cancel the pipeline now, tell the reader at the next read.

        A retry inside may go on with another stream; then that is what the next read goes on with.
        """
        if self._end is None or self._end.done():  # else a second limit passed in the same moment
            self._spawn(self._expire())

    async def _expire(self) -> None:
        try:
            out = await self._throw(CancelledError())
            if not isinstance(out, Signal):
                self._returned(out)
        except BaseException as error:  # noqa: BLE001 - the next read raises it
            self._failure = error

    def abandon(self) -> None:
        """The reader's object is garbage: release what the pipeline holds, from whatever thread collected it."""
        if self.done:
            return
        loop = self.run.loop
        if loop.is_closed():
            self._drop()
            return
        try:
            loop.call_soon_threadsafe(self._abandon)
        except RuntimeError:  # closed in this very moment
            self._drop()

    def _abandon(self, _: object = None) -> None:
        if self.done:
            return
        if self._end is None or self._end.done():
            self._spawn(self._leave())
        else:  # a limit passed before, and a retry may yet go on with another stream
            self._end.add_done_callback(self._abandon)

    async def _leave(self) -> None:
        try:
            await self.aclose()
        except TimedOut:  # a limit passed while nobody was left to hear of it
            pass
        except Exception as error:  # noqa: BLE001 - nobody is left to hear it but the loop
            self.run.loop.call_exception_handler({"message": "closing an abandoned stream failed", "exception": error})

    def _drop(self) -> None:
        """Nothing can be awaited any more: cancel the pipeline at this await, and at each that its clean-up comes to.

        Not by `coroutine.close()`, which turns the first such await into a `RuntimeError`: a failure to the layers
        around it, and to a retry a reason to begin again.
        """
        error = Abandoned()
        enter = self.run.context.run
        with contextlib.suppress(BaseException):
            for _ in range(_STUBBORN):
                enter(self._coroutine.throw, error)
            enter(self._coroutine.close)
        self._over(error)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._end = task = self.run.loop.create_task(coroutine)
        _ending.add(task)
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        _ending.discard(task)
        if task.cancelled() and not self.done and self.run.task is None:
            # `asyncio.run` cancels every task at its end, and one that has not begun never gets to do its work
            self._failure = CancelledError()
            self._drop()


class BoundStream(wrapt.ObjectProxy[Any]):
    """The provider's stream, read through the layers; everything but reading and closing is the stream's own."""

    def __init__(self, stream: Any, pump: Pump) -> None:
        super().__init__(stream)
        self._self_pump = pump
        pump.shown_by(self)

    def __aiter__(self) -> BoundStream:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._self_pump.drive(self)

    async def aclose(self) -> None:
        """End the stream; permits return and the provider's stream is closed."""
        await self._self_pump.aclose()

    async def close(self) -> None:
        """End the stream, as `aclose`."""
        await self._self_pump.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._self_pump.aclose()

    def __del__(self) -> None:
        pump = getattr(self, "_self_pump", None)
        if pump is not None:
            pump.abandon()


class Generated:
    """What a decorated async generator function returns: it starts at the first read, as a plain one does."""

    __slots__ = ("__weakref__", "_pump", "_start")

    def __init__(self, start: Callable[[], Pump]) -> None:
        self._start: Callable[[], Pump] | None = start
        self._pump: Pump | None = None

    def __aiter__(self) -> Generated:
        return self

    def __anext__(self) -> Awaitable[Any]:
        if self._pump is None:
            if self._start is None:
                return _nothing()
            start, self._start = self._start, None
            self._pump = start()
        return self._pump.drive(self)

    async def aclose(self) -> None:
        """End the generator for its layers; permits return."""
        self._start = None
        if self._pump is not None:
            await self._pump.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        pump = getattr(self, "_pump", None)
        if pump is not None:
            pump.abandon()


async def _nothing() -> Any:
    raise StopAsyncIteration
