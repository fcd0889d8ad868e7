"""Time limits: one deadline of one call, and many equal ones on one timer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from .call import Run

_EPS = 1e-9  # without it a jumping clock can re-arm for ever on a rounding error


def one_loop_at_a_time(old: asyncio.AbstractEventLoop | None, owner: str) -> None:
    """Refuse to move state away from an event loop that still runs.

    Raises:
        RuntimeError: *old* is running, in another thread.
    """
    if old is not None and old.is_running():
        raise RuntimeError(f"one {owner} object is used by two event loops at the same time: make one for each loop")


def clock_shift(old: asyncio.AbstractEventLoop | None, new: asyncio.AbstractEventLoop) -> float:
    """Return how much later the same moment reads on the clock of *new* than on that of *old*.

    Real loops share the machine's clock: 0. A loop on virtual time starts its own anew, and state that outlives a
    loop must not wait for the old clock's hour to come round again.
    """
    if old is None:
        return 0.0
    delta = new.time() - old.time()
    return delta if delta < 0 else 0.0


class Scope:
    """One time limit of one call: cancels whoever drives the call, and takes that cancellation back.

    It keeps the rule of `asyncio.timeout`: if anybody else cancelled the task as well, their cancellation wins. Unlike
    it, it may outlive a task: a stream opened in one task can be read in another, and each read is cancelled in the
    task that waits. When nobody waits, the consumer's own code is left alone and the pipeline is ended beside it.
    """

    __slots__ = ("base", "fired", "hit", "run", "task")

    def __init__(self, run: Run, task: asyncio.Task[object] | None = None) -> None:
        """Limit *run*; *task* names the task if a layer drives this part in one of its own."""
        self.run = run
        self.task = task
        self.fired = False
        self.hit: asyncio.Task[object] | None = None
        self.base = 0 if task is None else task.cancelling()

    def fire(self) -> None:
        """The time is up."""
        self.fired = True
        run = self.run
        task = self.task
        if task is None:
            task = run.task
            self.base = run.base
        if task is not None:
            self.hit = task
            task.cancel()
        elif run.pump is not None:
            run.pump.expire()

    def settle(self) -> bool:
        """Take our own cancellation back; True if nobody else asked for one since."""
        task, self.hit = self.hit, None
        if task is not None:
            return task.uncancel() <= self.base
        run = self.run  # it fired while nobody was reading; whoever drives since then may have been cancelled
        return run.task is None or run.task.cancelling() <= run.base


class Expiring(Protocol):
    """What a wheel holds."""

    def fire(self) -> None:
        """The time is up."""


class Wheel:
    """Many equal delays on one timer of the loop.

    Equal delays expire in the order in which they began, so an insertion-ordered dict is the whole queue and one
    `call_at`, for its head, serves any number of calls. A loop timer a call costs four times as much.
    """

    __slots__ = ("_armed", "_gone", "_live", "_loop", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._live: dict[Expiring, float] = {}
        self._armed = False
        self._gone = 0

    def __len__(self) -> int:
        return len(self._live)

    def add(self, entry: Expiring, loop: asyncio.AbstractEventLoop, now: float) -> float:
        """Fire *entry* after the delay unless it is discarded first; return when that will be."""
        if loop is not self._loop:  # asyncio.run a second time: the old loop's timers died with it
            one_loop_at_a_time(self._loop, "timed")
            self._loop = loop
            self._live = {}
            self._armed = False
        self._live[entry] = when = now + self.seconds
        if not self._armed:
            self._armed = True
            loop.call_at(when, self._tick, loop)
        return when

    def discard(self, entry: Expiring) -> None:
        """Forget *entry*; it need not be there."""
        self._live.pop(entry, None)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        self._armed = False
        now = loop.time() + _EPS
        due = []
        for entry, when in self._live.items():
            if when > now:
                self._armed = True
                loop.call_at(when, self._tick, loop)
                break
            due.append(entry)
        for entry in due:
            if self._live.pop(entry, None) is None:
                continue  # one that fired before it has ended it
            try:
                entry.fire()
            except Exception as error:  # noqa: BLE001 - it must not cost the others their time limits
                loop.call_exception_handler({"message": "a time limit failed to fire", "exception": error})
        self._gone += len(due)
        if self._gone * self._gone > len(self._live):
            # A dict keeps the places of what was deleted, and every tick walks past those at its front: 100,000 calls
            # that hang would cost as many steps each. Copying at the root of what is left makes both costs equal.
            self._live = dict(self._live)
            self._gone = 0
