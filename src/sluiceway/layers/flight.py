"""One call that several wait for."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any

from sluiceway.branching import Branch, ended, tell_first_item
from sluiceway.streaming import Item, Opened, Signal, emit_to_reader, signal

if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import Hashable
    from types import TracebackType

    from sluiceway.call import Call, Run


class Flight(Branch):
    """One call under way, in a task of its own, for as long as somebody waits for it.

    Attributes:
        flights, place: where it is found until it is over, or given up: no further call may wait for it then.
        task: the one that drives it; None if it was over before it waited.
        waiting: how many wait for it or read from it.
        error: what it failed with, for all who wait.
        ready: whether there is an outcome, or a stream to read from.
        streams: whether it came to a stream.
    """

    flights: dict[Hashable, Flight]
    place: Hashable
    ready = False
    streams = False
    waiting = 0
    error: BaseException | None = None
    _traceback: TracebackType | None = None
    _over = False
    _items: list[Any] | None = None
    _sleepers: set[Future[None]] | None = None
    task: Task[None] | None = None

    def contains(self, call: Call) -> bool:
        """Whether *call* is made inside it, and would wait for itself."""
        outer = call.run.parent
        while outer is not None:
            run: Run | None = outer.run
            while run is not None:
                if run is self.run:
                    return True
                run = run.outer
            outer = outer.run.parent
        return False

    async def until_ready(self) -> None:
        """Wait until it is."""
        while not self.ready:
            await self._news()

    def outcome(self) -> Any:
        """Return the value, or raise the error, that is everybody's."""
        if self.error is not None:
            raise self.error.with_traceback(self._traceback)
        return self.came

    async def replay(self, call: Call) -> None:
        """Give the stream to the reader of *call*, from its first item on."""
        run = call.run
        if self.opened is not None:
            await signal(Opened(self.opened))
        emit = call.emit or emit_to_reader
        items = self._items
        assert items is not None
        place = 0
        while True:
            if place < len(items):
                tell_first_item(run)
                run.emitted = True
                await emit(items[place])
                place += 1
            elif not self._over:
                await self._news()
            elif self.error is not None:
                self.outcome()
            else:
                return

    async def leave(self, run: Run) -> None:
        """*run* no longer waits; if nobody does, cancel what is under way and wait until nothing of it is left."""
        self.waiting -= 1
        if self.waiting == 0:
            self._depart()
            if not self._over or self.suspended:
                await ended([(self, self.task)])
        elif run is self.run.outer and not self._over:
            self.run.leave()

    def drop(self) -> None:
        """The one who waits can await nothing more."""
        self.waiting -= 1
        if self.waiting == 0:
            self._depart()
            if self.task is not None:
                self.task.cancel()

    def _depart(self) -> None:
        """Be found no more."""
        if self.flights.get(self.place) is self:
            del self.flights[self.place]

    async def after_first(self, came: Any) -> None:
        """Fly on from *came*, which the first step returned."""
        try:
            await self.drive_on(came, to_item=False)
            if self.suspended:
                self.streams = True
                self._tell()
                if self.run.alone:
                    await self._read()
        except BaseException as error:  # noqa: BLE001 - it is everybody's
            self.landed(error)
        else:
            self.landed(None)

    async def _read(self) -> None:
        self._items = items = []
        out = self.came
        while isinstance(out, Signal):
            if isinstance(out, Item):
                items.append(out.value)
                self._tell()
            out = await self.go_on()

    def landed(self, error: BaseException | None) -> None:
        """It is over; *error* is for all who wait, unless it ends the program."""
        self._over = self.ready = True
        found = self.flights.pop(self.place, self)
        if found is not self:  # which another has taken since this one was given up
            self.flights[self.place] = found
        if self._sleepers:
            self._tell()
        if error is not None:
            self.error, self._traceback = error, error.__traceback__
            if not isinstance(error, (Exception, CancelledError)):
                raise error

    def _tell(self) -> None:
        """Wake all who wait for something new."""
        self.ready = True
        for sleeper in self._sleepers or ():
            if not sleeper.done():
                sleeper.set_result(None)

    async def _news(self) -> None:
        if self._sleepers is None:
            self._sleepers = set()
        sleeper = self.run.loop.create_future()
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            self._sleepers.discard(sleeper)
