"""The one waiting room: try without waiting, else queue, hand over, hand back.

Every layer that makes callers wait uses it. A limiter is a pure machine that is told the time; the room asks it for
the head of the queue only, wakes exactly that one, and keeps a single timer for all who wait. Polling is unfair and
hot, reserving and then sleeping cannot re-time the sleepers after a cancellation, a pause or a change of rate, and
waking everybody costs O(n) an admission.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .errors import QueueFull
from .expiry import Wheel, one_loop_at_a_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .call import Call

_EPS = 1e-9
_SWEEP = 64  # cancelled waiters are left in the queue until so many of them are more than half of it


class Limiter(Protocol):
    """What a room asks of a limiter, in whatever form the two count their costs; see `algorithms.limiter`."""

    def take(self, costs: Any, now: float) -> float | None:
        """Take *costs* and return 0.0; or take nothing and return the seconds to wait, None until somebody leaves."""

    def give(self, costs: Any, now: float) -> None:
        """Give back *costs* that were taken and not used."""


class Waiter:
    """One caller in the queue."""

    __slots__ = ("again", "call", "costs", "counted", "future", "out", "rank", "since")

    def __init__(self, future: asyncio.Future[float | None], costs: Any, call: Call | None, now: float) -> None:
        """Wait on *future* for *costs*, until it tells when they were taken, or None for never.

        The queue's discipline looks at *call*, None for a block of code.
        """
        self.future = future
        self.costs = costs
        self.call = call
        self.again = call is not None and call.attempt > 1
        self.since = now
        self.rank = call.run.started_at if self.again and call is not None else now
        self.counted = False  # it gave up and stands dead in the queue
        self.out = False  # it left the queue

    def fire(self) -> None:
        """Its `max_wait` is over."""
        if not self.future.done():
            self.future.set_result(None)

    def bury(self) -> None:
        """Nobody can be woken any more: its task was destroyed, or its event loop is closed."""
        self.future = self.future.get_loop().create_future()  # cancelling the old one would call its task
        self.future.cancel()


Weigh: TypeAlias = Callable[[Any], float]
"""Returns what a waiter's costs, or a difference of costs, count where they are shared out; it must be linear."""


class Queue(Protocol):
    """Who is next; one object for each waiting room.

    `head` and `pop` agree, whatever happened in between but `push` and `settle`. A queue may have more methods than
    these, and is told and asked then: ``left(waiter)``, who gave up and stays as a dead one; ``full(call)``, why it
    takes no such call, or None; ``ahead(call)``, about how many would be served before it; and, if it shares out by
    what was taken, all of ``passed(call, costs)``, who was served at once since nobody waited;
    ``settle(call, deltas)``, whose costs turned out to be so much more; and ``returned(waiter)``, who was cancelled
    before it could use what it was granted. `call` is None for a block of code.
    """

    def push(self, waiter: Waiter) -> None:
        """Add *waiter*."""

    def head(self) -> Waiter:
        """Return who is next; the queue is not empty."""

    def pop(self) -> Waiter:
        """Remove who is next, and return it."""

    def sweep(self) -> None:
        """Let go of the waiters whose future is done, and mark them `out`."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Waiter]: ...


class Watcher(Protocol):
    """Who looks at how long a room lets wait."""

    def granted(self, waited: float, now: float) -> None:
        """One who waited *waited* seconds goes on at *now*."""


class Discipline(Protocol):
    """The setting `queue=` of a waiting layer: makes the queue of each of its rooms."""

    def open(self, weigh: Weigh | None = None) -> Queue:
        """Return a new, empty queue; *weigh* returns what costs count, None counts each waiter as 1."""


class WaitingRoom:
    """Admits callers through one limiter, in the order of one queue.

    Args:
        limiter: what admits.
        queue: who is next.
        slack: seconds by which a wake-up may be put off, so that one timer admits several; 0 wakes for each.

    Attributes:
        occupied: whether the queue holds anybody, dead or alive; a flag, since every call asks.
        charges: whether the queue wants to know who `passed` without waiting.
        watchers: who is told of each grant, with the time that it was waited for.
    """

    __slots__ = (
        "_due",
        "_gone",
        "_left_queue",
        "_loop",
        "_pending",
        "_timer",
        "charges",
        "limiter",
        "occupied",
        "queue",
        "slack",
        "watchers",
    )

    def __init__(self, limiter: Limiter, queue: Queue, slack: float = 0.0) -> None:
        self.limiter = limiter
        self.queue = queue
        self.occupied = False
        self.slack = slack
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._gone = 0
        self._pending = False
        self._left_queue: Callable[[Waiter], None] | None = getattr(queue, "left", None)
        self.charges = hasattr(queue, "passed")
        self.watchers: list[Watcher] = []

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self.queue) - self._gone

    def time(self) -> float:
        """Return the time of the event loop that runs, else of the one that did; 0 if none ever did."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return 0.0 if self._loop is None else self._loop.time()

    def try_acquire(self, costs: Any, now: float, call: Call | None = None) -> bool:
        """Take *costs* if nobody waits and they fit; True if taken."""
        if (self.occupied and self._anyone()) or self.limiter.take(costs, now) != 0.0:
            return False
        if self.charges:
            self.passed(call, costs, now)
        return True

    def passed(self, call: Call | None, costs: Any, now: float) -> None:
        """Tell a queue that `charges` of *costs* just taken for one who did not wait."""
        queue: Any = self.queue
        try:
            queue.passed(call, costs)
        except BaseException:
            self.limiter.give(costs, now)  # a key function that fails must not cost a permit
            raise

    def settle(self, call: Call | None, deltas: Any) -> None:
        """Tell a queue that `charges` that what *call* took cost *deltas* more than was said then."""
        if self.charges:
            queue: Any = self.queue
            queue.settle(call, deltas)

    def full(self, call: Call | None) -> str | None:
        """Return why the queue takes no such call, None if it does."""
        ask = getattr(self.queue, "full", None)
        return None if ask is None else ask(call)

    def ahead(self, call: Call) -> int:
        """Return about how many would be served before *call* if it came now."""
        ask = getattr(self.queue, "ahead", None)
        return len(self) if ask is None else min(len(self), ask(call))

    async def wait(
        self,
        costs: Any,
        loop: asyncio.AbstractEventLoop,
        call: Call | None = None,
        patience: Wheel | None = None,
    ) -> bool:
        """Queue for *costs*; True when they are taken, False when *patience* ran out first; see `taken_at`."""
        return await self.taken_at(costs, loop, call, patience) is not None

    async def taken_at(
        self,
        costs: Any,
        loop: asyncio.AbstractEventLoop,
        call: Call | None = None,
        patience: Wheel | None = None,
    ) -> float | None:
        """Queue for *costs*; return when they were taken, None when *patience* ran out first.

        That is the time the limiter was told, and by which it knows the permit again: the clock has gone on since.
        On cancellation what was granted already goes back, and the next is served.

        Raises:
            QueueFull: the attempt is worth making only now, as a hedge is.
        """
        if call is not None and call.run.impatient:
            raise QueueFull("no permit is free, and this attempt does not wait for one")
        if loop is not self._loop:
            self.move_to(loop)
        waiter = Waiter(loop.create_future(), costs, call, loop.time())
        self.queue.push(waiter)
        self.occupied = True
        if self._timer is None or self.queue.head() is waiter:
            self.serve()
        if patience is not None and not waiter.future.done():
            patience.add(waiter, loop, loop.time())
        try:
            taken = await waiter.future
        except (CancelledError, GeneratorExit):
            self._gave_up(waiter, loop.time())
            raise
        finally:
            if patience is not None:
                patience.discard(waiter)
        if taken is None:
            self._left(waiter)
            self._serve_soon()
        return taken

    def release(self, costs: Any, now: float) -> None:
        """Give *costs* back to the limiter, and serve whoever fits now."""
        self.limiter.give(costs, now)
        if self.occupied:
            self.serve()

    def move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve *loop* from now on; who waits in one that is closed can never be woken, and is let go.

        Raises:
            RuntimeError: the one before still runs, in another thread.
        """
        one_loop_at_a_time(self._loop, "waiting layer")
        self._loop = loop
        self._timer = None
        self._pending = False
        self._gone = 0
        for waiter in self.queue:
            if not waiter.future.done() and waiter.future.get_loop().is_closed():
                waiter.bury()
        self.queue.sweep()
        self.occupied = bool(self.queue)

    def serve(self) -> None:
        """Admit from the head of the queue as long as it fits; then set the timer for the one who is next."""
        self._pending = False
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        queue = self.queue
        take = self.limiter.take
        now = loop.time()
        while queue:
            waiter = queue.head()
            if waiter.future.done():
                self._drop_head()
                continue
            wait = take(waiter.costs, now)
            if wait == 0.0:
                queue.pop()
                try:
                    waiter.future.set_result(now)
                except RuntimeError:  # it came by another event loop, which is closed
                    waiter.bury()
                    waiter.out = True
                    self._return(waiter, now)
                    continue
                for watcher in self.watchers:
                    watcher.granted(now - waiter.since, now)
                continue
            if wait is None:
                break
            self._wake_at(now + max(wait, self.slack))
            return
        self.occupied = bool(queue)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _anyone(self) -> bool:
        """Whether a live waiter stands in the queue; the dead ones in front of it are dropped on the way."""
        queue = self.queue
        while queue and queue.head().future.done():
            self._drop_head()
        self.occupied = bool(queue)
        return self.occupied

    def _drop_head(self) -> None:
        waiter = self.queue.pop()
        waiter.out = True
        if waiter.counted:
            self._gone -= 1

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            if self._due <= due + _EPS:
                return  # wakes early enough, and decides anew then
            self._timer.cancel()
        assert self._loop is not None
        self._due = due
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.serve()

    def _gave_up(self, waiter: Waiter, now: float) -> None:
        """*waiter* was cancelled, or its task destroyed; what it was granted already goes back."""
        future = waiter.future
        if future.done() and not future.cancelled() and future.result() is not None:
            self._return(waiter, now)
        else:
            if not future.done():
                waiter.bury()
            self._left(waiter)
        self._serve_soon()

    def _return(self, waiter: Waiter, now: float) -> None:
        """What *waiter* was granted goes back unused."""
        self.limiter.give(waiter.costs, now)
        if self.charges:
            queue: Any = self.queue
            queue.returned(waiter)

    def _left(self, waiter: Waiter) -> None:
        """*waiter* gave up; it stays in the queue as a dead one until its turn or a sweep."""
        if waiter.out:
            return
        waiter.counted = True
        if self._left_queue is not None:
            self._left_queue(waiter)
        self._gone += 1
        if self._gone > _SWEEP and self._gone * 2 > len(self.queue):
            self.queue.sweep()
            self.occupied = bool(self.queue)
            self._gone = 0

    def _serve_soon(self) -> None:
        """Many who leave in one tick serve once."""
        if not self._pending and self._loop is not None and not self._loop.is_closed():
            self._pending = True
            self._loop.call_soon(self.serve)
