"""The suspended pipeline behind a stream: who drives it on, and all the ways in which it ends.

It is driven by whoever reads; where nobody does, since a time limit passed or the stream is garbage, by a task of its
own; and where no task can run any more, since the loop is closed, without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import weakref
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Final

from .errors import TimedOut
from .streaming import Abandoned, Item, Opened, Signal, Thrown, drive, drive_on
from .tasks import task_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .call import Call

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
        self._proxy: weakref.ref[Any] | None = None
        self._failure: BaseException | None = None
        self._end: asyncio.Task[None] | None = None
        self._left: list[Any] = []  # what a layer emitted when nobody had asked
        self.run = call.run
        self.done = False
        self.run.pump = self
        self._release()

    def shown_by(self, proxy: Any) -> None:
        """Remember the proxy that the reader holds, for a retry that opens another stream behind it."""
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

    async def throw(self, error: BaseException) -> Any:
        """Raise *error* in the generator behind the pipeline, at its `yield`; return the item it answers with.

        Raises:
            StopAsyncIteration: it ended instead, or had before.
            BaseException: *error* itself, or what the generator raises instead.
        """
        await self._ended()
        if self.done:
            raise StopAsyncIteration
        try:
            out = await self._throw(Thrown(error))
        except Thrown as thrown:  # it had not begun
            raise thrown.error from None
        if isinstance(out, Signal):
            return self._left.pop()
        self._returned(out)
        raise StopAsyncIteration

    async def _throw(self, error: BaseException) -> Any:
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
        self.run.pump = None  # or each stream is a circle that only the garbage collector opens
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
        if inspect.getcoroutinestate(self._coroutine) == inspect.CORO_CLOSED:
            self._over(Abandoned())  # by the garbage collector, which found the two in one circle
        elif self._end is None or self._end.done():
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
