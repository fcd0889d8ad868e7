"""A task in the background that exchanges one shared state with its store."""

from __future__ import annotations

import asyncio
import itertools
from asyncio import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sluiceway.sharing.line import StoreAwayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.sharing.line import Line
    from sluiceway.sharing.store import Kind, SharedStore

_BROKEN: Final = 1.0  # seconds until the next turn after one that raised
_GOODBYE: Final = 0.5  # seconds for the last word, when the event loop ends
_numbers = itertools.count(1)


class Feeder:
    """Takes turns: each asks the store if there is something to ask, and says when the next one is due.

    It starts when it is kicked and ends when there is nothing to exchange.

    Args:
        store: where the state is.
        kind: which book keeps it.
        key: the key of `by=`; None for none.
    """

    kind: Kind

    def __init__(self, store: SharedStore, key: object) -> None:
        self.store = store
        self.key = "" if key is None else key if isinstance(key, str) else repr(key)
        self.workers = 1
        self._number = next(_numbers)
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sleeper: asyncio.Future[None] | None = None
        self._pending = False
        self._resting = False
        self._ending = False
        self._starting = False
        self.line: Line | None = None

    @property
    def state(self) -> str:
        """How it stands with the store: `"connected"`, `"idle"` or `"away: "` and why."""
        if self.line is None or self._task is None:
            return "idle"
        return f"away: {self.line.reason}" if self.line.away else "connected"

    @property
    def worker(self) -> str:
        """Its name in the store: of its own, since another layer object of this process may be on the same state."""
        assert self.line is not None
        return f"{self.line.id}-{self._number}"

    def kick(self) -> None:
        """Take a turn now."""
        self._pending = True
        sleeper = self._sleeper
        if sleeper is not None and not sleeper.done():
            sleeper.set_result(None)
            return
        if self._task is None and not self._starting:
            self._start(asyncio.get_running_loop())

    def in_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in *loop*; a task of another one has died with it."""
        if self._loop is not None and loop is not self._loop:
            if self._task is not None:
                self.abandoned()
            self._task = self._sleeper = None
        self._loop = loop

    def abandoned(self) -> None:
        """Its event loop was closed without a goodbye: nobody has renewed since what it held."""

    def rest(self) -> asyncio.Task[None] | None:
        """Give everything back and end; return the task that does so."""
        self._resting = True
        self._pending = False
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)
        return self._task

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._resting = self._ending = False
        self._starting = True  # where tasks are eager it runs before it is known, and may be kicked by what it does
        try:
            self._task = loop.create_task(self._run(loop), name=f"sluiceway {self.kind} {self.store.prefix}")
        finally:
            self._starting = False
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task is not self._task:
            return
        self._task = None
        loop = self._loop
        if self._pending and not task.cancelled() and loop is not None and not loop.is_closed():
            self._start(loop)  # somebody came while it was about to end

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        line = self.line = self.store.line(loop)
        line.feeders.add(self)
        try:
            while not self._resting:
                self._pending = False
                pause = await self._turn_safely(loop)
                if pause is None:
                    break
                await self._sleep(loop, pause)
        finally:
            if not loop.is_closed():  # else there is nobody to tell, and perhaps another task goes on for us
                await self._end(loop, line)

    async def _end(self, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        self._ending = True
        try:
            with suppress(StoreAwayError, TimeoutError):
                async with asyncio.timeout(_GOODBYE):
                    await self.goodbye(loop.time())
        finally:
            line.feeders.discard(self)
            if not line.feeders:
                with suppress(Exception):
                    await self.store.disconnect(line)

    async def _turn_safely(self, loop: asyncio.AbstractEventLoop) -> float | None:
        try:
            return await self.turn(loop.time())
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - it must not leave callers waiting for ever
            loop.call_exception_handler({"message": f"a turn of {self!r} failed", "exception": error})
            return _BROKEN

    async def _sleep(self, loop: asyncio.AbstractEventLoop, pause: float) -> None:
        if self._pending or self._resting:
            return
        sleeper = self._sleeper = loop.create_future()
        timer = loop.call_later(pause, _wake, sleeper)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._sleeper = None

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the store's answer to *question*, to which this worker's name is added.

        Raises:
            StoreAwayError: there is none.
        """
        line = self.line
        assert line is not None
        answer = await line.exchange(self.store, self.kind, self.key, {"id": self.worker, **question})
        if not question["bye"]:  # then we are not among them, but are again at the next call
            self.workers = max(1, int(answer["workers"]))
        return answer

    async def turn(self, now: float) -> float | None:
        """Do what is due at *now*; return the seconds until the next turn, None to end."""
        raise NotImplementedError

    async def goodbye(self, now: float) -> None:
        """Give everything back."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.store.prefix!r}, {self.workers} workers, {self.state}>"


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
