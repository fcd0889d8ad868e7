"""At most so many calls in flight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sluiceway.admission import Discipline, WaitingRoom
from sluiceway.algorithms.in_flight import InFlight
from sluiceway.errors import BoundExceeded, QueueFull, ReentrantUse, Rejected
from sluiceway.events import CallRejected, Waited
from sluiceway.expiry import one_loop_at_a_time
from sluiceway.keyed import By, Keyed
from sluiceway.layer import Layer
from sluiceway.layers.queueing import Queueing, count
from sluiceway.layers.renewing import adopt_all, agrees
from sluiceway.layers.shared_limits import Shared, patience_with, shared_places
from sluiceway.order import Role
from sluiceway.room import REFUSES, SOON, Room
from sluiceway.sharing.store import checked

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable

    from sluiceway.call import Call, Proceed, Run
    from sluiceway.durations import Duration
    from sluiceway.layers.shared_limits import SharedSnapshot
    from sluiceway.sharing.store import SharedStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BoundSnapshot:
    """The state of one key of a `bounded` layer.

    Attributes:
        key: the key; None without `by`.
        in_flight: how many hold a place now; limit: how many may.
        waiting: how many wait for one.
        shared: how it stands with the store, if places are shared; `limit` is then this process's part now.
    """

    key: Hashable
    in_flight: int
    limit: int
    waiting: int
    shared: SharedSnapshot | None = field(default=None, kw_only=True)


class _State:
    """The places of one key, and who waits for them."""

    __slots__ = ("key", "loop", "places", "room", "shared")

    def __init__(self, key: Hashable, limit: int, queue: Discipline, store: SharedStore | None = None) -> None:
        self.key = key
        self.places = InFlight(limit)
        self.room = WaitingRoom(self.places, queue.open())
        self.shared = None if store is None else Shared(None, shared_places(store, key, self.places))
        if self.shared is not None:
            self.shared.feed(self.room)
        self.loop: asyncio.AbstractEventLoop | None = None

    def move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in another event loop, after the one before has ended: one that runs could not be woken from here."""
        one_loop_at_a_time(self.loop, "bounded")
        self.loop = loop
        self.room.move_to(loop)
        if self.shared is not None:
            self.shared.in_loop(loop)

    def busy(self) -> bool:
        return self.places.held > 0 or self.room.occupied

    def snapshot(self) -> BoundSnapshot:
        shared = None if self.shared is None else self.shared.snapshot()
        return BoundSnapshot(self.key, int(self.places.held), int(self.places.limit), len(self.room), shared=shared)

    def resize(self, limit: int) -> None:
        """Change how many there are: for all processes where they are shared."""
        if self.shared is not None and self.shared.places is not None:
            self.shared.places.limit = limit
            if self.places.held or self.room.occupied:
                self.shared.kick()
            return
        self.places.resize(limit)
        self.room.serve()


def _holds(run: Run, state: _State) -> bool:
    """Whether *run* holds a place of *state*."""
    held = run.holds
    while held is not None:
        if held[0] is state:
            return True
        held = held[1]
    return False


class bounded(Layer):
    """At most `limit` calls in flight; a stream counts until it ends.

    ``@bounded(30)``. Whoever finds no place waits in line. The place goes back when the call ends, however it ends. A
    decorated function that calls another one through the same object would wait for itself while all places are
    taken, and is refused with `ReentrantUse` at once, not only under load.

    Args:
        limit: how many at a time, at least 1; change it while it runs with `resize`.
        by: a function of the `Call` that returns a key; each key has `limit` places of its own.
        max_wait: how long a call may wait for a place; 0 refuses at once. None waits for ever.
        max_queue: how many may wait for each key; None for any number.
        queue: in which order they are served: `Fifo()`, `Priority()` or `Fair()`.
        store: shares the places with every process that names the same store, such as ``RedisStore(url, prefix=...)``.
            They are leased and renewed while calls run; those of a process that died are free again after the store's
            `lease`, and one that stood still for longer may find more in flight than there are places. Who is next is
            decided within each process; between them places are dealt out evenly, by need.

    Raises:
        BoundExceeded: a call found no place within `max_wait`.
        QueueFull: `max_queue` calls wait already.
        ReentrantUse: the call is made inside another one that holds a place of this object.
    """

    role: ClassVar[Role] = Role.WAIT

    def __init__(
        self,
        limit: int,
        *,
        by: By | None = None,
        max_wait: Duration | None = None,
        max_queue: int | None = None,
        queue: Discipline | None = None,
        store: SharedStore | None = None,
    ) -> None:
        self._limit = count(limit, "limit", 1)
        self._queueing = Queueing(max_wait, max_queue, queue)
        self._store = checked(store)
        self._patience = patience_with(self._store, self._queueing)
        self._states = Keyed(self._make, by, lambda state: state.busy())
        self._one = None if by is not None else self._states.at(None)

    def _make(self, key: Hashable) -> _State:
        return _State(key, self._limit, self._queueing.discipline, self._store)

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* when there is a place for it."""
        run = call.run
        state = self._one or self._states.of(call)
        if run.loop is not state.loop:
            state.move_to(run.loop)
        if run.parent is not None:
            self._refuse_reentry(call, state)
        places = state.places
        room = state.room
        if room.occupied or places.held >= places.limit:
            await self._wait(call, state)
        else:
            places.held += 1
            if room.charges:
                room.passed(call, 1, 0.0)
            if run.detailed:
                self._report(call, state, run.time(), granted=True, depth=0)
        before = run.holds
        run.holds = state, before
        try:
            return await proceed(call)
        finally:
            run.holds = before
            places.held -= 1
            if room.occupied:
                room.serve()

    async def _wait(self, call: Call, state: _State) -> None:
        run = call.run
        room = state.room
        since = run.time()
        depth = len(room)
        if depth == 0 and room.try_acquire(1, since, call):  # only dead waiters stood in the way
            if run.detailed:
                self._report(call, state, since, granted=True, depth=0)
            return
        queueing = self._queueing
        full = queueing.full(depth, room, call)
        if full is not None:
            raise self._refused(call, state, QueueFull, full)
        if queueing.max_wait == 0 and state.shared is None:
            raise self._refused(call, state, BoundExceeded, f"all {state.places.limit} places are taken")
        run.phase = (f"{self.name} wait", since)
        granted = False
        try:
            if state.shared is not None:
                state.shared.kick()
            granted = await room.wait(1, run.loop, call, self._patience)
        finally:
            run.waited(f"{self.name} wait", since, run.time())
            self._report(call, state, since, granted=granted, depth=depth)
        if not granted:
            raise self._refused(call, state, BoundExceeded, f"no place within max_wait={queueing.max_wait:g} s")

    def _refused(self, call: Call, state: _State, kind: type[Rejected], why: str) -> Rejected:
        where = "" if state.key is None else f" for {state.key!r}"
        error = kind(f"{self.name}({self._limit}){where}: {why}", layer=self.name)
        if state.key is not None:
            error.whose = repr(state.key)
        now = call.run.time()
        call.report(CallRejected(now, call, self.name, error))
        return error

    def _report(self, call: Call, state: _State, since: float, *, granted: bool, depth: int) -> None:
        places = state.places
        now = call.run.time()
        attributes = {
            "sluiceway.bounded.limit": places.limit,
            "sluiceway.bounded.in_flight": places.held,
            "sluiceway.queue.depth": depth,
        }
        name = f"{self.name} wait"
        call.report(
            Waited(now, call, since, self.name, name, attributes, reason=self.name, granted=granted, queue_depth=depth)
        )

    def _refuse_reentry(self, call: Call, state: _State) -> None:
        outer = call.run.parent
        while outer is not None:
            run: Run | None = outer.run
            while run is not None:
                if _holds(run, state):
                    raise ReentrantUse(
                        f"{call.name} is called inside {outer.name}, which holds a place of the same "
                        f"{self.name}({self._limit}): with all places taken it would wait for itself; "
                        "give one of them an object of its own"
                    )
                run = run.outer
            outer = outer.run.parent

    def waiting_room(self, call: Call) -> WaitingRoom:
        """Return where *call* would wait."""
        return (self._one or self._states.of(call)).room

    def room(self, call: Call, service: float) -> Room:
        """Return how soon *call* would get a place, if calls hold theirs for *service* seconds on average."""
        state = self._one or self._states.of(call)
        places = state.places
        free = places.limit - places.held
        if free > 0 and not state.room.occupied:
            return Room(0.0, free / places.limit)
        queueing = self._queueing
        if (queueing.max_wait == 0 and state.shared is None) or queueing.full(
            len(state.room), state.room, call
        ) is not None:
            return REFUSES
        return Room(max(service, SOON) * (state.room.ahead(call) + 1 - min(free, 0)) / max(1, places.limit), 0.0)

    @property
    def limit(self) -> int:
        """How many calls may be in flight, for each key."""
        return self._limit

    def resize(self, limit: int) -> None:
        """Change the limit; who is in flight stays, and nobody enters while they are more than the new limit.

        Raises:
            TypeError: *limit* is not an int.
            ValueError: *limit* is below 1.
        """
        self._limit = count(limit, "limit", 1)
        for state in self._states.values():
            state.resize(self._limit)

    def renewed(self, fresh: Layer) -> Layer:
        """Take over the numbers of *fresh*; who is in flight and who waits stay. Not with another `by` or `queue`."""
        if not agrees(self, fresh, ("by", "queue", "store")):
            return fresh
        assert isinstance(fresh, bounded)
        adopt_all(self, fresh, but=("_states", "_one"))
        self.resize(fresh.limit)
        return self

    @property
    def keyed(self) -> bool:
        """Whether each key has its own places."""
        return self._states.by is not None

    def settings(self) -> Any:
        """Return every setting by name; `limit` as it is now."""
        return {**super().settings(), "limit": self._limit}

    def snapshot(self) -> tuple[BoundSnapshot, ...]:
        """Return the state of every key."""
        return tuple(state.snapshot() for state in self._states.values())

    def __repr__(self) -> str:
        shots = self.snapshot()
        busy = f"{sum(s.in_flight for s in shots)} in flight, {sum(s.waiting for s in shots)} waiting"
        keys = f", {len(shots)} keys" if self.keyed else ""
        return f"<{super().__repr__()}: {busy}{keys}>"
