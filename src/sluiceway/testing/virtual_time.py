"""An event loop whose clock jumps: an hour of sleeping takes a millisecond.

The rule, in the order in which a loop with nothing ready tries it:

1. **Work handed to threads** (``to_thread``, ``run_in_executor``, name look-ups) takes no time: the clock
   stands still and the loop waits for it in earnest, so no timer overtakes it. A thread that itself waits for
   one of the loop's timers would wait for ever; so after `patience` real seconds in which none of the work
   finished, the clock runs on at the pace of the real one.
2. **File descriptors** beyond the loop's own (sockets, pipes, servers, kept-alive connections): nobody can
   know whether something is about to arrive, so while any is watched the clock keeps the real one's pace.
3. **Timers**: the clock jumps to the next one; one for ever (``asyncio.sleep(math.inf)``) is none.
4. **Nothing**: if a thread was started since the loop was made, it may yet call ``call_soon_threadsafe``:
   the loop gives it `patience` real seconds. Then ``run_until_complete`` raises `Deadlock`. (``run_forever``
   on its own waits for ever, as it is asked to.)

Not seen, and therefore jumped past: threads of your own while timers are set (hand their work to the loop by
``run_in_executor``). ``time.time()`` and ``time.monotonic()`` stay real. A task that spins on
``asyncio.sleep(0)`` until a moment comes spins for ever: computing takes no virtual time.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from sluiceway.testing.deadlock import Deadlock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from concurrent.futures import Executor
    from contextvars import Context

    Events = list[tuple[selectors.SelectorKey, int]]

_T = TypeVar("_T")
PATIENCE = 5.0


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run *main* to completion on a fresh `VirtualTimeLoop` and return its result, as ``asyncio.run`` does.

    Args:
        main: The coroutine to run.
        debug: asyncio's debug mode; None leaves it to the environment.

    Raises:
        Deadlock: If nothing can happen any more before *main* is done.
    """
    with asyncio.Runner(debug=debug, loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop on virtual time, which starts at 0.0 seconds and jumps to the next timer.

    Timers for the same moment fire in the order in which they were set, as they do on a real clock, where the
    later one is some nanoseconds later. The module's docstring states when the clock jumps, stands and runs.

    Args:
        patience: Real seconds for which the loop waits on threads that show no progress.

    Raises:
        ValueError: If patience is negative.
    """

    _scheduled: list[_Timer]  # asyncio's own heap of timers
    _clock_resolution: float
    _closed = True  # until asyncio has made the loop, or its __del__ misses it after an error before that

    def __init__(self, *, patience: float = PATIENCE) -> None:
        if not patience >= 0:
            raise ValueError(f"patience must be at least 0 seconds, not {patience!r}")
        self._now = 0.0
        self._timers = 0
        self._jobs = 0
        self._bounded = False
        self._patience = self._patience_left = patience
        self._elders = set(threading.enumerate())
        self._watch = _Watch(self._idle)
        super().__init__(self._watch)
        self._own_descriptors = len(self._watch.get_map())

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self._now

    def call_at(  # type: ignore[override]  # typeshed's TypeVarTuple cannot be passed on to a Handle's Sequence
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call *callback* when the clock reaches *when* (seconds); equal moments keep their order."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        self._timers += 1
        timer = _Timer(when, callback, args, self, context, order=self._timers)
        heapq.heappush(self._scheduled, timer)
        return timer

    def run_until_complete(self, future: Generator[Any, None, _T] | Awaitable[_T]) -> _T:
        """Run until *future* is done and return its result.

        Raises:
            Deadlock: If nothing can happen any more before that.
        """
        self._bounded = True
        try:
            return super().run_until_complete(future)
        finally:
            self._bounded = False

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Run *func* in a thread (or process) of *executor*; no virtual time passes meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self._job_began()
        future.add_done_callback(self._job_ended)
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the threads of the default executor to end; no virtual time passes meanwhile."""
        self._job_began()
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self._job_ended()

    def _job_began(self) -> None:
        self._jobs += 1
        self._patience_left = self._patience

    def _job_ended(self, _: object = None) -> None:
        self._jobs -= 1
        self._patience_left = self._patience

    def _idle(self, timeout: float | None) -> Events:
        """Let time pass in the way the module's docstring says, or raise `Deadlock`."""
        if self._jobs:
            return self._stand_still() if self._patience_left > 0 else self._flow(timeout)
        if len(self._watch.get_map()) > self._own_descriptors:
            return self._flow(timeout)
        if timeout is not None and (moment := self._scheduled[0].when()) < math.inf:
            # Not `+= timeout`: the timer's own number leaves no rounding in what time() returns.
            self._move(max(self._now, moment))
            return []
        if not self._bounded:
            return self._flow(None)
        if self._strangers() and (events := self._watch.wait(self._patience)):
            return events
        raise Deadlock(self._now, asyncio.all_tasks(self))

    def _stand_still(self) -> Events:
        began = time.monotonic()
        events = self._watch.wait(self._patience_left)
        self._patience_left -= time.monotonic() - began
        return events

    def _flow(self, timeout: float | None) -> Events:
        began = time.monotonic()
        events = self._watch.wait(timeout)
        passed = time.monotonic() - began
        self._move(self._now + (passed if timeout is None else min(passed, timeout)))
        return events

    def _move(self, now: float) -> None:
        self._now = now
        # asyncio runs what is due before `time() + _clock_resolution`: after 116 days a nanosecond more is no later.
        self._clock_resolution = max(self._clock_resolution, math.ulp(now))

    def _strangers(self) -> bool:
        """Return whether another thread lives that the loop's user may have started for the loop."""
        here = threading.current_thread()
        known = self._elders if here is threading.main_thread() else self._elders - {threading.main_thread()}
        return any(thread not in known and thread is not here for thread in threading.enumerate())


class _Watch(selectors.DefaultSelector):
    """The platform's selector; asked to block, it leaves the waiting to *idle*."""

    def __init__(self, idle: Callable[[float | None], Events]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> Events:
        # Polled even when callbacks are ready: a thread's call must get in between tasks that never rest.
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        return self._idle(timeout)

    def wait(self, timeout: float | None) -> Events:
        """Block for at most *timeout* real seconds; None waits for an event."""
        return super().select(timeout)


class _Timer(asyncio.TimerHandle):
    """A timer that comes after those set before it for the same moment: a heap alone forgets that order."""

    __slots__ = ("_key",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
        *,
        order: int,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self._key = (when, order)
        self._scheduled = True  # as asyncio marks a timer that is in its heap

    def __lt__(self, other: object) -> bool:
        return self._key < other._key if isinstance(other, _Timer) else NotImplemented
