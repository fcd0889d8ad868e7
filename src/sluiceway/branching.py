"""A part of a call with a run of its own: how a layer lets parts of one call run side by side.

A layer that runs `proceed` in a task of its own must not await it there as it stands: a stream would come to the end
of that task as soon as it is open, and what the inner layers hold would be given back while it is read. So the task
drives a `Branch`, which stops at the first item, and the layer's own coroutine passes the rest on::

    branch = Branch(call, proceed)
    task = call.run.loop.create_task(branch.start())
    try:
        await task
        return await branch.rest(call)
    finally:
        await ended([(branch, task)])

What the layers inside know of their call (its attempts, its time limits, who drives it) is the branch's own; what
they report goes where the call's events go, and the call's record holds the attempts of all its branches.
"""

from __future__ import annotations

from asyncio import CancelledError, wait
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .call import Attempt, Call, Run
from .events import CallRejected
from .starting import OVER
from .streaming import Item, Opened, Signal, drive, drive_on, emit_to_reader, signal
from .tasks import task_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from contextvars import Context

    from .call import Proceed, Pump, Watch
    from .events import Event


class BranchRun(Run):
    """What changes during one branch.

    As long as a task of its own drives it (`apart`), it keeps to itself who drives it, what it waits for and whether
    an item is out. From then on, and from the beginning if it never has such a task, all that is the whole call's.

    Attributes:
        outer: the run that this is a part of.
        apart: whether a task of its own drives it.
        own_task: the one that drives it while it is apart.
        alone: whether it goes on at its own pace, also while nobody waits for an item of the whole call.
        attempts: the trips of this branch alone, by their numbers in the whole call.
        began: who is told of each of them when it begins; None for nobody.
    """

    outer: Run

    # As in `Run`, what most branches never set stays on the class.
    alone = False
    _gone = False
    began: Callable[[Attempt], None] | None = None
    _inner: list[BranchRun] | None = None
    _own_watches: list[Watch] | None = None
    _own_base = 0
    _own_waits: dict[str, float] | None = None
    _own_phase: tuple[str, float] | None = None
    _out = False

    def __init__(self, outer: Run, context: Context) -> None:
        self.outer = outer
        self.loop = outer.loop
        self.context = context
        self.layers = outer.layers
        self.name = outer.name
        self.parent = outer.parent
        self.said = outer.said
        self.time = outer.time
        self.started_at = outer.started_at
        self.attempts = []
        self.listening = outer.listening
        self.detailed = outer.detailed
        self.deadline = outer.deadline
        self.holds = None
        self.apart = False
        self.own_task: asyncio.Task[Any] | None = None
        if outer.facts is not None:
            self.facts = outer.facts
        if outer.outer is not None:
            outer.has_inside(self)

    def has_inside(self, inner: BranchRun) -> None:
        """Take note of *inner*, a branch of this one."""
        if self._inner is None:
            self._inner = []
        self._inner.append(inner)

    def sink(self, event: Event) -> None:
        """Tell *event* to whoever hears the whole call; not that a branch which does not wait found no room."""
        if not (self.impatient and type(event) is CallRejected):
            self.outer.sink(event)

    @property
    def id(self) -> str:
        """Names the whole call."""
        return self.outer.id

    def tell_outer(self, attempt: Attempt) -> None:
        """Enter *attempt*, which begins, in the record of the whole call too, which numbers it."""
        if not self._gone:
            outer = self.outer
            outer.last = attempt
            outer.attempts.append(attempt)
            if outer.outer is None:
                attempt.number = len(outer.attempts)
            else:
                outer.tell_outer(attempt)
        began = self.began
        if began is not None:
            began(attempt)

    def leave(self) -> None:
        """Go on without the whole call, which ends now: what is not over is no longer part of its record.

        Whoever would have counted it from that record is told by events instead.
        """
        outer: Run | None = self.outer
        self._gone = True
        under_way = [attempt for attempt in self.attempts if attempt.ended_at is None]
        counted = False
        while outer is not None:
            counted = counted or outer.counted is not None
            for attempt in under_way:
                if attempt in outer.attempts:
                    outer.attempts.remove(attempt)
            outer = outer.outer
        if counted:
            self.begin_to_listen()

    def begin_to_listen(self) -> None:
        """Tell all of its events from now on, and all of those inside."""
        self.listening = True
        for inner in self._inner or ():
            inner.begin_to_listen()

    @property
    def left(self) -> bool:
        """Whether it goes on without the whole call, which is over; by itself, or as part of such a branch."""
        return self._gone or self.outer.left

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """Who drives the branch now."""
        return self.own_task if self.apart else self.outer.task

    @task.setter
    def task(self, task: asyncio.Task[Any] | None) -> None:
        self.own_task = task

    @property
    def base(self) -> int:
        """`task.cancelling()` when that task began to drive it."""
        return self._own_base if self.apart else self.outer.base

    @base.setter
    def base(self, base: int) -> None:
        self._own_base = base

    @property
    def pump(self) -> Pump | None:
        """What ends the whole call while nobody drives it."""
        return self.outer.pump

    @pump.setter
    def pump(self, pump: Pump | None) -> None:
        self.outer.pump = pump

    @property
    def watches(self) -> list[Watch] | None:
        """The clocks that run only while somebody waits for an item of the whole call."""
        return self._own_watches if self.alone else self.outer.watches

    @watches.setter
    def watches(self, watches: list[Watch] | None) -> None:
        if self.alone:
            self._own_watches = watches
        else:
            self.outer.watches = watches

    @property
    def waits(self) -> dict[str, float] | None:
        """Seconds by reason."""
        return self._own_waits if self.apart else self.outer.waits

    @waits.setter
    def waits(self, waits: dict[str, float] | None) -> None:
        if self.apart:
            self._own_waits = waits
        else:
            self.outer.waits = waits

    @property
    def phase(self) -> tuple[str, float] | None:
        """What it waits for now."""
        return self._own_phase if self.apart else self.outer.phase

    @phase.setter
    def phase(self, phase: tuple[str, float] | None) -> None:
        if self.apart:
            self._own_phase = phase
        else:
            self.outer.phase = phase

    @property
    def emitted(self) -> bool:
        """Whether an item came out of it: nobody inside may start over."""
        return self._out or self.outer.emitted

    @emitted.setter
    def emitted(self, emitted: bool) -> None:
        self._out = emitted
        if not self.apart:
            self.outer.emitted = emitted


class Branch:
    """A part of *call*: `proceed`, driven by a task of its own until it gives a value or a first item.

    Args:
        call: the call as the layer was handed it.
        proceed: what the layer was handed to proceed with.
        context: what its steps run in; None takes a copy of the current one.
        emit: where items go if the branch is not driven by a task of its own.

    Attributes:
        call: the call as layers inside see it.
        run: its own run; set `impatient` there, and layers inside refuse it instead of making it wait, and nobody hears
            of that.
        opened: the provider's stream, once there is one.
        came: what it came to, unless that was passed on: a value, or a signal at which it waits to be gone on with.
    """

    # As in `Run`, what most branches never set stays on the class.
    opened: Any = None
    came: Any = None
    _coroutine: Coroutine[Any, Any, Any] | None = None

    def __init__(
        self,
        call: Call,
        proceed: Proceed[Any],
        context: Context | None = None,
        emit: Callable[[Any], Any] | None = None,
    ) -> None:
        self.run = run = BranchRun(call.run, copy_context() if context is None else context)
        self.call = Call(call.function, call.args, call.kwargs, call.instance, run, call.hints, call.attempt, emit)
        self._proceed = proceed

    @property
    def suspended(self) -> bool:
        """Whether it stands in a stream with more to come: it must be gone on with, or closed."""
        return isinstance(self.came, Signal)

    async def start(self, *, to_item: bool = True) -> None:
        """Run it in the task that awaits this, until it is over or gives its first item; `rest` has the outcome.

        With *to_item* False it stops as soon as a stream is open.

        Raises:
            BaseException: the pipeline's error, unchanged.
        """
        task = task_of(self.run.loop)
        if task is not None:
            self.run.base = task.cancelling()
        out = self.first_step(task)
        if out is not OVER:
            await self.drive_on(out, to_item=to_item)

    def first_step(self, task: asyncio.Task[Any] | None) -> Any:
        """Make the first step in *task*, which is to make all others; return what it waits for, or `OVER`.

        Raises:
            BaseException: the pipeline's error, unchanged.
        """
        run = self.run
        run.apart = True
        run.own_task = task
        coroutine: Any = self._proceed(self.call)
        self._coroutine = coroutine
        try:
            return run.context.run(coroutine.send, None)
        except StopIteration as stop:
            self.came = stop.value
            self.landed(None)
        except BaseException as error:  # noqa: BLE001 - it goes on from there
            self.landed(error)
        return OVER

    def landed(self, error: BaseException | None) -> None:
        """Its first step was its last, and came to a value or to *error*: raise that.

        Raises:
            BaseException: *error*, unchanged.
        """
        if error is not None:
            raise error

    async def drive_on(self, out: Any, *, to_item: bool = True) -> None:
        """Run it on from *out*, which its first step returned, as `start` does."""
        context, coroutine = self.run.context, self._coroutine
        assert coroutine is not None
        out = await drive_on(context, coroutine, out)
        while isinstance(out, Opened):
            self.opened = out.value
            if not to_item:
                break
            out = await drive(context, coroutine)
        self.came = out

    async def go_on(self) -> Any:
        """Run it on from the signal at which `start` left it to the next one, or to the value; return that.

        Raises:
            BaseException: the pipeline's error, unchanged.
        """
        coroutine, self.came = self._coroutine, None
        assert coroutine is not None
        self.came = out = await drive(self.run.context, coroutine)
        if isinstance(out, Opened):
            self.opened = out.value
        return out

    async def rest(self, call: Call) -> Any:
        """Return the value that it came to; or pass its stream on, item by item, as that of *call*.

        Where layers around us are told of the first item, they are told now.

        Raises:
            BaseException: the pipeline's error, unchanged, or the reader's way to leave the stream.
        """
        run, outer = self.run, call.run
        run.apart = run.impatient = False
        if run.last is not None:
            outer.last = run.last
        call.record = self.call.record
        out, self.came = self.came, None
        coroutine = self._coroutine
        assert coroutine is not None
        if self.opened is not None and not isinstance(out, Opened):
            thrown = await _thrown_by(signal(Opened(self.opened)))
            if thrown is not None:
                if not isinstance(out, Signal):
                    raise thrown
                out = await drive(run.context, coroutine, thrown)
        emit = call.emit or emit_to_reader
        while isinstance(out, Signal):
            if isinstance(out, Item):
                tell_first_item(outer)
                outer.emitted = True
                thrown = await _thrown_by(emit(out.value))
            else:
                thrown = await _thrown_by(signal(out))
            out = await drive(run.context, coroutine, thrown)
        return out

    async def close(self) -> None:
        """End its stream for the layers inside, as a cancellation, if it is `suspended`; else do nothing."""
        if not self.suspended:
            return
        self.came = None
        coroutine = self._coroutine
        assert coroutine is not None
        run = self.run
        run.task = task_of(run.loop)
        with suppress(CancelledError, Exception):  # nobody is left to hear it
            if isinstance(await drive(run.context, coroutine, CancelledError()), Signal):
                coroutine.close()  # a layer went on all the same


async def ended(branches: Sequence[tuple[Branch, asyncio.Task[Any] | None]]) -> None:
    """Cancel *branches* with the tasks that drive them, None if none does, and wait until nothing of them is left.

    Whoever is over, or was gone on with by `rest`, is left alone. If the caller is cancelled meanwhile, the waiting
    goes on, and the cancellation is raised at its end.

    Raises:
        asyncio.CancelledError: the caller was cancelled.
    """
    driving = [task for _, task in branches if task is not None and not task.done()]
    for task in driving:
        task.cancel()
    cancelled = await _gone(driving)
    closing = [branch.run.loop.create_task(branch.close()) for branch, _ in branches if branch.suspended]
    cancelled = await _gone(closing) or cancelled
    if cancelled is not None:
        raise cancelled


async def _gone(tasks: list[asyncio.Task[Any]]) -> CancelledError | None:
    """Wait until *tasks* are done, whatever comes; return the last cancellation that came, which they got too."""
    cancelled = None
    while tasks:
        try:
            await wait(tasks)
        except CancelledError as error:
            cancelled = error
            for task in tasks:
                task.cancel()
        tasks = [task for task in tasks if not task.done()]
    return cancelled


def tell_first_item(run: Run) -> None:
    """Tell the layers that wait to hear of the first item of *run*, once."""
    told, run.at_first_item = run.at_first_item, None
    while told is not None:
        told[0](told)
        told = told[1]


async def _thrown_by(step: Awaitable[None]) -> BaseException | None:
    """Return what *step* raises: whatever a reader does is for the layers inside, and not for ours."""
    try:
        await step
    except BaseException as error:  # noqa: BLE001 - see above
        return error
    return None
