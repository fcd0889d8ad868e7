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
    if name in call.kwargs:
        return call.kwargs[name]
    place, default = _place(call, name)
    return call.args[place] if place is not None and place < len(call.args) else default


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
            place, _ = _place(call, name)
            if place is not None and place < len(given):
                given[place] = value
            else:
                named[name] = value
        args = tuple(given)
    elif kwargs:
        named = {**named, **kwargs}
    return call.altered(attempt, function=function, args=args, kwargs=named)


def _place(call: Call, name: str) -> tuple[int | None, Any]:
    """Return where the function of *call* takes *name* by position, and the default of that parameter."""
    function = call.function
    try:
        if type(function) is MethodType:
            place, default = _known(function.__func__, name)
            return None if place is None else place - 1, default
        return _known(function, name)
    except TypeError:  # an object that is callable and not hashable
        return _found(function, name)


def _found(function: Callable[..., Any], name: str) -> tuple[int | None, Any]:
    parameters = _parameters(function) or {}
    for place, parameter in enumerate(parameters.values()):
        if parameter.name == name:
            default = None if parameter.default is parameter.empty else parameter.default
            return (place if parameter.kind in _POSITIONAL else None), default
    return None, None


_known = lru_cache(maxsize=256)(_found)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
