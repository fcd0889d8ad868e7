"""Which layers there are: ours, and those that installed packages bring."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from sluiceway.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

GROUP: Final = "sluiceway.layers"


def with_those_of_packages(ours: Mapping[str, type[Layer]]) -> dict[str, type[Layer]]:
    """Return *ours* and the layers that entry points of `GROUP` name, by name.

    Raises:
        ValueError: two packages bring different layers of one name, or one has the name of ours.
        TypeError: an entry point leads to something that is no layer class.
        ImportError: an entry point leads nowhere.
    """
    found = dict(ours)
    owners = dict.fromkeys(ours, "sluiceway itself")
    for point in sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
        layer = _loaded(point)
        owner = _owner(point)
        if found.get(point.name, layer) is not layer:
            raise ValueError(
                f"two layers are called {point.name!r}: one of {owners[point.name]}, and {point.value} of {owner}; "
                "rename one of them in its package's entry points, or uninstall it"
            )
        found[point.name] = layer
        owners.setdefault(point.name, f"{owner} ({point.value})")
    return dict(sorted(found.items()))


def _loaded(point: EntryPoint) -> type[Layer]:
    try:
        layer: Any = point.load()
    except (ImportError, AttributeError) as error:
        raise ImportError(f"the layer {point.name!r} of {_owner(point)} cannot be had: {point.value}") from error
    if not isinstance(layer, type) or not issubclass(layer, Layer):
        raise TypeError(f"{point.value} of {_owner(point)} is no class of layers, but is named as one: {point.name!r}")
    return layer


def _owner(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"the package {point.dist.name}"
