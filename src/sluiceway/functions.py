"""What kinds of functions there are: asynchronous or not, generators, methods."""

from __future__ import annotations

import inspect
import types
from typing import Any

NOT_ASYNC = (
    "{name} is not asynchronous: sluiceway's layers wrap `async def` functions. For OpenAI use `AsyncOpenAI` "
    "instead of `OpenAI` and `await` its calls"
)


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
        raise TypeError(NOT_ASYNC.format(name=name_of(function)))


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


def instance_of(function: Any) -> Any:
    """Return the object whose method *function* is, or its class; None for a function."""
    return function.__self__ if isinstance(function, types.MethodType) else None


async def awaited(result: Any, name: str) -> Any:
    """Await *result* of the function *name*.

    Raises:
        TypeError: it cannot be awaited: the function was synchronous after all.
    """
    if not inspect.isawaitable(result):
        raise TypeError(NOT_ASYNC.format(name=name))
    return await result


def require_plain(hook: Any, name: str) -> None:
    """Refuse *hook*, the argument *name*, unless it can be called with an event: nobody would await it.

    Raises:
        TypeError: it is not callable, or a coroutine function.
    """
    if not is_plain(hook):
        raise TypeError(f"{name}={hook!r} must be a plain function of one event")


def is_plain(hook: Any) -> bool:
    """Whether *hook* is done when its call returns: neither it nor, if it is an object, its `__call__` is async."""
    return callable(hook) and not any(map(_known_async, (hook, _called(hook))))


def name_of(function: Any) -> str:
    """Return what calls of *function* are named, without where it was defined."""
    name = getattr(function, "__qualname__", None) or getattr(getattr(function, "func", None), "__qualname__", None)
    return str(name or type(function).__qualname__).rpartition("<locals>.")[2]


def shown(value: object) -> str:
    """Return *value* as a setting is shown to people: functions and classes by their names, all else by `repr`."""
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    if type(value) is tuple and any(callable(each) for each in value):
        return f"({', '.join(map(shown, value))}{',' if len(value) == 1 else ''})"
    return repr(value)
