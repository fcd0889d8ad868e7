"""One flight for equal calls at the same time."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from sluiceway.call_key import call_text
from sluiceway.errors import ReentrantUse
from sluiceway.events import Coalesced, Phase
from sluiceway.expiry import one_loop_at_a_time
from sluiceway.functions import is_generator, is_plain
from sluiceway.layer import Layer
from sluiceway.layers.flight import Flight
from sluiceway.order import Role
from sluiceway.starting import begun

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

    from sluiceway.call import Call, Proceed

T = TypeVar("T")
Key: TypeAlias = "Callable[[Call], Hashable | None]"


@dataclass(frozen=True, slots=True)
class CoalescedSnapshot:
    """The state of a `coalesced` layer.

    Attributes:
        flights: how many different calls are under way.
        waiting: how many callers wait for them.
        joined: how many calls have ever been spared.
    """

    flights: int
    waiting: int
    joined: int


class coalesced(Layer):
    """Make equal calls at the same time one: the first flies, the others take its answer.

    ``@coalesced()``. What the first call gets, value or error, the others get too: the same object, not a copy. It
    flies for as long as somebody waits: if the first caller is cancelled, the others keep waiting for it; when the last
    is gone, it is cancelled, and over before that last one returns. Once it is over the next equal call flies anew; to
    keep answers, use `cached` around this.

    Calls are equal by function and arguments, see `call_key`. Priority, tenant and the like are those of the first
    call; a time limit outside holds for each caller by itself, one inside for the flight. Calls under
    `hints(idempotent=False)` are never made one.

    Streams are not shared unless asked: calls that ask for one (`stream=True`) and async generators pass as if this
    were not there, and where only the answer tells, the first call gets the stream and the others fly by themselves.
    With `streams=True` a stream is read at its own pace, kept, and given to all from its first item on, also to calls
    that come later while it lasts.

    Args:
        key: a function of the `Call` that returns what equal calls have in common, of whatever hashable kind; None
            for a call that shall fly alone. It is needed for arguments that have no canonical JSON form, and where
            `self` or a client decides about the answer.
        streams: whether streams are shared.

    Raises:
        TypeError: an argument has the wrong type; in a call, its arguments have no canonical form, or the key is not
            hashable.
        ReentrantUse: the call is made inside the one whose answer it would wait for.
    """

    role: ClassVar[Role] = Role.SPARE

    def __init__(self, *, key: Key | None = None, streams: bool = False) -> None:
        if key is not None and not is_plain(key):
            raise TypeError(f"key={key!r} must be a plain function of the Call")
        if not isinstance(streams, bool):
            raise TypeError(f"streams={streams!r} must be True or False")
        self._key: Key = call_text if key is None else key
        self._streams = streams
        self._generators: dict[int, object] = {}  # by identity: what can be called need not be hashable
        self._flights: dict[Hashable, Flight] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._joined = 0

    def check_function(self, function: Callable[..., Any]) -> None:
        """Remember async generator functions, which pass unless streams are shared; refuse none."""
        if not self._streams and is_generator(function):
            plain = _plain(function)
            place = id(plain)
            try:
                self._generators[place] = weakref.ref(plain, partial(self._generators.pop, place))
            except TypeError:  # an object that can be called, and is not made for this
                self._generators[place] = plain

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call*, or wait for the equal one that is under way."""
        if not (
            call.hints.idempotent and (self._streams or not (call.kwargs or self._generators) or self._may_share(call))
        ):
            return await proceed(call)
        key = self._key(call)
        if key is None:
            return await proceed(call)
        if call.run.loop is not self._loop:
            one_loop_at_a_time(self._loop, "coalesced")
            self._loop = call.run.loop
            self._flights = {}
        function = call.function
        if type(function) is not FunctionType:
            function = _plain(function)
        place = (id(function), key)  # what is called lives for as long as its flight
        flights = self._flights
        try:
            flight = flights.get(place)
        except TypeError:
            raise TypeError(
                f"key= returned a {type(key).__name__}, which is not hashable: return a str, int or tuple"
            ) from None
        leads = flight is None
        if flight is None:
            flight = flights[place] = Flight(call, proceed)
            flight.flights = flights
            flight.place = place
            run = flight.run
            run.alone = self._streams
            run.deadline = None  # which is that of the first alone
            task = begun(flight, run.loop)
            if task is None and not flight.streams:  # it never waited, and so nobody can have joined it
                return flight.came if flight.error is None else flight.outcome()  # type: ignore[no-any-return]
            flight.task = task
        elif flight.contains(call):
            raise ReentrantUse(f"{call.name} is called inside an equal call and would wait for itself")
        result: T = await self._share(call, proceed, flight, leads=leads)
        return result

    def _may_share(self, call: Call) -> bool:
        return call.kwargs.get("stream") is not True and id(_plain(call.function)) not in self._generators

    async def _share(self, call: Call, proceed: Proceed[Any], flight: Flight, *, leads: bool) -> Any:
        flight.waiting += 1
        run = call.run
        hopeless = False
        try:
            if leads:
                await flight.until_ready()
            else:
                await self._wait(call, flight)
            if not flight.streams:
                return flight.outcome()
            if self._streams:
                return await flight.replay(call)
            if leads:
                return await flight.rest(call)
        except GeneratorExit:
            hopeless = True
            raise
        finally:
            if hopeless:
                flight.drop()
            else:
                await flight.leave(run)
        return await proceed(call)

    async def _wait(self, call: Call, flight: Flight) -> None:
        """Wait for the outcome of *flight*, another call's."""
        run = call.run
        since = run.time()
        wait = f"{self.name} wait"
        run.phase = (wait, since)
        try:
            await flight.until_ready()
        finally:
            now = run.time()
            run.waited(wait, since, now)
            if run.listening:
                run.sink(Phase(now, call, since, self.name, wait, {"sluiceway.coalesced.waiting": flight.waiting}))
        if self._streams or not flight.streams:
            self._joined += 1
            call.report(Coalesced(now, call, self.name, now - since, flight.call))

    def snapshot(self) -> CoalescedSnapshot:
        """Return what is under way, and how many calls were spared."""
        flights = self._flights.values()
        return CoalescedSnapshot(len(flights), sum(flight.waiting for flight in flights), self._joined)

    def __repr__(self) -> str:
        shot = self.snapshot()
        return f"<{super().__repr__()}: {shot.flights} flights, {shot.waiting} waiting, {shot.joined} spared>"


def _plain(function: Any) -> Any:
    """Return the function that a method is made of: methods of two objects, and one object's two times, are equal."""
    return getattr(function, "__func__", function)
