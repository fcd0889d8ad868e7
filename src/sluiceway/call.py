"""One call: what layers are handed, what changes while it runs, and what its caller said about it."""

from __future__ import annotations

import asyncio
import itertools
import os
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from .attempt import Attempt
from .durations import Duration, seconds
from .hinting import HIGH, LOW, NO_HINTS, NORMAL, Hints, current, hints, hints_now
from .tasks import plain_loops, task_of
from .time_limits import timed_out, within

if TYPE_CHECKING:
    import contextvars

    from .events import Event

__all__ = [
    "HIGH",
    "LOW",
    "NORMAL",
    "NO_HINTS",
    "Attempt",
    "Call",
    "Hints",
    "Proceed",
    "Pump",
    "Run",
    "Watch",
    "begin",
    "current",
    "hints",
    "hints_now",
    "inherit",
    "timed_out",
    "unheard",
    "within",
]

T = TypeVar("T")


class Pump(Protocol):
    """The suspended pipeline behind a stream, as far as time limits know it."""

    def expire(self) -> None:
        """End the pipeline beside its reader."""


class Watch(Protocol):
    """A clock that runs only while somebody waits for an item."""

    def resume(self) -> None:
        """Somebody waits."""

    def pause(self) -> None:
        """Nobody waits."""


_ids = itertools.count(1)


class _Process:
    """What the names of this process's calls begin with; one that was forked has another than its parent."""

    __slots__ = ("name",)

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Take a name."""
        self.name = os.urandom(4).hex()


_process: Final = _Process()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_process.begin)


class _Unheard:
    """Where the events of a call go that nobody hears; set once from above, to what passes warnings to the log."""

    __slots__ = ("sink",)

    def __init__(self) -> None:
        self.sink: Callable[[Event], object] = id  # any function that does nothing with it


unheard: Final = _Unheard()


class Run:
    """What changes during one call; every copy of its `Call` shares it.

    Attributes:
        loop: the event loop; time: tells its time.
        task: who drives the pipeline now; None while a stream's reader is elsewhere.
        base: `task.cancelling()` when it began to drive.
        context: the contextvars context that every step of the pipeline runs in.
        layers, name: of the pipeline.
        parent: the call whose provider made this one.
        started_at: seconds of the loop's clock; `deadline` is when the innermost time limit around us ends.
        attempts: the trips so far; `last` is the newest.
        listening: whether somebody hears all of this call's events; `detailed`, whether phases without length
            count too.
        counted: who counts the call when it is over, if nobody hears its events: told the call, the time, the error.
        tallied: how many of the attempts the one who only hears the end has counted.
        emitted: an item reached the reader: from here on nobody may start over.
        at_first_item: who is told, once, when the first item of a stream comes: a list of a function, the next such
            list (or None), and what the function needs; it is called with the list. None after that.
        waits: seconds by reason; `phase` is what it waits for now and since when.
        outer: the run that this one is a branch of; None if it is the whole call's.
        holds: the state of a bound that the call holds a place of, and what it held before, likewise; None for nothing.
        impatient: layers that would make the call wait refuse it at once instead: it is worth making only now.
    """

    # What most calls never set, and few ask for, stays on the class: half the cost of making one.
    last: Attempt | None = None
    counted: Callable[[Call, float, BaseException | None], None] | None = None
    emitted = False
    at_first_item: list[Any] | None = None
    pump: Pump | None = None
    watches: list[Watch] | None = None
    waits: dict[str, float] | None = None
    phase: tuple[str, float] | None = None
    facts: Any = None
    tallied = 0
    impatient = False
    _id = 0

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        task: asyncio.Task[Any] | None,
        context: contextvars.Context,
        layers: tuple[Any, ...],
        name: str,
        parent: Call | None,
        said: Hints,
    ) -> None:
        self.loop = loop
        self.task = task
        self.base = 0 if task is None else task.cancelling()
        self.context = context
        self.layers = layers
        self.name = name
        self.parent = parent
        self.said = said
        self.time: Callable[[], float] = monotonic if type(loop) in plain_loops else loop.time
        self.started_at = self.time()
        self.attempts: list[Attempt] = []
        self.outer: Run | None = None
        self.listening = False
        self.detailed = False
        self.deadline: float | None = None
        self.holds: tuple[Any, Any] | None = None

    def sink(self, event: Event) -> None:
        """Tell *event* to whoever hears this call; replaced by a function of that kind where that is quicker."""
        if self.facts is None:
            unheard.sink(event)
        else:
            self.facts.hear(event)

    @property
    def left(self) -> bool:
        """Whether it goes on though the whole call is over, as only a branch may."""
        return False

    @property
    def id(self) -> str:
        """Names the call in logs and spans; unique in a fleet of processes."""
        if not self._id:
            self._id = next(_ids)
        return f"{_process.name}-{self._id:x}"

    def has_inside(self, inner: Any) -> None:
        """Take note of *inner*, a branch of this run: only a branch has to."""

    def tell_outer(self, attempt: Attempt) -> None:
        """Tell *attempt*, which begins, to the call that this run is a branch of."""

    def waited(self, reason: str, since: float, until: float) -> None:
        """Book the time from *since* to *until* under *reason*."""
        self.phase = None
        waits = self.waits
        if waits is None:
            self.waits = waits = {}
        waits[reason] = waits.get(reason, 0.0) + until - since

    def spent(self, now: float) -> dict[str, float]:
        """Return where the time of this call went until *now*: seconds by wait and by attempt, the largest first."""
        spent = dict(self.waits or {})
        if self.phase is not None:
            reason, since = self.phase
            spent[reason] = spent.get(reason, 0.0) + now - since
        for attempt in self.attempts:
            ended = now if attempt.ended_at is None else attempt.ended_at
            spent[f"attempt {attempt.number}"] = ended - attempt.started_at
        return dict(sorted(spent.items(), key=lambda item: -item[1]))


class Call:
    """One logical invocation, as layers see it. Treat it as frozen; a copy for a further attempt is `again()`.

    Attributes:
        function: what the pipeline ends in, bound to its instance if it is a method.
        args, kwargs: as the caller gave them, without the instance.
        instance: the object whose method was called, or its class; None for a function.
        run: what changes while the call runs.
        attempt: 1 for the first, 2 for the first retry.
        hints: what the caller said, or inherited.
        emit: where a stream's items go on their way out; None for straight to the reader.
        record: the trip that this copy of the call made, or makes; None before it. Where attempts run side by side
            or leave tasks behind, it tells whose a task is, which `run.last` does not.
    """

    __slots__ = ("args", "attempt", "emit", "function", "hints", "instance", "kwargs", "record", "run")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        instance: Any,
        run: Run,
        hints: Hints,
        attempt: int = 1,
        emit: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.instance = instance
        self.run = run
        self.hints = hints
        self.attempt = attempt
        self.emit = emit
        self.record: Attempt | None = None

    def __repr__(self) -> str:
        return f"<Call {self.run.name} attempt {self.attempt}>"

    @property
    def name(self) -> str:
        """What the call is named in spans and logs."""
        return self.run.name

    @property
    def started_at(self) -> float:
        """When the call started, in seconds of the event loop's clock."""
        return self.run.started_at

    @property
    def deadline(self) -> float | None:
        """When the nearest time limit around this call ends, in seconds of the loop's clock; None if there is none."""
        return self.run.deadline

    def report(self, event: Event) -> None:
        """Tell *event* to whoever hears this call."""
        self.run.sink(event)

    def again(self, attempt: int) -> Call:
        """Return a copy of this call for attempt number *attempt*."""
        return Call(self.function, self.args, self.kwargs, self.instance, self.run, self.hints, attempt, self.emit)

    def altered(
        self,
        attempt: int,
        *,
        function: Callable[..., Any] | None = None,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> Call:
        """Return a copy for attempt number *attempt* that asks another *function*, or with other arguments."""
        return Call(
            self.function if function is None else function,
            self.args if args is None else args,
            self.kwargs if kwargs is None else kwargs,
            self.instance,
            self.run,
            self.hints,
            attempt,
            self.emit,
        )

    def emitting(self, emit: Callable[[Any], Awaitable[None]]) -> Call:
        """Return a copy of this call whose stream's items go to *emit*, which passes them on to `self.pass_on`."""
        return Call(self.function, self.args, self.kwargs, self.instance, self.run, self.hints, self.attempt, emit)

    def within(self, limit: Duration) -> within:
        """Limit what runs inside ``with call.within(5):`` to *limit*; safe around `proceed`, also for streams.

        On leaving, our own cancellation becomes `TimedOut`. Layers use this instead of `asyncio.timeout`, which would
        cancel the reader's own code between two items of a stream.
        """
        return within(self, seconds(limit, "limit", zero=True))


Proceed: TypeAlias = Callable[[Call], Awaitable[T]]
"""The rest of the pipeline: awaiting `proceed(call)` runs it once, to completion."""


def begin(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    instance: Any,
    layers: tuple[Any, ...],
    name: str,
    context: contextvars.Context,
) -> Call:
    """Return the `Call` of an invocation that starts now, with what it inherits from the call around it."""
    loop = get_running_loop()
    parent = current.get()
    said = hints_now.get()
    mine = said
    if parent is not None:
        parent, mine = inherit(parent, said)
    run = Run(loop, task_of(loop), context, layers, name, parent, said)
    return Call(function, args, kwargs, instance, run, mine)


def inherit(parent: Call, said: Hints) -> tuple[Call | None, Hints]:
    """Return the call that a call made inside *parent* belongs to, and its hints where *said* is what was said.

    A task that its call left behind is nobody's child.
    """
    inherits = said is parent.run.said
    attempt = parent.record
    if attempt is None or attempt.ended_at is not None:
        return None, Hints(said.priority, said.tenant) if inherits else said
    attempt.contained = True
    return parent, said.inherited() if inherits else said
