"""Arguments of a call, by name, however its caller gave them."""

from __future__ import annotations

import inspect
from functools import lru_cache
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluiceway.call import Call

_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether *function* has a parameter *name* or takes any; also if it has no signature that could tell."""
    parameters = _parameters(function)
    if parameters is None:
        return True
    found = parameters.get(name)
    if found is not None and found.kind in _NAMED:
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def argument(call: Call, name: str) -> Any:
    """Return what *call* gives for its parameter *name*, else the parameter's default, else None."""
    return given(call.function, call.args, call.kwargs, name)


def given(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> Any:
    """Return what ``function(*args, **kwargs)`` gives for *name*, else the parameter's default, else None."""
    if name in kwargs:
        return kwargs[name]
    try:  # most functions of most calls have nothing more to tell, and this is on the path of each
        if not (args or function.__defaults__ or function.__kwdefaults__):
            return None
    except AttributeError:  # a partial, an object that can be called
        pass
    place, default = _place(function, name)
    return args[place] if place is not None and place < len(args) else default


def by_name(call: Call, names: tuple[str, ...]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments of *call*, those of *names* by name also where they were given by position or by default."""
    function: Any = call.function
    args = call.args
    try:
        if not (args or function.__defaults__ or function.__kwdefaults__):  # as in `given`
            return args, call.kwargs
    except AttributeError:
        pass
    places = _places(function, names)
    if not places:
        return args, call.kwargs
    kwargs = dict(call.kwargs)
    moved = set()
    for name, place, value in places:
        if name in kwargs:
            continue
        if place is not None and place < len(args):
            moved.add(place)
            kwargs[name] = args[place]
        elif value is not None:
            kwargs[name] = value
    return (tuple(each for i, each in enumerate(args) if i not in moved) if moved else args), kwargs


def with_arguments(
    call: Call, attempt: int, kwargs: Mapping[str, Any], function: Callable[..., Any] | None = None
) -> Call:
    """Return a copy of *call* for attempt number *attempt* with *kwargs* in place of what its caller gave.

    What was given by position is replaced there, so that nothing is given twice.
    """
    args = call.args
    named = call.kwargs
    if args and kwargs:
        given = list(args)
        named = dict(named)
        for name, value in kwargs.items():
            place, _ = _place(call.function, name)
            if place is not None and place < len(given):
                given[place] = value
            else:
                named[name] = value
        args = tuple(given)
    elif kwargs:
        named = {**named, **kwargs}
    return call.altered(attempt, function=function, args=args, kwargs=named)


def _place(function: Callable[..., Any], name: str) -> tuple[int | None, Any]:
    """Return where *function* takes *name* by position, and the default of that parameter."""
    for _, place, default in _places(function, (name,)):
        return place, default
    return None, None


def _places(function: Callable[..., Any], names: tuple[str, ...]) -> tuple[tuple[str, int | None, Any], ...]:
    """Return those parameters of *function* that have one of *names*: the name, its place and its default."""
    try:
        if type(function) is MethodType:
            return _known(function.__func__, names, 1)
        return _known(function, names, 0)
    except TypeError:  # an object that is callable and not hashable
        return _found(function, names, 0)


def _found(function: Callable[..., Any], names: tuple[str, ...], bound: int) -> tuple[tuple[str, int | None, Any], ...]:
    return tuple(
        (
            parameter.name,
            place - bound if parameter.kind in _POSITIONAL else None,
            None if parameter.default is parameter.empty else parameter.default,
        )
        for place, parameter in enumerate((_parameters(function) or {}).values())
        if parameter.name in names
    )


_known = lru_cache(maxsize=256)(_found)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
