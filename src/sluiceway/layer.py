"""What every layer is, and layers in order."""

from __future__ import annotations

import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

from .binding import bind, chain_of
from .client import wrap_client
from .functions import instance_of, is_generator, name_of, require_async, shown
from .invocation import invoke
from .order import Role, amplification, warn
from .room import FREE, Room
from .running import Chain, compose, layers_in, run_call

if TYPE_CHECKING:
    from weakref import WeakSet

    from .call import Call, Proceed

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")

_ANY_NUMBER: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Layer(ABC):
    """One behaviour around a call; a decorator and a stage of a pipeline alike.

    A layer object is its state: use one object on two functions and they share the limit; make two and they do not.

    Write one by defining `handle`. Never hold `asyncio.timeout`, a `TaskGroup`, `asyncio.current_task()` or a
    contextvar token across `proceed`: for a stream the pipeline is suspended between two items and may go on in
    another task. For a time limit there is `call.within(seconds)`.
    """

    role: ClassVar[Role] = Role.OTHER
    """What it does, for the checks of the order of layers."""
    stateful: ClassVar[bool] = True
    """Whether the same object twice in one pipeline is an error."""
    takes_functions: ClassVar[bool] = False
    """Whether its first argument may be a function; otherwise that is a decorator without its parentheses."""
    followers: ClassVar[WeakSet[Chain] | None] = None
    """The chains to be told when what it is made of changes; None if it never does."""

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments for `describe`, and catch a decorator written without parentheses."""
        if args and not cls.takes_functions and _is_function(args[0]):
            name, needed = cls.__name__, ", ".join(_needed(cls))
            how = "with its arguments" if needed else "with parentheses"
            raise TypeError(f"write @{name}({needed}), {how}: {name} got a function as its first argument")
        self = super().__new__(cls)
        self._given = (args, kwargs)
        return self

    @abstractmethod
    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* by awaiting ``proceed(call)`` zero, one or many times; return what the caller shall get."""

    def around(self, proceed: Callable[[Call], Awaitable[Any]]) -> Callable[[Call], Awaitable[Any]]:
        """Return *proceed* with this layer around it."""
        handle = self.handle

        def step(call: Call) -> Awaitable[Any]:
            return handle(call, proceed)

        return step

    def check_function(self, function: Callable[..., Any]) -> None:  # noqa: B027 - most layers refuse none
        """Refuse to stand around *function*, when it is decorated and not only when it is called.

        A method is shown as it stands in its class, `self` being its first parameter.

        Raises:
            TypeError: this layer needs something of it that it does not have.
        """

    def stands_for(self) -> tuple[Layer, ...]:
        """Return the layers that run where this one stands: itself, or those of a pipeline."""
        return (self,)

    def renewed(self, fresh: Layer) -> Layer:
        """Return what shall stand here from now on, where other settings are those of *fresh*, of the same class.

        It is *fresh* by default. A layer whose state shall outlive the change takes over the settings and returns
        itself, or hands its state on to *fresh*; if the two do not fit together it returns *fresh* as it is.
        """
        return fresh

    def stand_among(self, layers: Sequence[Layer]) -> None:  # noqa: B027 - most layers need not know
        """Hear with which layers this one was put together, itself among them, outermost first.

        Layers that repeat come to share a budget by that.
        """

    def room(self, call: Call, service: float) -> Room:  # noqa: ARG002 - for layers that make callers wait
        """Return how soon *call* would go on if it came now; takes nothing.

        Args:
            call: who asks.
            service: seconds that a call takes on average once it is let through, for layers that wait for leavers.
        """
        return FREE

    def __call__(self, function: F) -> F:
        """Return *function* with this layer around it, and around the layers that it has already.

        Raises:
            TypeError: *function* is not asynchronous.
            ValueError: this very object is one of its layers already.
        """
        return bind(function, (self,))

    @property
    def name(self) -> str:
        """The layer's name in spans, logs and metrics."""
        return type(self).__name__

    @property
    def attempts(self) -> int:
        """How many attempts this layer can make of one at the most."""
        return 1

    def amplified(self, inner: int) -> int:
        """Return how many attempts a call makes at the most, if what this layer wraps makes *inner* of one."""
        return inner * self.attempts

    @property
    def time_limit(self) -> float | None:
        """The time that it leaves to what it wraps, in seconds."""
        return None

    @property
    def window(self) -> float | None:
        """How far back it looks, in seconds."""
        return None

    @property
    def keyed(self) -> bool:
        """Whether its state is kept apart by a key."""
        return False

    def settings(self) -> Mapping[str, Any]:
        """Return every setting by name, as given or by default."""
        args, kwargs = self._given
        if type(self).__init__ is object.__init__:
            return MappingProxyType({})
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        return MappingProxyType(dict(bound.arguments))

    def snapshot(self) -> Any:
        """Return the layer's state, frozen; None if it has none."""
        return None

    def branches(self) -> Mapping[str, tuple[Layer, ...]]:
        """Return the layers of each way that a call may take inside this one, by the name of the way."""
        return MappingProxyType({})

    def __repr__(self) -> str:
        args, kwargs = self._given
        given = [shown(value) for value in args] + [f"{name}={shown(value)}" for name, value in kwargs.items()]
        return f"{self.name}({', '.join(given)})"


class Pipeline(Layer):
    """Layers in order, outermost first; itself a layer.

    ``Pipeline(timed("60s"), retry_jitter(5), bounded(30), name="chat")`` is used as a decorator, as
    ``pipeline(function)``, as ``await pipeline.call(function, *args)`` and as ``pipeline.wrap(client)``. Pipelines
    inside are taken apart: their layers run as if written here.

    Args:
        layers: layers and pipelines.
        name: stands for the function's own name in spans and logs.

    Raises:
        TypeError: one of them is no layer, or the name no str.
        ValueError: the same stateful layer object stands twice in it, or the name is empty.
    """

    stateful = False
    takes_functions = True  # so that the error below names what is wrong

    def __init__(self, *layers: Layer, name: str | None = None) -> None:
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"{shown(layer)} is not a layer: a Pipeline takes layers such as timed('60s'), outermost first"
                )
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name={name!r} must be a str")
        if name == "":
            raise ValueError("name='' must have at least one letter, or be left out")
        self._chain = Chain(flat(layers), name)
        warn(name or "Pipeline", self.layers, [layers_in((layer,)) for layer in layers], stacklevel=2)

    @property
    def name(self) -> str:
        """The pipeline's name; `"Pipeline"` if it has none."""
        return self._chain.name or "Pipeline"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its layers, outermost first."""
        return self._chain.layers

    @property
    def attempts(self) -> int:
        """How many attempts one call can make: the amplification factor."""
        return amplification(self.layers)

    @property
    def chain(self) -> Chain:
        """The layers put together."""
        return self._chain

    def check_function(self, function: Callable[..., Any]) -> None:
        """Let every layer refuse *function*."""
        for layer in self.layers:
            layer.check_function(function)

    def stands_for(self) -> tuple[Layer, ...]:
        """Return its layers, outermost first."""
        return self.layers

    def room(self, call: Call, service: float) -> Room:
        """Return how soon *call* would be through all layers: as the slowest of them says."""
        return room_in(self.layers, call, service)

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call* through all layers."""
        result: T = await compose(self.layers, proceed)(call)
        return result

    def __call__(self, function: F) -> F:
        """Return *function* with these layers around it; a synchronous one is a `TypeError`."""
        return bind(function, flat((self,)), self._chain.name)

    async def call(self, function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Run ``function(*args, **kwargs)`` once through the layers.

        An async generator function is not called but bound: ``pipeline(function)(...)``.
        """
        require_async(function)
        if is_generator(function):
            raise TypeError("an async generator function has no single result: iterate over pipeline(function)(...)")
        if chain_of(function) is not None:
            return await bind(function, flat((self,)), self._chain.name)(*args, **kwargs)
        self.check_function(function)
        name = self._chain.name or name_of(function)
        result: T = await run_call(self._chain, function, name, instance_of(function), args, kwargs)
        return result

    def wrap(self, client: C) -> C:
        """Return *client*, an `AsyncOpenAI` or alike, with every call to its API going through the layers.

        Everything else is the client's own, so that Instructor and agents take it for what it is. What goes through
        is every `create` and `parse` of its resources, also of copies made by `with_options`. What does not are
        openai's helpers `stream(...)` and `with_streaming_response`, which are no coroutine functions: write
        ``create(..., stream=True)``.
        """
        return wrap_client(client, flat((self,)), self._chain.name)

    def snapshot(self) -> Any:
        """Return the snapshots of the layers that have one, outermost first."""
        return tuple(shot for shot in (layer.snapshot() for layer in self.layers) if shot is not None)

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, self.layers))
        return f"Pipeline({inner}{f', name={self._chain.name!r}' if self._chain.name else ''})"


def flat(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return *layers* with the parts of pipelines in their place; a pipeline that may change stays one part."""
    taken_apart = (
        layer.chain.parts if isinstance(layer, Pipeline) and layer.followers is None else (layer,) for layer in layers
    )
    return tuple(part for parts in taken_apart for part in parts)


def room_in(layers: Iterable[Layer], call: Call, service: float) -> Room:
    """Return how soon *call* would be through all *layers*: the longest wait and the least that is left of them."""
    wait, left = FREE
    for layer in layers:
        other = layer.room(call, service)
        wait, left = max(wait, other.wait), min(left, other.left)
    return Room(wait, left)


def _needed(cls: type[Layer]) -> list[str]:
    """Return the arguments without which no *cls* can be made, as they are to be written."""
    fixed = [each for each in inspect.signature(cls).parameters.values() if each.kind not in _ANY_NUMBER]
    return [f"{each.name}=..." for each in fixed if each.default is each.empty]


def _is_function(value: object) -> bool:
    return isinstance(value, (types.FunctionType, types.MethodType, classmethod, staticmethod))


__all__ = ["Layer", "Pipeline", "flat", "invoke"]
