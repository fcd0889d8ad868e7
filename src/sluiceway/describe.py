"""What a pipeline is made of and what it holds, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .algorithms.retry_budget import RetryBudget
from .binding import chain_of
from .functions import name_of, shown
from .layer import Layer, Pipeline
from .layers.deployment import Deployment
from .order import amplification, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Registry
    from .config.sources import Format


@dataclass(frozen=True, slots=True, eq=False)
class LayerDescription:
    """One layer: its name, every setting, as given or by default, and its class.

    Two are equal if the same was said of both, also where it was said by different objects.
    """

    name: str
    settings: Mapping[str, Any]
    kind: type[Any] = field(default=Layer, repr=False, compare=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LayerDescription):
            return NotImplemented
        return self.name == other.name and _said(self.settings) == _said(other.settings)

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        said = ", ".join(f"{name}={shown(value)}" for name, value in self.settings.items() if value is not None)
        return f"{self.name}({said})"


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

    def to_config(self, format: Format = "toml", *, registry: Registry | None = None) -> str:
        """Return a file of which `sluiceway.config.load` makes the same pipeline; what is by default is left out.

        A limit that it shares with others is written as its own.

        Args:
            format: `"toml"`, `"yaml"` or `"json"`.
            registry: names functions, layers and other objects that cannot be written; give the same to `load`.

        Raises:
            ConfigError: a setting is something without a name, or a secret that is not from the environment; or None
                where that is no default, which TOML cannot say.
            MissingExtra: it is YAML, and PyYAML is not installed.
        """
        from .config import Registry  # noqa: PLC0415 - loads pydantic, which `import sluiceway` does not
        from .config.writing import mapping_of, text_of  # noqa: PLC0415 - as above

        layers = [(layer.kind, layer.settings) for layer in self.layers]
        return text_of(mapping_of(self.name, layers, registry or Registry()), format)


def describe(target: Layer | Callable[..., Any]) -> Description:
    """Return what *target*, a pipeline, a layer or a bound function, is made of; print it to read it.

    Raises:
        TypeError: *target* is neither a layer nor a function with layers.
    """
    name, layers = _parts(target)
    described = tuple(
        LayerDescription(layer.name, MappingProxyType(dict(layer.settings())), type(layer)) for layer in layers
    )
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


def _said(value: Any) -> Any:
    """Return *value* with what was said of it in place of objects that are equal to themselves alone."""
    if isinstance(value, Mapping):
        return {name: _said(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_said(each) for each in value]
    if isinstance(value, Layer):
        return type(value), _said(value.settings())
    if isinstance(value, Deployment):
        return value.name, _said(value.kwargs), _said(value.layers), value.weight, value.function
    if isinstance(value, RetryBudget):
        return RetryBudget, value.minimum, value.ratio
    return value
