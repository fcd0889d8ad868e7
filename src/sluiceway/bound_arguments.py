"""The arguments of a call by parameter, however its caller gave them, defaults included."""

from __future__ import annotations

import inspect
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def bound_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """Return the full name of *function* and its arguments by parameter.

    Those of `*args` are named ``*args[0]``, those of `**kwargs` by their own names, or ``**name`` where a parameter has
    it. Arguments that the function itself will refuse are named as far as they can be.
    """
    known = _functions.get(id(function))
    if known is None:
        while isinstance(function, partial):
            args = (*function.args, *args)
            kwargs = {**function.keywords, **kwargs}
            function = function.func
        plain = _plain(function)
    else:
        plain = known[1]
    if plain is not None:
        if plain.bare is not None and not args and not kwargs:
            return plain.bare
        name, places, defaults, total, _ = plain
        if len(args) <= len(places):
            given = dict(zip(places, args, strict=False)) if args else {}
            arguments = {**(_defaults(function, places) if defaults is None else defaults), **given, **kwargs}
            if len(arguments) == total and (not given or kwargs.keys().isdisjoint(given)):
                return name, arguments
    return _by_signature(function, args, kwargs)


class _Plain(NamedTuple):
    """The parameters of a function that can all be given by name.

    Attributes:
        name: of the function, in full.
        places: those that can be given by position, in order.
        defaults: of those that have one; None if one of them may refer back to the function.
        total: how many there are.
        bare: the name and the defaults, if they are all that it needs.
    """

    name: str
    places: tuple[str, ...]
    defaults: dict[str, Any] | None
    total: int
    bare: tuple[str, dict[str, Any]] | None


_ATOMS: Final = frozenset((type(None), bool, int, float, str, bytes))
_Known: TypeAlias = "dict[int, tuple[ref[FunctionType], _Plain | None]]"
_functions: Final[_Known] = {}  # by identity: a weak dictionary takes three times as long
_methods: Final[_Known] = {}


def _plain(function: Callable[..., Any]) -> _Plain | None:
    """Return the parameters of *function*; None if some of them stand for any number, or have no name.

    It takes 20 us to find out, and is kept for as long as the function lives, without anything that may refer to it.
    """
    known, bound = _functions, 0
    if type(function) is MethodType:
        known, bound = _methods, 1
        function = function.__func__
    if type(function) is not FunctionType:
        return None
    place = id(function)
    found = known.get(place)
    if found is None:
        found = known[place] = ref(function, lambda _: known.pop(place, None)), _found(function, bound)
    return found[1]


def _found(function: FunctionType, bound: int) -> _Plain | None:
    parameters = list(inspect.signature(function).parameters.values())
    if any(each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) for each in parameters):
        return None
    places = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    if len(places) < bound:
        return None
    del parameters[:bound]
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    simple = all(type(value) in _ATOMS for value in defaults.values())
    if not simple:
        inner = inspect.unwrap(function, stop=_says_itself)
        if type(inner) is not FunctionType or _says_itself(inner):
            return None
    name, total = _full_name(function), len(parameters)
    bare = (name, defaults) if simple and len(defaults) == total else None
    return _Plain(name, tuple(places[bound:]), defaults if simple else None, total, bare)


def _says_itself(function: Any) -> bool:
    return hasattr(function, "__signature__")


def _defaults(function: Any, places: tuple[str, ...]) -> dict[str, Any]:
    """Return the defaults of *function*, which takes *places* by position."""
    inner = getattr(function, "__func__", function)
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    last = zip(reversed(places), reversed(inner.__defaults__ or ()), strict=False)
    return {**dict(last), **(inner.__kwdefaults__ or {})}


def _by_signature(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    name = _full_name(function)
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):  # no signature to be had; or arguments that the function itself shall refuse
        return name, {**{str(i): value for i, value in enumerate(args)}, **kwargs}
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(_beside(arguments, arguments.pop(parameter.name)))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            rest = arguments.pop(parameter.name)
            arguments.update({f"*{parameter.name}[{i}]": value for i, value in enumerate(rest)})
    return name, arguments


def _full_name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}.{name}"


def _beside(taken: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return *extra* keyword arguments, renamed where a parameter that is given by position has their name."""
    return {f"**{name}" if name in taken else name: value for name, value in extra.items()}
