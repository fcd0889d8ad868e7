"""The machinery of `session.map`: a task for each item, never more than so many, outcomes as they come."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import CancelledError
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Collection, Iterable, Sized
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar, cast

from .errors import SessionClosed
from .events import AttemptFinished
from .functions import name_of
from .outcome import Outcome
from .single_result import refuse_stream
from .streaming import is_stream
from .telemetry import logs
from .telemetry.hub import Scope, scopes
from .telemetry.kinds import model_of

if TYPE_CHECKING:
    from .call import Attempt, Call
    from .events import Event
    from .providers.usage import Usage

T = TypeVar("T")
R = TypeVar("R")

Items: TypeAlias = "Iterable[T] | AsyncIterable[T]"
Progress: TypeAlias = "Callable[[int, int | None], None]"

_END: Final = object()


class Owner(Scope, Protocol):
    """A session, as far as its gatherings know it."""

    id: str

    def refusal(self) -> SessionClosed | None:
        """Return why no further items may begin; None while they may."""

    def begins(self, gathering: Gathering[Any, Any]) -> None:
        """Hear that *gathering* has a task from now on."""

    def rests(self, gathering: Gathering[Any, Any]) -> None:
        """Hear that none of its items runs any more."""


class Item(Generic[T, R]):
    """One item while its function runs: also the scope that hears the calls made for it."""

    __slots__ = ("_gathering", "answered", "attempts", "index", "item", "started_at", "usage")

    def __init__(self, gathering: Gathering[T, R], index: int, item: T) -> None:
        self._gathering = gathering
        self.index = index
        self.item = item
        self.attempts = 0
        self.usage: Usage | None = None
        self.answered: tuple[Call, Attempt] | None = None
        self.started_at: float | None = None

    @property
    def id(self) -> str:
        """The session's, which spans and log lines of the item's calls carry."""
        return self._gathering.session.id

    @property
    def session(self) -> Owner:
        """The session that the item belongs to."""
        return self._gathering.session

    drains = False  # it is for sessions to refuse calls

    def admit(self, call: Call) -> None:
        """Let every call begin."""

    def hear(self, event: Event) -> None:
        """Count the attempts of the item's calls, and their tokens."""
        if type(event) is AttemptFinished and not event.attempt.contained:
            self.attempts += 1
            if event.attempt.outcome == "ok" and event.call is not None:
                self.answered = (event.call, event.attempt)
            usage = event.attempt.usage
            if usage is not None:
                self.usage = usage if self.usage is None else self.usage + usage

    async def run(self, function: Callable[[T], Awaitable[R]]) -> Outcome[R]:
        """Run *function* and return its outcome; only the gathering's own end is let through."""
        around = scopes.get()
        session = self.session
        scopes.set((self, *around) if session in around else (self, session, *around))
        self.started_at = asyncio.get_running_loop().time()
        try:
            value = await function(self.item)
            if is_stream(value):
                await refuse_stream(value, name_of(function))
        except CancelledError as error:
            if self._gathering.ending:
                raise
            return self.failed(error)
        except Exception as error:  # noqa: BLE001 - it is the outcome
            return self.failed(error)
        return self._outcome(value, None)

    def failed(self, error: BaseException) -> Outcome[R]:
        """Return the outcome of an item that ended with *error*."""
        return self._outcome(cast("R", None), error)

    def _outcome(self, value: R, error: BaseException | None) -> Outcome[R]:
        now = asyncio.get_running_loop().time()
        answered = self.answered if error is None else None
        return Outcome(
            ok=error is None,
            value=value,
            error=error,
            index=self.index,
            item=self.item,
            attempts=self.attempts,
            latency=0.0 if self.started_at is None else now - self.started_at,
            usage=self.usage,
            model=None if answered is None else model_of(*answered),
            provider=None if answered is None else name_of(answered[0].function),
        )


class Gathering(Generic[T, R]):
    """The tasks of one `map`: one that reads the items, and one for each item that was begun.

    Args:
        session: hears the calls, and says when no further items may begin.
        function: called with each item.
        items: an iterable or async iterable; an async generator is closed at the end.
        concurrency: items begun or finished and not taken, at most.
        on_progress: told `(done, total)` after each item; total is None until it is known.
        to_the_end: whether items that may not begin are outcomes too; otherwise they are not read.

    Attributes:
        ending: whether it was told to end.
        running: the tasks of items.
        ready: outcomes that nobody took yet.
    """

    def __init__(
        self,
        session: Owner,
        function: Callable[[T], Awaitable[R]],
        items: Items[T],
        concurrency: int,
        *,
        on_progress: Progress | None,
        to_the_end: bool,
    ) -> None:
        self.session = session
        self._function = function
        self._items = items
        self._concurrency = concurrency
        self._on_progress = on_progress
        self._to_the_end = to_the_end
        self._context = contextvars.copy_context()
        self._reader: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._begun = 0
        self._done = 0
        self._total = len(items) if isinstance(items, Sized) else None
        self._closed = False
        self.ending = False
        self.running: set[asyncio.Task[Outcome[R]]] = set()
        self.ready: deque[Outcome[R]] = deque()

    # ------------------------------------------------------------------ for whoever takes outcomes

    async def take(self) -> Outcome[R]:
        """Return the next outcome. A cancelled `take` loses none.

        Raises:
            StopAsyncIteration: there are no more.
            SessionClosed: the session drained before all items had begun, or was left before all were over.
            Exception: what reading the items raised, after the outcomes of all items before.
        """
        if self._reader is None:
            self._start()
        while not self.ready:
            if self.over():
                raise self._why()
            self._news.clear()
            await self._news.wait()
        self._room.set()
        return self.ready.popleft()

    def _start(self) -> None:
        if self.ending:
            return
        self.session.begins(self)
        self._loop = asyncio.get_running_loop()
        self._reader = self._loop.create_task(self._read(), context=self._context.copy())
        self._reader.add_done_callback(self._read_up)

    def _read_up(self, reader: asyncio.Task[None]) -> None:
        self._news.set()
        if not self.running:
            self.session.rests(self)
        if not reader.cancelled():
            reader.exception()  # looked at: `take` raises it, if anybody still takes

    def over(self) -> bool:
        """Whether no task is left, and none will be."""
        return (self._reader is None or self._reader.done()) and not self.running

    def _why(self) -> BaseException:
        """Return why there are no more outcomes."""
        reader = self._reader
        if self._closed:
            return StopAsyncIteration()
        if reader is not None and not reader.cancelled():
            error = reader.exception()
            if error is not None or not self.ending:
                return error or StopAsyncIteration()
        refusal = self.session.refusal()
        if refusal is None or (self.ending and reader is not None):
            return SessionClosed("the session was left before all items were over")
        return refusal

    async def close(self) -> None:
        """End everything, since nobody wants more outcomes, and wait until it has ended."""
        self._closed = True
        self.ready.clear()
        await ended(self.end())

    # ------------------------------------------------------------------ for the session

    def refuse(self) -> None:
        """Begin no further items: the session's refusal is a fact now."""
        if not self._to_the_end and self._reader is not None:
            self._reader.cancel()

    def end(self) -> Collection[asyncio.Task[Any]]:
        """Cancel everything, and return the tasks that then have to end."""
        self.ending = True
        tasks: list[asyncio.Task[Any]] = [*self.running]
        if self._reader is not None and not self._reader.done():
            tasks.append(self._reader)
        for task in tasks:
            task.cancel()
        return tasks

    def abandon(self) -> None:
        """Nobody will take outcomes any more: end everything, from whatever thread noticed."""
        loop = self._loop
        if loop is not None and not self.ending and not self.over():
            try:
                loop.call_soon_threadsafe(self.end)
            except RuntimeError:  # the loop is closed, its tasks are gone
                self.ending = True

    # ------------------------------------------------------------------ reading and running

    async def _read(self) -> None:
        items = self._items
        try:
            if isinstance(items, AsyncIterable):
                stream = aiter(items)
                while await self._may_begin() and (item := await anext(stream, _END)) is not _END:
                    self._begin(cast("T", item))
            else:
                iterator = iter(items)
                while await self._may_begin() and (item := next(iterator, _END)) is not _END:
                    self._begin(cast("T", item))
            self._total = self._begun
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()

    async def _may_begin(self) -> bool:
        """Wait for room; False if no further item may begin."""
        while len(self.running) + len(self.ready) >= self._concurrency:
            self._room.clear()
            await self._room.wait()
        refusal = self.session.refusal()
        if refusal is not None and not self._to_the_end:
            raise refusal
        return True

    def _begin(self, item: T) -> None:
        entry: Item[T, R] = Item(self, self._begun, item)
        self._begun += 1
        refusal = self.session.refusal()
        if refusal is not None:
            self._finished(entry.failed(refusal))
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(entry.run(self._function), context=self._context.copy())
        self.running.add(task)
        task.add_done_callback(lambda done: self._ended(entry, done))

    def _ended(self, entry: Item[T, R], task: asyncio.Task[Outcome[R]]) -> None:
        self.running.discard(task)
        if not task.cancelled():
            error = task.exception()
            self._finished(task.result() if error is None else entry.failed(error))
        elif not self.ending:  # cancelled by somebody else before its first step
            self._finished(entry.failed(CancelledError()))
        if self.over():
            self._news.set()
        if not self.running:
            self.session.rests(self)

    def _finished(self, outcome: Outcome[R]) -> None:
        self.ready.append(outcome)
        self._news.set()
        self._done += 1
        if self._on_progress is not None:
            try:
                self._on_progress(self._done, self._total)
            except (Exception, CancelledError) as error:  # noqa: BLE001 - a bar that breaks must not break the job
                logs.broken(self._on_progress, error)


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait until *tasks*, which were cancelled, are over; a cancellation meanwhile is raised after that."""
    cancelled: CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it
    if cancelled is not None:
        raise cancelled
