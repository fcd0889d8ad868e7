"""Layers and the innermost step as one function, and one call run through it."""

from __future__ import annotations

from asyncio import CancelledError, get_running_loop
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .call import Call, Run, begin, current, hints_now, inherit, timed_out, within
from .errors import Rejected, TimedOut
from .events import CallFinished, CallStarted
from .functions import awaited
from .invocation import invoke, invoke_generator
from .pump import Pump
from .readers import BoundStream, Generated
from .streaming import Opened, drive_on, is_stream
from .tasks import task_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from .layer import Layer


def _unobserved(_run: Run, _call: Call) -> None:
    """Nobody observes: there is nothing to run in the call's context either."""


class _Switch:
    """What is set once from above: who observes calls, and whether layers are passed through in tests."""

    __slots__ = ("disabled", "observe")

    def __init__(self) -> None:
        self.disabled = 0
        self.observe: Callable[[Run, Call], Callable[[], None] | None] = _unobserved


switch = _Switch()


class Chain:
    """Layers put together around the innermost step; serves any number of functions and calls.

    Attributes:
        parts: what it is made of, outermost first: layers, and pipelines that may be exchanged while it is in use.
        layers: what they come to now. A call that has begun keeps those that it began with.
        name: stands for the function's own in spans and logs.
    """

    __slots__ = ("__weakref__", "generator", "layers", "name", "parts", "plain")

    def __init__(self, parts: Sequence[Layer], name: str | None = None) -> None:
        """Put *parts* together, and follow those of them that change."""
        self.parts = tuple(parts)
        self.name = name
        self.put_together()
        for part in self.parts:
            if part.followers is not None:
                part.followers.add(self)

    def put_together(self) -> None:
        """Go on with what the parts come to now: the next call is the first that sees it."""
        layers = layers_in(self.parts)
        plain, generator = compose(layers, invoke), compose(layers, invoke_generator)
        for layer in layers:
            layer.stand_among(layers)
        self.layers, self.plain, self.generator = layers, plain, generator


def layers_in(parts: Iterable[Layer]) -> tuple[Layer, ...]:
    """Return the layers that *parts* come to now, outermost first."""
    return tuple(layer for part in parts for layer in part.stands_for())


def compose(layers: Sequence[Layer], proceed: Callable[[Call], Awaitable[Any]]) -> Callable[[Call], Any]:
    """Return *proceed* with *layers* around it, the first outermost."""
    for layer in reversed(layers):
        proceed = layer.around(proceed)
    return proceed


async def run_call(
    chain: Chain,
    function: Callable[..., Any],
    name: str,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run one call of *function* through *chain*; a stream comes back suspended behind a proxy."""
    if switch.disabled:
        result = function(*args, **kwargs)
        return result if is_stream(result) else await awaited(result, name)
    context = copy_context()
    loop = get_running_loop()  # from here on `begin`, written out: as a call it is a twentieth of all that a call costs
    parent = current.get()
    said = hints = hints_now.get()
    if parent is not None:
        parent, hints = inherit(parent, said)
    run = Run(loop, task_of(loop), context, chain.layers, name, parent, said)
    call = Call(function, args, kwargs, instance, run, hints)
    introduce = switch.observe(run, call)
    if introduce is not None:
        context.run(introduce)
    if run.listening:
        run.sink(CallStarted(run.started_at, call))
    proceed = chain.plain
    coroutine = proceed(call) if call.hints.deadline is None else _by_deadline(proceed, call)
    try:
        out = context.run(coroutine.send, None)
    except StopIteration as stop:  # it never waited, and needs no driver
        out = stop.value
    except BaseException as error:
        finish(call, error)
        raise
    else:
        try:
            out = await drive_on(context, coroutine, out)
        except BaseException as error:
            finish(call, error)
            raise
    if isinstance(out, Opened):
        return BoundStream(out.value, Pump(coroutine, call, finish))
    if run.listening:
        finish(call, None)
    elif run.counted is not None:  # `finish`, written out as far as it concerns most calls of a session
        try:
            run.counted(call, run.time(), None)
        except Exception as broken:  # noqa: BLE001 - as in `finish`
            _uncounted(run, broken)
    return out


async def _by_deadline(proceed: Callable[[Call], Awaitable[Any]], call: Call) -> Any:
    """Hold a call to the deadline that its caller gave, whatever layers it has."""
    deadline = call.hints.deadline
    assert deadline is not None
    left = deadline - call.started_at
    if left <= 0:  # nothing that starts now could be done by then, so nothing is sent
        raise timed_out(call.run, "deadline", 0.0, call.started_at)
    with within(call, left, "deadline"):
        return await proceed(call)


def start_generator(
    chain: Chain,
    function: Callable[..., Any],
    name: str,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Return the async iterator of one call of an async generator function through *chain*."""
    if switch.disabled:
        return function(*args, **kwargs)
    context = copy_context()

    def start() -> Pump:
        call = context.run(begin, function, args, kwargs, instance, chain.layers, name, context)
        introduce = context.run(switch.observe, call.run, call)
        if introduce is not None:
            context.run(introduce)
        if call.run.listening:
            call.run.sink(CallStarted(call.run.started_at, call))
        proceed = chain.generator
        coroutine = proceed(call) if call.hints.deadline is None else _by_deadline(proceed, call)
        return Pump(coroutine, call, finish)

    return Generated(start)


def finish(call: Call, error: BaseException | None) -> None:
    """Report how *call* ended."""
    run = call.run
    if run.listening:
        now = run.time()
        run.sink(CallFinished(now, call, outcome_of(error), error, now - run.started_at))
    elif run.counted is not None:
        try:
            run.counted(call, run.time(), error)
        except Exception as broken:  # noqa: BLE001 - statistics must not break a call
            _uncounted(run, broken)


def _uncounted(run: Run, broken: Exception) -> None:
    run.loop.call_exception_handler({"message": "counting a call failed", "exception": broken})


def outcome_of(error: BaseException | None) -> str:
    """Return the word for how a call ended; see `CallFinished`."""
    if error is None:
        return "ok"
    if isinstance(error, Rejected):
        return "rejected"
    if isinstance(error, TimedOut):
        return "timed out"
    return "cancelled" if isinstance(error, (CancelledError, GeneratorExit)) else "error"
