"""One call: what layers are handed, what changes while it runs, and what its caller said about it."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import os
from asyncio import get_running_loop
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from .durations import Duration, seconds
from .errors import TimedOut
from .expiry import Scope
from .tasks import plain_loops, task_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from .events import Event
    from .providers.usage import Usage

T = TypeVar("T")

Proceed: TypeAlias = "Callable[[Call], Awaitable[T]]"
"""The rest of the pipeline: awaiting `proceed(call)` runs it once, to completion."""

HIGH: Final = 0
NORMAL: Final = 1
LOW: Final = 2


class Hints:
    """What the caller says about a call; frozen.

    Attributes:
        priority: smaller goes first; `HIGH` 0, `NORMAL` 1 (the default), `LOW` 2.
        tenant: on whose behalf; None if nobody said.
        deadline: when the call must be over, in seconds of the event loop's clock; None for never.
        expected_tokens: input and output together; None to estimate.
        idempotent: False forbids repeating the call.
    """

    __slots__ = ("deadline", "expected_tokens", "idempotent", "priority", "tenant")

    def __init__(
        self,
        priority: int = NORMAL,
        tenant: str | None = None,
        deadline: float | None = None,
        expected_tokens: int | None = None,
        idempotent: bool = True,  # noqa: FBT001, FBT002 - positional only from this module
    ) -> None:
        self.priority = priority
        self.tenant = tenant
        self.deadline = deadline
        self.expected_tokens = expected_tokens
        self.idempotent = idempotent

    def __repr__(self) -> str:
        said = (
            f"{name}={getattr(self, name)!r}"
            for name in ("priority", "tenant", "deadline", "expected_tokens", "idempotent")
        )
        return f"Hints({', '.join(said)})"

    def inherited(self) -> Hints:
        """Return what a call made inside this one takes over: tenant, priority and deadline."""
        if self.expected_tokens is None and self.idempotent:
            return self
        return Hints(self.priority, self.tenant, self.deadline)


NO_HINTS: Final = Hints()
hints_now: ContextVar[Hints] = ContextVar("sluiceway_hints", default=NO_HINTS)

current: ContextVar[Call | None] = ContextVar("sluiceway_call", default=None)
"""The call whose attempt is under way: what HTTP hooks and nested calls read."""


class hints:
    """Say something about every call that starts inside the block.

    ``with hints(priority=HIGH, tenant="acme", deadline="20s"): await ask(...)``. What is not given stays as an
    enclosing `hints` said. Calls made inside such a call inherit tenant, priority and deadline.

    Args:
        priority: smaller goes first; `HIGH`, `NORMAL`, `LOW` or any int.
        tenant: on whose behalf, for fairness and statistics.
        deadline: a duration from entering the block after which its calls end with `TimedOut`; an enclosing
            deadline that is nearer stays.
        expected_tokens: input and output together, instead of an estimate.
        idempotent: False forbids every layer to repeat the call.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: `expected_tokens` is negative, or `deadline` is not a duration.
    """

    __slots__ = ("_deadline", "_given", "_token")

    def __init__(
        self,
        *,
        priority: int | None = None,
        tenant: str | None = None,
        deadline: Duration | None = None,
        expected_tokens: int | None = None,
        idempotent: bool | None = None,
    ) -> None:
        if priority is not None and (not isinstance(priority, int) or isinstance(priority, bool)):
            raise TypeError(f"priority={priority!r} must be HIGH, NORMAL, LOW or another int, the smallest first")
        if tenant is not None and not isinstance(tenant, str):
            raise TypeError(f"tenant={tenant!r} must be a str")
        if idempotent is not None and not isinstance(idempotent, bool):
            raise TypeError(f"idempotent={idempotent!r} must be True or False")
        if expected_tokens is not None and (not isinstance(expected_tokens, int) or isinstance(expected_tokens, bool)):
            raise TypeError(f"expected_tokens={expected_tokens!r} must be an int")
        if expected_tokens is not None and expected_tokens < 0:
            raise ValueError(f"expected_tokens={expected_tokens!r} must be at least 0")
        self._deadline = None if deadline is None else seconds(deadline, "deadline", zero=True)
        self._given = (priority, tenant, expected_tokens, idempotent)
        self._token: contextvars.Token[Hints] | None = None

    def __enter__(self) -> Hints:
        if self._token is not None:
            raise RuntimeError("one hints(...) object cannot be entered twice at a time: make another")
        said = hints_now.get()
        call = current.get()
        base = said.inherited() if call is not None and said is call.run.said else said
        priority, tenant, expected_tokens, idempotent = self._given
        deadline = base.deadline
        if self._deadline is not None:
            mine = asyncio.get_running_loop().time() + self._deadline
            deadline = mine if deadline is None else min(mine, deadline)
        merged = Hints(
            base.priority if priority is None else priority,
            base.tenant if tenant is None else tenant,
            deadline,
            base.expected_tokens if expected_tokens is None else expected_tokens,
            base.idempotent if idempotent is None else idempotent,
        )
        self._token = hints_now.set(merged)
        return merged

    def __exit__(self, *exc: object) -> None:
        token, self._token = self._token, None
        if token is not None:
            hints_now.reset(token)


class Attempt:
    """The record of one trip to the provider, filled while it runs.

    Attributes:
        number: 1 for the first trip of the call.
        started_at, ended_at: seconds of the loop's clock; `ended_at` is None while it runs.
        outcome: `"ok"`, `"error"` or `"cancelled"`; None while it runs.
        error: the error it ended with.
        result: what the provider returned; None for a stream.
        usage: tokens as the provider reports them; None if it did not.
        status, headers: of the HTTP response, where our client's hook or the error brought them.
        streamed: whether it opened a stream; `items` counts what came, `first_item_at` when the first did.
        contained: whether it made calls of its own, which then account for its usage.
        facts: what a sink keeps about it, such as its span.
        asked: the keyword arguments that it was made with, which a layer may have changed; None if unknown.
    """

    __slots__ = (
        "asked",
        "contained",
        "ended_at",
        "error",
        "facts",
        "first_item_at",
        "headers",
        "items",
        "number",
        "outcome",
        "reader",
        "result",
        "sdk_retries",
        "started_at",
        "status",
        "streamed",
        "usage",
    )

    def __init__(self, number: int, started_at: float, asked: Mapping[str, Any] | None = None) -> None:
        self.number = number
        self.asked = asked
        self.started_at = started_at
        self.ended_at: float | None = None
        self.outcome: str | None = None
        self.error: BaseException | None = None
        self.result: Any = None
        self.usage: Usage | None = None
        self.status: int | None = None
        self.headers: Mapping[str, str] | None = None
        self.sdk_retries = 0
        self.streamed = False
        self.items = 0
        self.first_item_at: float | None = None
        self.contained = False
        self.reader: Any = None
        self.facts: Any = None

    def __repr__(self) -> str:
        return f"<Attempt {self.number} {self.outcome or 'under way'}>"


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
_PROCESS: Final = os.urandom(4).hex()


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
        impatient: layers that would make the call wait refuse it at once instead: it is worth making only now.
    """

    # What most calls never set stays on the class: half the cost of making one.
    last: Attempt | None = None
    deadline: float | None = None
    listening = False
    counted: Callable[[Call, float, BaseException | None], None] | None = None
    detailed = False
    emitted = False
    at_first_item: list[Any] | None = None
    pump: Pump | None = None
    watches: list[Watch] | None = None
    waits: dict[str, float] | None = None
    phase: tuple[str, float] | None = None
    facts: Any = None
    tallied = 0
    outer: Run | None = None
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

    def sink(self, event: Event) -> None:
        """Tell *event* to whoever hears this call; replaced by a function of that kind where somebody does."""
        unheard.sink(event)

    @property
    def id(self) -> str:
        """Names the call in logs and spans; unique in a fleet of processes."""
        if not self._id:
            self._id = next(_ids)
        return f"{_PROCESS}-{self._id:x}"

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


class within:
    """The context manager of `Call.within`."""

    __slots__ = ("_before", "_call", "_handle", "_kind", "_scope", "_seconds", "_started")

    def __init__(self, call: Call, limit: float, kind: str = "total") -> None:
        self._call = call
        self._seconds = limit
        self._kind = kind

    def __enter__(self) -> Scope:
        run = self._call.run
        loop = run.loop
        task = asyncio.current_task(loop)
        self._scope = Scope(run, None if task is run.task else task)
        self._started = loop.time()
        when = self._started + self._seconds
        self._before = run.deadline
        if self._before is None or when < self._before:
            run.deadline = when
        self._handle = loop.call_at(when, self._scope.fire)
        return self._scope

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._handle.cancel()
        run = self._call.run
        run.deadline = self._before
        scope = self._scope
        if not scope.fired:
            return
        ours = scope.settle()
        if ours and isinstance(error, asyncio.CancelledError):
            raise timed_out(run, self._kind, self._seconds, self._started) from error


def timed_out(run: Run, kind: str, limit: float, started: float) -> TimedOut:
    """Return the error of a time limit of *kind* that began at *started*, saying where the time went."""
    now = run.loop.time()
    spent = run.spent(now)
    where = ", ".join(f"{duration:.3g} s in {name}" for name, duration in spent.items()) or "none of it in a layer"
    if kind == "total":
        text = f"{run.name} not done within {limit:g} s"
    elif kind == "deadline":
        text = f"{run.name} not done by its deadline, {limit:.3g} s after its start"
    else:
        text = f"{run.name}: no {'first' if kind == 'first item' else 'further'} item within {limit:g} s"
    return TimedOut(f"{text} (spent: {where})", limit=limit, kind=kind, elapsed=now - started, spent=spent)


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
