"""Measure the time of what a layer wraps, and bound it."""

from __future__ import annotations

from asyncio import CancelledError
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sluiceway.call import timed_out
from sluiceway.durations import Duration, optional_seconds
from sluiceway.events import Measured
from sluiceway.expiry import Scope, Wheel
from sluiceway.layer import Layer
from sluiceway.order import Role
from sluiceway.streaming import emit_to_reader
from sluiceway.tasks import task_of

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from sluiceway.call import Call, Proceed
    from sluiceway.errors import TimedOut

T = TypeVar("T")


class timed(Layer):
    """Measure what it wraps, and end it with `TimedOut` (a `TimeoutError`) when it takes too long.

    Position is meaning: outermost, `limit` is the total of the call, its queueing, backoff and further attempts
    included; innermost, it is the limit of each attempt. A deadline of ``hints(deadline=...)`` tightens it. The error
    says which limit it was, and in which waits and attempts the time went.

    Plain calls and streams are bounded alike: `limit` runs until a stream is read to its end, also while nobody reads
    (then what the call holds is given back at the deadline, the reader's own code is left alone, and its next read
    raises). `first_item` and `idle` count only while somebody waits for an item, so that a slow reader is not held
    against the provider.

    When our limit and somebody else's cancellation come together, theirs wins: what comes out is `CancelledError`, as
    with `asyncio.timeout`, whose outcome and `task.cancelling()` this keeps in every such race.

    Args:
        limit: how long the whole may take; None only measures.
        first_item: how long a reader may wait for the first item of a stream, the opening of the stream included; in
            a call that returns a plain value, how long that may take. A retry outside starts it anew for each
            attempt, one inside does not.
        idle: how long a reader may wait for each further item. Without effect on plain values.

    Raises:
        TypeError: one of them is no duration.
        ValueError: one of them is negative, or `first_item` or `idle` is 0. A `limit` of 0 ends whatever waits.
    """

    role: ClassVar[Role] = Role.TIME
    stateful: ClassVar[bool] = False

    def __init__(
        self, limit: Duration | None = None, *, first_item: Duration | None = None, idle: Duration | None = None
    ) -> None:
        self.limit = optional_seconds(limit, "limit", zero=True)
        self.first_item = optional_seconds(first_item, "first_item")
        self.idle = optional_seconds(idle, "idle")
        self._wheel = _wheel(self.limit)
        self._first_wheel = _wheel(self.first_item)
        self._idle_wheel = _wheel(self.idle)
        self._by_items = self.first_item is not None or self.idle is not None

    @property
    def time_limit(self) -> float | None:
        """The limit in seconds; None if it only measures or only watches over items."""
        return self.limit

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* within the limits.

        Raises:
            TimedOut: one of them passed.
        """
        if self._by_items:
            proceed = partial(self._watch_items, proceed)
        wheel = self._wheel
        run = call.run
        if wheel is None:
            return await (self._measure(call, proceed) if run.detailed else proceed(call))
        loop = run.loop
        task = task_of(loop)
        scope = Scope(run, None if task is run.task else task)
        when = wheel.add(scope, loop, run.time())
        before = run.deadline
        if before is None or when < before:
            run.deadline = when
        late = False
        try:
            return await proceed(call)
        except CancelledError as error:
            if not (scope.fired and scope.settle()):
                raise
            late = True
            raise self._late(call, "total", wheel.seconds, when - wheel.seconds) from error
        finally:
            wheel.discard(scope)
            run.deadline = before
            if scope.hit is not None:
                scope.settle()
            if run.detailed and not late:
                self._report(call, when - wheel.seconds, wheel.seconds, None)

    async def _measure(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* without a limit on the whole, and report how long it took."""
        started = call.run.time()
        try:
            return await proceed(call)
        finally:
            self._report(call, started, None, None)

    async def _watch_items(self, proceed: Proceed[T], call: Call) -> T:
        """Run *call* while its waits for items are limited."""
        run = call.run
        clock = _ItemClock(call, self._first_wheel, self._idle_wheel)
        watches = run.watches
        if watches is None:
            run.watches = watches = []
        watches.append(clock)
        clock.resume()
        try:
            return await proceed(call.emitting(clock.emit))
        except CancelledError as error:
            if not (clock.fired and clock.settle()):
                raise
            raise self._late(call, clock.kind, clock.limit, clock.began) from error
        finally:
            clock.pause()
            watches.remove(clock)
            if clock.hit is not None:
                clock.settle()

    def _late(self, call: Call, kind: str, limit: float, began: float) -> TimedOut:
        """Return the error of a limit that passed, and report it."""
        error = timed_out(call.run, kind, limit, began)
        if call.run.listening:
            self._report(call, began, limit, error)
        return error

    def _report(self, call: Call, began: float, limit: float | None, error: TimedOut | None) -> None:
        run = call.run
        now = run.time()
        attributes: dict[str, Any] = {"sluiceway.timed.elapsed": now - began}
        if limit is not None:
            attributes["sluiceway.timed.limit"] = limit
        if error is not None:
            attributes["sluiceway.timed.kind"] = error.kind
        firsts = [attempt.first_item_at for attempt in run.attempts if attempt.first_item_at is not None]
        if firsts and firsts[-1] >= began:
            attributes["sluiceway.timed.first_item"] = firsts[-1] - began
        run.sink(Measured(now, call, began, self.name, "timed", attributes, error))


class _ItemClock(Scope):
    """Limits each wait for an item of one call's stream; stands still while nobody waits.

    The wait for the first item is one, also where the reader took its time between the opening of the stream and the
    first read: what was waited until then counts, the pause does not.
    """

    __slots__ = ("_came", "_idle", "_outer", "_since", "_timer", "_waited", "_wheel")

    def __init__(self, call: Call, first: Wheel | None, idle: Wheel | None) -> None:
        run = call.run
        task = task_of(run.loop)
        super().__init__(run, None if task is run.task else task)
        self._wheel = first
        self._idle = idle
        self._outer = call.emit or emit_to_reader
        self._came = False
        self._waited = 0.0
        self._since: float | None = None
        self._timer: TimerHandle | None = None

    @property
    def kind(self) -> str:
        """Which of the two limits holds now."""
        return "idle" if self._came else "first item"

    @property
    def limit(self) -> float:
        """That limit in seconds; infinite if there is none."""
        return inf if self._wheel is None else self._wheel.seconds

    @property
    def began(self) -> float:
        """When the wait would have begun without a pause."""
        return (self.run.time() if self._since is None else self._since) - self._waited

    def resume(self) -> None:
        """Somebody waits."""
        if self._since is not None or self.fired:
            return
        loop = self.run.loop
        self._since = now = self.run.time()
        wheel = self._wheel
        if wheel is None:
            return
        if self._waited:  # the rest of a wait is not one of the wheel's equal delays
            self._timer = loop.call_later(wheel.seconds - self._waited, self.fire)
        else:
            wheel.add(self, loop, now)

    def pause(self) -> None:
        """Nobody waits."""
        since = self._since
        if since is None:
            return
        self._waited += self.run.time() - since
        self._since = None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if self._wheel is not None:
            self._wheel.discard(self)

    async def emit(self, item: Any) -> None:
        """Pass *item* on; the wait for the next one begins when it is asked for."""
        self.pause()
        if self.fired:  # something inside swallowed our cancellation and went on
            self.settle()
            self.fired = False
        self._came = True
        self._wheel = self._idle
        self._waited = 0.0
        await self._outer(item)
        self.resume()  # unless the reader's next read did so: a layer around us may have kept the item to itself


def _wheel(seconds: float | None) -> Wheel | None:
    return None if seconds is None else Wheel(seconds)
