"""One call that several wait for."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any

from sluiceway.branching import Branch, ended, tell_first_item
from sluiceway.starting import started
from sluiceway.streaming import Item, Opened, Signal, emit_to_reader, signal

if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import Hashable
    from types import TracebackType

    from sluiceway.call import Call, Proceed, Run


class Flight:
    """One call under way, in a task of its own from `begin` on, for as long as somebody waits for it.

    Args:
        call, proceed: as the layer was handed them for the first that waits.
        flights, place: where it is found until it is over, or given up: no further call may wait for it then.
        keep: whether to read a stream to its end, for all who wait; else it is left at its opening.

    Attributes:
        waiting: how many wait for it or read from it.
        leader: the run of the first.
        ready: whether there is an outcome, or a stream to read from.
        streams: whether it came to a stream.
    """

    __slots__ = (
        "_branch",
        "_error",
        "_flights",
        "_items",
        "_keep",
        "_loop",
        "_over",
        "_place",
        "_sleepers",
        "_task",
        "_traceback",
        "leader",
        "ready",
        "streams",
        "waiting",
    )

    def __init__(
        self, call: Call, proceed: Proceed[Any], flights: dict[Hashable, Flight], place: Hashable, *, keep: bool
    ) -> None:
        self._branch = Branch(call, proceed, alone=keep)
        self._branch.run.deadline = None  # which is that of the first alone
        self._flights = flights
        self._place = place
        self._keep = keep
        self._items: list[Any] = []
        self._sleepers: set[Future[None]] = set()
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._over = False
        self.ready = False
        self.streams = False
        self.waiting = 0
        self.leader: Run | None = call.run
        self._loop = call.run.loop
        self._task: Task[None] | None = None

    def begin(self) -> None:
        """Take off, as far as that goes at once; from here on it is found."""
        self._flights[self._place] = self
        self._task = started(self._fly(), self._loop)  # None: landed already

    @property
    def call(self) -> Call:
        """The first who waited, as the layers inside know it."""
        return self._branch.call

    def contains(self, call: Call) -> bool:
        """Whether *call* is made inside it, and would wait for itself."""
        outer = call.run.parent
        while outer is not None:
            run: Run | None = outer.run
            while run is not None:
                if run is self._branch.run:
                    return True
                run = run.outer
            outer = outer.run.parent
        return False

    async def landed(self) -> None:
        """Wait until it is `ready`."""
        while not self.ready:
            await self._news()

    def outcome(self) -> Any:
        """Return the value, or raise the error, that is everybody's."""
        if self._error is not None:
            raise self._error.with_traceback(self._traceback)
        return self._branch.came

    async def replay(self, call: Call) -> None:
        """Give the stream to the reader of *call*, from its first item on."""
        run = call.run
        if self._branch.opened is not None:
            await signal(Opened(self._branch.opened))
        emit = call.emit or emit_to_reader
        place = 0
        while True:
            if place < len(self._items):
                tell_first_item(run)
                run.emitted = True
                await emit(self._items[place])
                place += 1
            elif not self._over:
                await self._news()
            elif self._error is not None:
                self.outcome()
            else:
                return

    async def hand_over(self, call: Call) -> Any:
        """Give the stream itself to *call*, that of the first who waits."""
        return await self._branch.rest(call)

    async def leave(self, run: Run) -> None:
        """*run* no longer waits; if nobody does, cancel what is under way and wait until nothing of it is left."""
        self.waiting -= 1
        if self.waiting == 0:
            self._depart()
            if not self._over or self._branch.suspended:
                await ended([(self._branch, self._task)])
        elif run is self.leader:
            self.leader = None
            if not self._over:
                self._branch.run.leave()

    def drop(self) -> None:
        """The one who waits can await nothing more."""
        self.waiting -= 1
        if self.waiting == 0:
            self._depart()
            if self._task is not None:
                self._task.cancel()

    def _depart(self) -> None:
        """Be found no more."""
        if self._flights.get(self._place) is self:
            del self._flights[self._place]

    async def _fly(self) -> None:
        branch = self._branch
        try:
            await branch.start(to_item=False)
            if branch.suspended:
                self.streams = True
                self._tell()
                if self._keep:
                    await self._read()
        except BaseException as error:
            self._error, self._traceback = error, error.__traceback__
            if not isinstance(error, (Exception, CancelledError)):
                raise
        finally:
            self._over = True
            self._depart()
            self._tell()

    async def _read(self) -> None:
        out = self._branch.came
        while isinstance(out, Signal):
            if isinstance(out, Item):
                self._items.append(out.value)
                self._tell()
            out = await self._branch.go_on()

    def _tell(self) -> None:
        """Wake all who wait for something new."""
        self.ready = True
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    async def _news(self) -> None:
        sleeper = self._loop.create_future()
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            self._sleepers.discard(sleeper)
