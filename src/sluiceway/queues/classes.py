"""The queues behind `Priority`: one heap for all classes, or a queue for each."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sluiceway.call import NORMAL
from sluiceway.queues.fifo import Fifo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sluiceway.admission import Discipline, Queue, Waiter, Weigh
    from sluiceway.call import Call

_STALE: Final = 64
_KEPT: Final = 16  # lanes with nobody in them, for what they know of flows


def class_of(call: Call | None) -> int:
    """Return the class of *call*; blocks of code are `NORMAL`."""
    return NORMAL if call is None else call.hints.priority


class Classes:
    """One heap of waiters: by class, then by rank; with aging by ``class * aging + rank``.

    That sum needs no clock: two who wait age alike, so that which of them is first never changes.
    """

    def __init__(self, aging: float | None, max_queue: int | Mapping[int, int] | None) -> None:
        self._aging = aging
        self._max_queue = max_queue
        self._live: Counter[int] = Counter()
        self._heap: list[tuple[float, float, bool, int, Waiter]] = []
        self._numbers = itertools.count()

    # ------------------------------------------------------------------ who is next

    def push(self, waiter: Waiter) -> None:
        """Add *waiter*."""
        self._add(waiter)
        self._live[class_of(waiter.call)] += 1

    def head(self) -> Waiter:
        """Return who is next; the queue is not empty."""
        return self._heap[0][4]

    def pop(self) -> Waiter:
        """Remove who is next, and return it."""
        waiter = self._take()
        if not waiter.counted:
            self._less(waiter)
        return waiter

    def sweep(self) -> None:
        """Let go of the waiters whose future is done, and mark them `out`."""
        for waiter in self:
            waiter.out = waiter.future.done()
            if waiter.out and not waiter.counted:
                self._less(waiter)
        self._forget()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Waiter]:
        return (entry[4] for entry in self._heap)

    def _add(self, waiter: Waiter) -> None:
        number = class_of(waiter.call)
        first = number if self._aging is None else number * self._aging + waiter.rank
        heapq.heappush(self._heap, (first, waiter.rank, not waiter.again, next(self._numbers), waiter))

    def _take(self) -> Waiter:
        return heapq.heappop(self._heap)[4]

    def _forget(self) -> None:
        """Let go of those who are out."""
        self._heap = [entry for entry in self._heap if not entry[4].out]
        heapq.heapify(self._heap)

    # ------------------------------------------------------------------ how many wait

    def left(self, waiter: Waiter) -> None:
        """*waiter* gave up and stays here as a dead one."""
        self._less(waiter)

    def full(self, call: Call | None) -> str | None:
        """Return why the class of *call* takes nobody, None if it does."""
        number = class_of(call)
        most = self._max_queue.get(number) if isinstance(self._max_queue, Mapping) else self._max_queue
        waiting = self._live[number]
        if most is None or waiting < most:
            return None
        return f"{waiting} calls of priority {number} wait already (max_queue={most})"

    def ahead(self, call: Call) -> int:
        """Return about how many are served before *call*: those of its class and of more urgent ones."""
        mine = class_of(call)
        return sum(waiting for number, waiting in self._live.items() if number <= mine)

    def _less(self, waiter: Waiter) -> None:
        number = class_of(waiter.call)
        self._live[number] -= 1
        if not self._live[number]:
            del self._live[number]


class Lanes(Classes):
    """A queue for each class, for orders within it that are not first come, first served.

    O(log n) for each of the classes that have somebody: meant for a few classes, not for thousands.
    """

    def __init__(
        self,
        aging: float | None,
        max_queue: int | Mapping[int, int] | None,
        within: Discipline,
        weigh: Weigh | None,
    ) -> None:
        super().__init__(aging, max_queue)
        self._within = within
        self._weigh = weigh
        self._lanes: dict[int, _Lane] = {}
        self._length = 0

    def head(self) -> Waiter:
        """Return who is next; the queue is not empty."""
        return self._first().queue.head()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Waiter]:
        for lane in self._lanes.values():
            yield from lane.queue

    def _add(self, waiter: Waiter) -> None:
        lane = self._lane(class_of(waiter.call))
        lane.queue.push(waiter)
        if self._aging is not None:
            lane.arrivals.push(waiter)
        self._length += 1

    def _take(self) -> Waiter:
        lane = self._first()
        waiter = lane.queue.pop()
        waiter.out = True  # so that `arrivals` lets go of it in its turn
        if len(lane.arrivals) > 2 * len(lane.queue) + _STALE:
            lane.forget()
        self._length -= 1
        return waiter

    def _forget(self) -> None:
        for lane in self._lanes.values():
            lane.queue.sweep()
            lane.arrivals.sweep()
        self._length = sum(len(lane.queue) for lane in self._lanes.values())

    def _lane(self, number: int) -> _Lane:
        lane = self._lanes.get(number)
        if lane is None:
            if len(self._lanes) >= _KEPT:
                self._lanes = {each: kept for each, kept in self._lanes.items() if kept.queue}
            lane = self._lanes[number] = _Lane(self._within.open(self._weigh))
        return lane

    def _first(self) -> _Lane:
        """Return the lane whose turn it is; one of them has somebody."""
        aging = self._aging
        busy = ((number, lane) for number, lane in self._lanes.items() if lane.queue)
        if aging is None:
            return min(busy, key=lambda each: each[0])[1]
        return min(busy, key=lambda each: (each[0] * aging + each[1].oldest(), each[0]))[1]

    # ------------------------------------------------------------------ what the orders within count

    def passed(self, call: Call | None, costs: Any) -> None:
        """*call* was served at once."""
        self._tell(call, "passed", call, costs)

    def settle(self, call: Call | None, deltas: Any) -> None:
        """*call* cost *deltas* more than was estimated."""
        self._tell(call, "settle", call, deltas)

    def returned(self, waiter: Waiter) -> None:
        """*waiter* gave back what it was granted."""
        self._tell(waiter.call, "returned", waiter)

    def ahead(self, call: Call) -> int:
        """Return about how many are served before *call*."""
        mine = class_of(call)
        lane = self._lanes.get(mine)
        ask: Callable[[Call], int] | None = None if lane is None else getattr(lane.queue, "ahead", None)
        within = self._live[mine] if ask is None else ask(call)
        return within + sum(waiting for number, waiting in self._live.items() if number < mine)

    def _tell(self, call: Call | None, what: str, *told: Any) -> None:
        tell = getattr(self._lane(class_of(call)).queue, what, None)
        if tell is not None:
            tell(*told)


class _Lane:
    """The queue of one class, and who waits longest in it."""

    __slots__ = ("arrivals", "queue")

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.arrivals = Fifo().open()

    def oldest(self) -> float:
        """Return the rank of the one who waits longest; somebody is in the queue, dead or alive."""
        arrivals = self.arrivals
        while arrivals and (arrivals.head().out or arrivals.head().future.done()):
            arrivals.pop()
        return arrivals.head().rank if arrivals else self.queue.head().rank

    def forget(self) -> None:
        """Let go of those who were served before one that waits longer."""
        kept = [waiter for waiter in self.arrivals if not waiter.out]
        self.arrivals = Fifo().open()
        for waiter in kept:
            self.arrivals.push(waiter)
