"""Dividing what is scarce between flows, by what each has taken of it."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

T = TypeVar("T")

MAX_IDLE: Final = 1000
_STALE: Final = 64  # entries of the heap that a settlement has replaced, before it is built anew


class _Flow:
    """One who shares: those who wait for it, and how far it has come in virtual time."""

    __slots__ = ("base", "entry", "finish", "key", "waiting", "weight")

    def __init__(self, key: Hashable, weight: float) -> None:
        self.key = key
        self.weight = weight
        self.finish = float("-inf")  # the virtual time at which what it took ends
        self.base = float("-inf")  # refunds reach back no further
        self.waiting: list[tuple[Any, int, float, Any]] = []  # rank, number, cost, item
        self.entry: tuple[float, int, _Flow] | None = None


class FairQueue(Generic[T]):
    """Start-time fair queueing: the flow that has taken the least, by cost and weight, is next.

    A flow's next item starts at ``S = max(base, F)``, where F is the finish of its item before and base the virtual
    time V at which the flow began to wait; the least S is served, V becomes that S, and ``F = S + cost / weight``.
    Equal starts are served in the order in which they came to stand so.

    - Over any time in which they all wait, flows are served in proportion to their weights, up to one item each.
    - Work-conserving: there is always a head while anybody waits, whoever that is.
    - Idleness earns nothing: a flow that comes back starts at V, beside those who wait, and not before them.
    - A settlement of `actual - estimated` moves its flow by ``delta / weight``, whether it waits or not. A refund does
      not reach back behind the base: what was taken before the flow came back, or while it alone waited, was
      taken from nobody.
    - Within a flow the least rank is first, then who came first.

    Every step takes O(log n). Of the flows that wait for nothing, `max_idle` are remembered, those that were active
    last; one that is forgotten, with whatever it was ahead, begins at V.

    Source: Goyal, Vin, Cheng, "Start-time Fair Queueing" (SIGCOMM 1996). The settlement and its base are our own: a
    packet's length is known when it is sent.

    Args:
        weight: returns the weight of a flow, more than 0; asked once when a flow is new.
        max_idle: how many idle flows are remembered.
    """

    __slots__ = ("_active", "_flows", "_heap", "_idle", "_length", "_max_idle", "_numbers", "_weight", "virtual")

    def __init__(self, weight: Callable[[Hashable], float] = lambda _: 1.0, max_idle: int = MAX_IDLE) -> None:
        self._weight = weight
        self._max_idle = max_idle
        self._flows: dict[Hashable, _Flow] = {}
        self._idle: dict[Hashable, None] = {}  # the longest idle first
        self._heap: list[tuple[float, int, _Flow]] = []
        self._active = 0
        self._length = 0
        self._numbers = itertools.count()
        self.virtual = 0.0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for flow in self._flows.values():
            for entry in flow.waiting:
                yield entry[3]

    @property
    def flows(self) -> int:
        """How many flows are remembered, idle ones included."""
        return len(self._flows)

    @property
    def active(self) -> int:
        """How many flows have somebody who waits."""
        return self._active

    def waiting(self, key: Hashable) -> int:
        """Return how many items of the flow *key* wait."""
        flow = self._flows.get(key)
        return 0 if flow is None else len(flow.waiting)

    def push(self, key: Hashable, item: T, cost: float = 1.0, rank: Any = 0.0) -> None:
        """Let *item* wait in the flow *key*; it is charged *cost* when it is served."""
        flow = self._flow(key)
        heapq.heappush(flow.waiting, (rank, next(self._numbers), cost, item))
        self._length += 1
        if len(flow.waiting) == 1:
            flow.base = self.virtual
            self._idle.pop(key, None)
            self._active += 1
            self._place(flow)

    def head(self) -> T:
        """Return who is next; somebody waits."""
        item: T = self._first().waiting[0][3]
        return item

    def pop(self) -> T:
        """Serve who is next, charge its flow, and return it."""
        flow = self._first()
        start = heapq.heappop(self._heap)[0]
        _, _, cost, item = heapq.heappop(flow.waiting)
        self._length -= 1
        self.virtual = start
        if self._active == 1:
            flow.base = start
        flow.finish = start + cost / flow.weight
        if flow.waiting:
            self._place(flow)
        else:
            self._rest(flow)
        taken: T = item
        return taken

    def drop(self) -> T:
        """Remove who is next without charging anybody, since it gave up; return it."""
        flow = self._first()
        item: T = heapq.heappop(flow.waiting)[3]
        self._length -= 1
        if not flow.waiting:
            heapq.heappop(self._heap)
            self._rest(flow)
        return item

    def passed(self, key: Hashable, cost: float) -> None:
        """Charge *cost* to the flow *key* for one that was served at once, since nobody waited."""
        flow = self._flow(key)
        self.virtual = max(self.virtual, flow.finish)
        flow.finish = self.virtual + cost / flow.weight
        if not flow.waiting:
            self._rest(flow)

    def settle(self, key: Hashable, delta: float) -> None:
        """Correct the flow *key* by *delta* = actual - estimated cost of something that it was served."""
        flow = self._flows.get(key)
        if flow is None:
            if delta <= 0:
                return
            flow = self._flow(key)
            flow.finish = self.virtual
        flow.finish += delta / flow.weight
        if not flow.waiting:
            self._rest(flow)
        elif flow.entry is not None and max(flow.base, flow.finish) != flow.entry[0]:
            self._place(flow)
            if len(self._heap) > 2 * self._active + _STALE:
                self._rebuild()

    def retain(self, keeps: Callable[[T], bool]) -> None:
        """Remove all items that *keeps* is not true of, without charging anybody."""
        for flow in [flow for flow in self._flows.values() if flow.waiting]:
            before = len(flow.waiting)
            flow.waiting = [entry for entry in flow.waiting if keeps(entry[3])]
            heapq.heapify(flow.waiting)
            self._length -= before - len(flow.waiting)
            if not flow.waiting:
                self._rest(flow)
        self._rebuild()

    def _flow(self, key: Hashable) -> _Flow:
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key, self._weight(key))
        return flow

    def _first(self) -> _Flow:
        heap = self._heap
        while heap[0][2].entry is not heap[0]:
            heapq.heappop(heap)
        return heap[0][2]

    def _place(self, flow: _Flow) -> None:
        flow.entry = entry = (max(flow.base, flow.finish), next(self._numbers), flow)
        heapq.heappush(self._heap, entry)

    def _rest(self, flow: _Flow) -> None:
        """Let *flow* be the one that was active last of those who wait for nothing."""
        if flow.entry is not None:
            flow.entry = None
            self._active -= 1
        self._idle.pop(flow.key, None)
        self._idle[flow.key] = None
        if len(self._idle) > self._max_idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            del self._flows[oldest]

    def _rebuild(self) -> None:
        self._heap = [flow.entry for flow in self._flows.values() if flow.entry is not None]
        heapq.heapify(self._heap)

    def __repr__(self) -> str:
        return f"<FairQueue: {self._length} waiting in {self._active} of {len(self._flows)} flows>"
