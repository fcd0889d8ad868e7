"""The one wrapt edge: layers and a function make a bound function.

However many decorators are stacked, there is one proxy and one `Call`: a decorator on a bound function makes a new
proxy of the same raw function with its layer in front. (Eight stacked proxies cost seven times as much.)
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import wrapt

from .functions import instance_of, is_generator, name_of, require_async
from .order import warn
from .running import Chain, layers_in, run_call, start_generator

if TYPE_CHECKING:
    from .layer import Layer

F = TypeVar("F", bound=Callable[..., Any])

_CLASSMETHODS_CALL: Final = sys.version_info >= (3, 13)
"""Whether a classmethod calls what it holds with the class, instead of asking it to bind itself."""


class Bound(wrapt.ObjectProxy[Any]):
    """A function seen through its layers; everything but calling it is the function's own."""

    def __init__(self, function: Callable[..., Any], chain: Chain, *, method: bool = False) -> None:
        super().__init__(function)
        name = chain.name or name_of(function)
        self._self_chain = chain
        self._self_binds = _binds(function)
        self._self_method: Bound | None = None
        start = start_generator if is_generator(function) else run_call
        as_method = _as_method(start, chain, function, name)
        as_function = functools.partial(start, chain, function, name, instance_of(function))
        self._self_start = as_method if method else as_function
        if not method and _CLASSMETHODS_CALL and self._self_binds and "." in getattr(function, "__qualname__", ""):
            self._self_start = lambda args, kwargs: (as_method if _in_its_class(self, args) else as_function)(
                args, kwargs
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
    if isinstance(function, functools.partial):  # until 3.14 not; 3.13 warns whoever asks it
        return sys.version_info >= (3, 14)
    get = getattr(type(function), "__get__", None)
    return get is not None and get(function, function, type(function)) is not function


def _in_its_class(bound: Bound, args: tuple[Any, ...]) -> bool:
    """Whether the first of *args* is the class that *bound* is called for, since a classmethod holds it there."""
    if not args or not isinstance(args[0], type):
        return False
    for kind in args[0].__mro__:
        found = kind.__dict__.get(bound.__name__)
        if found is not None:
            return isinstance(found, classmethod) and found.__func__ is bound
    return False


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
        inner = chain.parts
        name = name or chain.name
        target = _unbound(target)
    require_async(target)
    for layer in layers:
        layer.check_function(target)
    everything = (*layers, *inner)
    warn(name or name_of(target), layers_in(everything), (layers_in(layers), layers_in(inner)), stacklevel=3)
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
