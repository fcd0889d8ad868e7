"""First come, first served."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluiceway.admission import Queue, Waiter, Weigh


class Fifo:
    """First come, first served: a heavy call gets its turn, and none is passed by lighter ones.

    A further attempt of a call keeps the rank of the call's start: it does not begin at the end again.
    """

    def open(self, weigh: Weigh | None = None) -> Queue:  # noqa: ARG002 - it asks for no costs
        """Return a new, empty queue."""
        return _FifoQueue()

    def __repr__(self) -> str:
        return "Fifo()"

    def __eq__(self, other: object) -> bool:
        return type(other) is Fifo

    def __hash__(self) -> int:
        return hash(Fifo)


class _FifoQueue:
    """Two lanes: those who come for the first time, in order, and those who come again, by their first rank."""

    __slots__ = ("_again", "_numbers", "_waiters")

    def __init__(self) -> None:
        self._waiters: deque[Waiter] = deque()
        self._again: list[tuple[float, int, Waiter]] = []
        self._numbers = itertools.count()

    def push(self, waiter: Waiter) -> None:
        if waiter.again:
            heapq.heappush(self._again, (waiter.rank, next(self._numbers), waiter))
        else:
            self._waiters.append(waiter)

    def head(self) -> Waiter:
        again = self._again
        if again and not (self._waiters and self._waiters[0].rank < again[0][0]):
            return again[0][2]
        return self._waiters[0]

    def pop(self) -> Waiter:
        waiter = self.head()
        if waiter.again:
            heapq.heappop(self._again)
        else:
            self._waiters.popleft()
        return waiter

    def sweep(self) -> None:
        for waiter in self:
            waiter.out = waiter.future.done()
        self._waiters = deque(waiter for waiter in self._waiters if not waiter.out)
        self._again = [entry for entry in self._again if not entry[2].out]
        heapq.heapify(self._again)

    def __len__(self) -> int:
        return len(self._waiters) + len(self._again)

    def __iter__(self) -> Iterator[Waiter]:
        yield from (entry[2] for entry in self._again)
        yield from self._waiters
