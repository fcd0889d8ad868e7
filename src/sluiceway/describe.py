"""What a pipeline is made of and what it holds, for people."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .binding import chain_of
from .functions import name_of
from .layer import Layer, Pipeline
from .order import amplification, check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class LayerDescription:
    """One layer: its name and every setting, as given or by default."""

    name: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={_show(value)}" for name, value in self.settings.items() if value is not None)
        return f"{self.name}({shown})"


@dataclass(frozen=True, slots=True)
class Description:
    """A pipeline: its layers, outermost first, what is unwise about them, and how they multiply attempts.

    Attributes:
        name: of the pipeline or the function.
        layers: outermost first.
        warnings: a sentence each.
        amplification: how many attempts one call can make at the most.
    """

    name: str
    layers: tuple[LayerDescription, ...]
    warnings: tuple[str, ...]
    amplification: int

    def __str__(self) -> str:
        lines = [f"{self.name} (outermost first)"]
        lines += [f"  {layer}" for layer in self.layers] or ["  no layers"]
        lines.append(f"  at most {self.amplification} attempt{'s' if self.amplification > 1 else ''} a call")
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def describe(target: Layer | Callable[..., Any]) -> Description:
    """Return what *target*, a pipeline, a layer or a bound function, is made of; print it to read it.

    Raises:
        TypeError: *target* is neither a layer nor a function with layers.
    """
    name, layers = _parts(target)
    described = tuple(LayerDescription(layer.name, MappingProxyType(dict(layer.settings()))) for layer in layers)
    return Description(name, described, tuple(check(layers)), amplification(layers))


def snapshot(target: Layer | Callable[..., Any]) -> dict[str, Any]:
    """Return the state of each layer of *target* that has one, by name; a name's second layer is `"name 2"`.

    Raises:
        TypeError: *target* is neither a layer nor a function with layers.
    """
    shots: dict[str, Any] = {}
    for layer in _parts(target)[1]:
        shot = layer.snapshot()
        if shot is not None:
            shots[_free(layer.name, shots)] = shot
    return shots


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number = 1
    key = name
    while key in taken:
        number += 1
        key = f"{name} {number}"
    return key


def _parts(target: Layer | Callable[..., Any]) -> tuple[str, tuple[Layer, ...]]:
    chain = chain_of(target)
    if chain is not None:
        return chain.name or name_of(target), chain.layers
    if isinstance(target, Pipeline):
        return target.name, target.layers
    if isinstance(target, Layer):
        return target.name, (target,)
    raise TypeError(f"{type(target).__name__} object has no layers: give a pipeline, a layer or a decorated function")


def _show(value: object) -> str:
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    return repr(value)
