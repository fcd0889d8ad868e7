"""The one wrapt edge: layers and a function make a bound function.

However many decorators are stacked, there is one proxy and one `Call`: a decorator on a bound function makes a new
proxy of the same raw function with its layer in front. (Eight stacked proxies cost seven times as much.)
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from asyncio import CancelledError, get_running_loop
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

import wrapt

from .call import Attempt, Call, Run, begin, current, hints_now, inherit, within
from .errors import Rejected, TimedOut
from .events import AttemptFinished, AttemptStarted, CallFinished, CallStarted
from .order import warn
from .providers.usage import usage_of
from .pump import Pump
from .readers import BoundStream, Generated
from .streaming import Opened, drive_on, generate, is_stream, no_streams, pull
from .tasks import task_of

if TYPE_CHECKING:
    from .layer import Layer

F = TypeVar("F", bound=Callable[..., Any])


def _unobserved(_run: Run, _call: Call) -> None:
    """Nobody observes."""


class _Switch:
    """What is set once from above: who observes calls, and whether layers are passed through in tests."""

    __slots__ = ("disabled", "observe")

    def __init__(self) -> None:
        self.disabled = 0
        self.observe: Callable[[Run, Call], None] = _unobserved


switch = _Switch()

_NOT_ASYNC = (
    "{name} is not asynchronous: sluiceway's layers wrap `async def` functions. For OpenAI use `AsyncOpenAI` "
    "instead of `OpenAI` and `await` its calls"
)


# ------------------------------------------------------------------ the innermost step


async def invoke(call: Call) -> Any:
    """Call the provider once, as an attempt."""
    run = call.run
    now = run.time()
    attempts = run.attempts
    run.last = call.record = attempt = Attempt(len(attempts) + 1, now, call.kwargs)
    attempts.append(attempt)
    if run.listening:
        run.sink(AttemptStarted(now, call, attempt))
    token = current.set(call)
    try:
        result = call.function(*call.args, **call.kwargs)
        if type(result) is CoroutineType:
            result = await result
        elif not is_stream(result):
            result = await _awaitable(result, run.name)
    except BaseException as error:
        current.reset(token)
        _failed(call, attempt, error)
        raise
    current.reset(token)
    if type(result) not in no_streams and is_stream(result):
        await _through(call, attempt, pull(call, attempt, result))
        return None
    attempt.result = result
    attempt.usage = usage_of(result)
    attempt.outcome = "ok"
    attempt.ended_at = now = run.time()
    if run.listening:
        run.sink(AttemptFinished(now, call, attempt))
    return result


async def invoke_generator(call: Call) -> None:
    """Call an async generator function once, as an attempt."""
    run = call.run
    now = run.time()
    run.last = call.record = attempt = Attempt(len(run.attempts) + 1, now, call.kwargs)
    run.attempts.append(attempt)
    if run.listening:
        run.sink(AttemptStarted(now, call, attempt))
    await _through(call, attempt, generate(call, attempt, call.function(*call.args, **call.kwargs)))


async def _through(call: Call, attempt: Attempt, items: Awaitable[None]) -> None:
    """Run a stream to its end and close the record of its attempt."""
    try:
        await items
    except BaseException as error:
        attempt.usage = attempt.reader.usage if attempt.reader is not None else None
        _failed(call, attempt, error)
        raise
    attempt.usage = attempt.reader.usage
    attempt.outcome = "ok"
    attempt.ended_at = now = call.run.time()
    if call.run.listening:
        call.run.sink(AttemptFinished(now, call, attempt))


def _failed(call: Call, attempt: Attempt, error: BaseException) -> None:
    run = call.run
    attempt.error = error
    attempt.outcome = "error" if isinstance(error, Exception) else "cancelled"
    attempt.ended_at = now = run.time()
    if attempt.usage is None:
        attempt.usage = usage_of(error)  # an answer cut off by its limit is an error in some clients, and billed
    if attempt.status is None:
        with contextlib.suppress(Exception):  # a property of somebody's error; it must not replace the error
            response = getattr(error, "response", None)
            if response is not None:
                attempt.status = getattr(error, "status_code", None)
                attempt.headers = getattr(response, "headers", None)
    if run.listening:
        run.sink(AttemptFinished(now, call, attempt))


# ------------------------------------------------------------------ the pipeline as one function


class Chain:
    """Layers put together around the innermost step; made once, serves any number of functions and calls."""

    __slots__ = ("generator", "layers", "name", "plain")

    def __init__(self, layers: Sequence[Layer], name: str | None = None) -> None:
        """Put *layers* together, outermost first; *name* stands for the function's own in spans and logs."""
        self.layers = tuple(layers)
        self.name = name
        self.plain = compose(self.layers, invoke)
        self.generator = compose(self.layers, invoke_generator)
        for layer in self.layers:
            layer.stand_among(self.layers)


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
        return result if is_stream(result) else await _awaitable(result, name)
    context = copy_context()
    loop = get_running_loop()  # from here on `begin`, written out: as a call it is a twentieth of all that a call costs
    parent = current.get()
    said = hints = hints_now.get()
    if parent is not None:
        parent, hints = inherit(parent, said)
    run = Run(loop, task_of(loop), context, chain.layers, name, parent, said)
    call = Call(function, args, kwargs, instance, run, hints)
    context.run(switch.observe, run, call)
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
    if run.listening or run.counted is not None:
        finish(call, None)
    return out


async def _by_deadline(proceed: Callable[[Call], Awaitable[Any]], call: Call) -> Any:
    """Hold a call to the deadline that its caller gave, whatever layers it has."""
    deadline = call.hints.deadline
    assert deadline is not None
    with within(call, max(0.0, deadline - call.started_at), "deadline"):
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
        context.run(switch.observe, call.run, call)
        proceed = chain.generator if call.hints.deadline is None else functools.partial(_by_deadline, chain.generator)
        if call.run.listening:
            call.run.sink(CallStarted(call.run.started_at, call))
        return Pump(proceed(call), call, finish)

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


# ------------------------------------------------------------------ the edge


class Bound(wrapt.ObjectProxy[Any]):
    """A function seen through its layers; everything but calling it is the function's own."""

    def __init__(self, function: Callable[..., Any], chain: Chain, *, method: bool = False) -> None:
        super().__init__(function)
        name = chain.name or name_of(function)
        self._self_chain = chain
        self._self_binds = _binds(function)
        self._self_method: Bound | None = None
        start = start_generator if is_generator(function) else run_call
        self._self_start = (
            _as_method(start, chain, function, name)
            if method
            else functools.partial(start, chain, function, name, instance_of(function))
        )

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Start a call."""
        return self._self_start(args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if not self._self_binds:
            return self
        method = self._self_method
        if method is None:
            self._self_method = method = Bound(self.__wrapped__, self._self_chain, method=True)
            method._self_method = method
        return method if instance is None else types.MethodType(method, instance)

    def __reduce_ex__(self, protocol: Any) -> str:
        return str(self.__wrapped__.__qualname__)

    def __copy__(self) -> Bound:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Bound:
        return self


def _binds(function: Any) -> bool:
    """Whether Python would give *function*, as an attribute of a class, the instance: not so a bound method."""
    get = getattr(type(function), "__get__", None)
    return get is not None and get(function, function, type(function)) is not function


def instance_of(function: Any) -> Any:
    """Return the object whose method *function* is, or its class; None for a function."""
    return function.__self__ if isinstance(function, types.MethodType) else None


def _as_method(start: Callable[..., Any], chain: Chain, function: Any, name: str) -> Callable[..., Any]:
    """Return the start of a call whose first argument is the instance (or class) it is a method of."""

    def start_method(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not args:
            return start(chain, function, name, None, args, kwargs)
        instance = args[0]
        return start(chain, types.MethodType(function, instance), name, instance, args[1:], kwargs)

    return start_method


def bind(function: F, layers: Sequence[Layer], name: str | None = None) -> F:
    """Return *function* with *layers* around it, outermost first; layers that it has already stay inside.

    Raises:
        TypeError: *function* is not asynchronous, not a function, or one that a layer cannot stand around.
        ValueError: the same stateful layer would stand twice in the pipeline.
    """
    target: Any = function
    kind = type(target) if isinstance(target, (classmethod, staticmethod)) else None
    if kind is not None:
        target = target.__func__
    inner: tuple[Layer, ...] = ()
    chain = chain_of(target)
    if chain is not None:
        inner = chain.layers
        name = name or chain.name
        target = _unbound(target)
    require_async(target)
    for layer in layers:
        layer.check_function(target)
    everything = (*layers, *inner)
    warn(name or name_of(target), everything, (layers, inner), stacklevel=3)
    bound = Bound(target, Chain(everything, name))
    if kind is classmethod:  # which from Python 3.13 on calls what it holds with the class, unasked
        bound = bound.__get__(None, object)
    return bound if kind is None else kind(bound)  # type: ignore[return-value]


def chain_of(function: Any) -> Chain | None:
    """Return the chain of a bound function, None of any other object."""
    target = function
    if type(function) in (
        types.MethodType,
        classmethod,
        staticmethod,
    ):  # by type: a proxy of a method is an instance too
        target = function.__func__
    return target._self_chain if type(target) is Bound else None  # noqa: SLF001 - wrapt's way to keep it from the function


def _unbound(function: Any) -> Any:
    """Return the raw function of a bound one; a method of an instance stays one."""
    if type(function) is types.MethodType:
        method: Any = function.__func__
        return types.MethodType(method.__wrapped__, function.__self__)
    return function.__wrapped__


def layers_of(function: Callable[..., Any]) -> tuple[Layer, ...]:
    """Return the layers around *function*, outermost first; none if it is not bound."""
    chain = chain_of(function)
    return () if chain is None else chain.layers


def require_async(function: Any) -> None:
    """Refuse what is known not to be asynchronous; what only its first call can tell passes.

    Raises:
        TypeError: *function* is not callable, is a class, or is a synchronous function.
    """
    if not callable(function) or isinstance(function, type):
        raise TypeError(
            f"{type(function).__name__} object is no function that layers could wrap: give an `async def` function"
        )
    inner = inspect.unwrap(function)
    if any(_known_async(f) for f in (function, inner, _called(function))):
        return
    plain = inner.__func__ if isinstance(inner, types.MethodType) else inner
    if isinstance(plain, types.FunctionType) and plain.__name__ != "<lambda>":
        raise TypeError(_NOT_ASYNC.format(name=name_of(function)))


def _called(function: Any) -> Any:
    """Return the code that runs when the object *function* is called."""
    return getattr(type(function), "__call__", None)  # noqa: B004 - the code is wanted, not whether there is some


def _known_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def is_generator(function: Any) -> bool:
    """Whether a call of *function* is read, not awaited: it returns an async generator."""
    if inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(_called(function)):
        return True
    # a plain wrapper around one returns the generator, and is called without `await`
    return not inspect.iscoroutinefunction(function) and inspect.isasyncgenfunction(inspect.unwrap(function))


async def _awaitable(result: Any, name: str) -> Any:
    if not inspect.isawaitable(result):
        raise TypeError(_NOT_ASYNC.format(name=name))
    return await result


def name_of(function: Any) -> str:
    """Return what calls of *function* are named, without where it was defined."""
    name = getattr(function, "__qualname__", None) or getattr(getattr(function, "func", None), "__qualname__", None)
    return str(name or type(function).__qualname__).rpartition("<locals>.")[2]
