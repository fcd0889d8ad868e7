"""One of several ways to the same answer: a key, a model, an endpoint, with limits of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sluiceway.algorithms.rates import positive
from sluiceway.arguments import takes
from sluiceway.functions import is_generator, name_of, require_async
from sluiceway.layer import Layer, flat
from sluiceway.layers.observed import observed
from sluiceway.order import warn

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class DeploymentSnapshot:
    """How one deployment of a `routed` layer is doing.

    Attributes:
        name: its name.
        in_flight: calls inside; calls: all that it was asked for; failures: those that were its own.
        latency: peak EWMA of its answers in seconds, a stream's to the first item; 0 before the first.
        avoided_for: seconds for which others come first, since it failed several times in a row.
        layers: the snapshots of its layers that have one.
    """

    name: str
    in_flight: int
    calls: int
    failures: int
    latency: float
    avoided_for: float
    layers: tuple[Any, ...]


class Deployment:
    """A key, model or endpoint that `routed` may choose; do not change it.

    ``Deployment("eu", kwargs={"client": eu, "model": "gpt-4o"}, layers=[rate_limited(rpm=500), circuit_breaker()])``.
    What stands in `kwargs` is never shown, only the names.

    Args:
        name: what it is called in spans, logs and metrics.
        kwargs: replace arguments of the call.
        layers: its own limits and breaker, outermost first. An object that stands in several deployments is shared by
            them, as the limit of an account with several keys would be.
        weight: its share of the calls, above 0.
        function: called instead of the decorated function, with the same arguments.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the name is empty, the weight not above 0, a layer object stands twice, or one is `observed`.
    """

    __slots__ = ("function", "kwargs", "layers", "name", "weight")

    def __init__(
        self,
        name: str,
        kwargs: Mapping[str, Any] | None = None,
        layers: Sequence[Layer] = (),
        weight: float = 1.0,
        function: Callable[..., Any] | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name={name!r} must be a str")
        if not name:
            raise ValueError("name='' must have at least one letter")
        if kwargs is not None and (not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs)):
            raise TypeError(f"kwargs of deployment {name!r} must be a mapping of names of arguments to values")
        if not isinstance(layers, Sequence):
            raise TypeError(f"layers={layers!r} of deployment {name!r} must be a list of layers, such as [bounded(30)]")
        for each in layers:
            if not isinstance(each, Layer):
                kind = type(each).__name__
                raise TypeError(f"layers of deployment {name!r} must be layers such as bounded(30), not of type {kind}")
        if function is not None:
            require_async(function)
        self.name = name
        self.kwargs: Mapping[str, Any] = MappingProxyType(dict(kwargs or {}))
        self.layers = flat(tuple(layers))
        if any(isinstance(each, observed) for each in self.layers):
            raise ValueError(
                f"observed in deployment {name!r} would hear nothing, since who hears a call is found out before it is "
                "routed: put it outside of routed"
            )
        self.weight = positive(weight, "weight")
        self.function = function
        warn(f"deployment {name}", self.layers, [flat((layer,)) for layer in layers], stacklevel=2)

    def check_function(self, function: Callable[..., Any]) -> None:
        """Refuse *function* if it could not be called with the arguments of this deployment.

        Raises:
            TypeError: it lacks a parameter, or one of the two is an async generator and the other is not.
        """
        asked = function if self.function is None else self.function
        for name in self.kwargs:
            if not takes(asked, name):
                raise TypeError(f"{name_of(asked)} has no parameter `{name}`, which deployment {self.name!r} gives it")
        if is_generator(asked) != is_generator(function):
            raise TypeError(
                f"{name_of(function)} and {name_of(asked)} of deployment {self.name!r} must both be async generators, "
                "or neither"
            )
        for layer in self.layers:
            layer.check_function(asked)

    def __repr__(self) -> str:
        parts = [repr(self.name)]
        if self.kwargs:
            parts.append(f"kwargs=<{', '.join(self.kwargs)}>")
        if self.layers:
            parts.append(f"layers={list(self.layers)!r}")
        if self.weight != 1:
            parts.append(f"weight={self.weight:g}")
        if self.function is not None:
            parts.append(f"function={name_of(self.function)}")
        return f"Deployment({', '.join(parts)})"
