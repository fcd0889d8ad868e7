"""From what files say to layers and other objects."""

from __future__ import annotations

import builtins
import warnings
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sluiceway.algorithms.retry_budget import RetryBudget
from sluiceway.layer import Layer
from sluiceway.layers import registered
from sluiceway.order import PipelineWarning
from sluiceway.sharing.store import SharedStore

from .items import Item, item_of
from .objects import OBJECTS, class_of, remember
from .problems import Problems, hint, quoted
from .settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .kinds import Kind
    from .problems import Path
    from .registry import Registry
    from .settings import Settings

    Owner: TypeAlias = "tuple[str, ...]"


class Made:
    """A layer that was made, and of what.

    Attributes:
        item: what was said.
        layer: what was made of it.
        inner: the layers that stand in its settings.
    """

    __slots__ = ("inner", "item", "layer")

    def __init__(self, item: Item, layer: Layer, inner: tuple[Layer, ...]) -> None:
        self.item = item
        self.layer = layer
        self.inner = inner


class Maker:
    """Makes the layers of one file, and goes on with those that were made before where it can.

    Args:
        registry: what names stand for.
        problems: hear what is wrong.
        before: who made what the file said before.

    Attributes:
        made: each layer by where it stands.
        objects: what ``{ use = ... }`` in a setting made, and of what, by where it stands.
        stores: stores that processes share, by their settings: those of one server have one connection.
        limits: the shared layers by name.
        warnings: what layers had to say about their settings.
    """

    def __init__(self, registry: Registry, problems: Problems, before: Maker | None = None) -> None:
        self.made: dict[Owner, Made] = {}
        self.objects: dict[tuple[Owner, Path], tuple[Any, Any]] = {}
        self.stores: dict[str, SharedStore] = {}
        self.limits: dict[str, Layer] = {}
        self.shared: dict[str, Item] = {}
        self.warnings: list[str] = []
        self._before = before
        self._registry = registry
        self._problems = problems
        self._layers: dict[str, type[Layer]] = {**registered(), **registry.layers()}
        self._inside: list[list[Layer]] = [[]]
        self._owner: Owner = ()
        self._begun: set[str] = set()

    # ------------------------------------------------------------------ layers

    def layer(self, item: Item, owner: Owner) -> Layer | None:
        """Return the layer of *item*, known as *owner* to a later file; None, and problems noted, if there is none."""
        if owner[0] == "limits":
            self._begun.add(owner[1])
        if item.shared:
            shared = self.limits.get(item.shared)
            if shared is not None:
                self._inside[-1].append(shared)
            return shared
        cls = self._class_of(item)
        if cls is None:
            return None
        self._inside.append([])
        outer, self._owner = self._owner, owner
        try:
            fresh = self._object(cls, item.settings, item.at, item.origin)
        finally:
            self._owner = outer
            inner = tuple(self._inside.pop())
        if fresh is None:
            return None
        layer = self._gone_on(Made(item, fresh, inner), owner)
        self.made[owner] = Made(item, layer, inner)
        self._inside[-1].append(layer)
        return layer

    def _gone_on(self, now: Made, owner: Owner) -> Layer:
        """Return the layer that stood at *owner* before, if it is still what is meant; else what comes of it."""
        old = None if self._before is None else self._before.made.get(owner)
        if old is None or type(old.layer) is not type(now.layer):
            return now.layer
        same = old.item.settings == now.item.settings
        if same and len(old.inner) == len(now.inner) and all(map(_is, old.inner, now.inner)):
            return old.layer
        return old.layer.renewed(now.layer)

    def _class_of(self, item: Item) -> type[Layer] | None:
        found = self._layers.get(item.use)
        if found is None and ":" in item.use:
            found = self._found(item.use, (*item.at, "use"))
            if found is not None and not (isinstance(found, type) and issubclass(found, Layer)):
                self._problems.add((*item.at, "use"), f"{item.use!r} is no class of layers")
                return None
        elif found is None:
            self._problems.add((*item.at, "use"), f"no layer is called {item.use!r}: {hint(item.use, self._layers)}")
        return found

    # ------------------------------------------------------------------ objects

    def _object(self, cls: type, given: Mapping[str, Any], at: Path, origin: Mapping[str, Path]) -> Any:
        """Return a *cls* with the settings that are *given*; None, and problems noted, if they are not right."""
        settings = settings_of(cls)
        given = settings.prepared(given)
        if not settings.check(given, at, origin, self._problems):
            return None
        made = self.settings(settings, given, at, origin)
        return None if made is None else self.tried(cls, made, at, origin)

    def settings(
        self, settings: Settings, given: Mapping[str, Any], at: Path, origin: Mapping[str, Path]
    ) -> dict[str, Any] | None:
        """Return what the values *given* stand for; None, and problems noted, if one stands for nothing."""
        before = self._problems.told
        made = {}
        for name, value in given.items():
            setting = settings.named.get(name)
            made[name] = value if setting is None else self._value(value, setting.kinds, origin.get(name, (*at, name)))
        return made if self._problems.told == before else None

    def tried(self, cls: type, made: Mapping[str, Any], at: Path, origin: Mapping[str, Path]) -> Any:
        """Return a *cls* with the settings *made*; None, and its own words noted, if it refuses them."""
        many = [value for name, value in made.items() if settings_of(cls).many == name]
        named = {name: value for name, value in made.items() if settings_of(cls).many != name}
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                thing = cls(*(many[0] if many else ()), **named)
        except Exception as error:  # noqa: BLE001 - whatever a layer of somebody else's says about its settings
            text = str(error) or type(error).__name__
            name = text.partition("=")[0]
            self._problems.add(origin.get(name, (*at, name)) if name in made else at, text)
            return None
        self.warnings += [str(each.message) for each in caught if issubclass(each.category, PipelineWarning)]
        return thing

    def _value(self, value: Any, kinds: tuple[Kind, ...], at: Path) -> Any:
        """Return what *value*, which is of one of *kinds*, stands for."""
        kind = next((kind for kind in kinds if kind.fits(value)), None)
        make = None if kind is None else self._makers.get(kind.name)
        return value if make is None else make(self, value, kind, at)

    def _several(self, value: list[Any], kind: Kind, at: Path) -> list[Any]:
        return [self._value(each, (kind.inner,), (*at, i)) for i, each in enumerate(value)]

    def _table(self, value: dict[str, Any], kind: Kind, at: Path) -> dict[Any, Any]:
        keys, values = kind.inner
        return {
            self._key(name, keys, (*at, name)): self._value(each, (values,), (*at, name))
            for name, each in value.items()
        }

    def _key(self, name: str, kind: str, at: Path) -> Any:
        if kind == "Fault":
            return int(name) if name.isdecimal() else self._error(name, at)
        if kind == "int":
            if name.lstrip("-").isdecimal():
                return int(name)
            self._problems.add(at, f"{name!r} must be a whole number")
        return name

    def _layer(self, value: dict[str, Any], _: Kind, at: Path) -> Layer | None:
        item = item_of(value, at, self.shared, self._problems)
        if item is None:
            return None
        if item.shared and item.shared not in self._begun:
            self._problems.add((*at, "ref"), f"limits.{item.shared} is made later: write it above")
        return self.layer(item, (*self._owner, *map(str, at)))

    def _record(self, value: dict[str, Any], kind: Kind, at: Path) -> Any:
        return self._object(kind.inner, value, at, {})

    def _budget(self, value: dict[str, Any], _: Kind, at: Path) -> Any:
        return self._object(RetryBudget, value, at, {})

    def _seed(self, value: int, _: Kind, __: Path) -> Random:
        return Random(value)

    def _latency(self, value: Any, _: Kind, __: Path) -> Any:
        return tuple(value) if isinstance(value, list) else value

    def _pair(self, value: list[Any], _: Kind, __: Path) -> tuple[Any, ...]:
        return tuple(value)

    def _function(self, value: Any, _: Kind, at: Path) -> Any:
        return value if not isinstance(value, str) else self._found(value, at)

    def _alternative(self, value: Any, _: Kind, at: Path) -> Any:
        return self._function(value["function"], _, at) if isinstance(value, dict) else value

    def _errors(self, value: Any, _: Kind, at: Path) -> Any:
        if isinstance(value, list):
            return tuple(self._error(each, (*at, i)) for i, each in enumerate(value))
        return self._error(value, at)

    def _error(self, name: Any, at: Path) -> Any:
        if not isinstance(name, str):
            return name
        builtin = getattr(builtins, name, None)
        if isinstance(builtin, type) and issubclass(builtin, Exception):
            return builtin
        return self._found(name, at)

    def _periods(self, value: Any, _: Kind, at: Path) -> Any:
        if isinstance(value, list):
            return tuple(self._periods(each, _, (*at, i)) for i, each in enumerate(value))
        return value if value in ("session", "tenant", "day") else self._function(value, _, at)

    def _made_object(self, value: Any, _: Kind, at: Path) -> Any:
        """Return what a name stands for, or what ``{ use = ... }`` makes."""
        if isinstance(value, str):
            return self._found(value, at)
        place = self._owner, at
        old = None if self._before is None else self._before.objects.get(place)
        made = old[1] if old is not None and old[0] == value else self._used(value, at)
        self.objects[place] = value, made
        if made is not None:
            remember(made, value)
        return made

    def _used(self, value: dict[str, Any], at: Path) -> Any:
        """Return what *value* makes, a table with `use`."""
        use = value["use"]
        settings = {name: each for name, each in value.items() if name != "use"}
        if use in OBJECTS:
            cls = self._ours(use, at)
        else:
            cls = self._found(use, (*at, "use"))
            if cls is not None and not isinstance(cls, type):
                if settings:
                    self._problems.add(at, f"{quoted(use)} is an object and no class, and takes no settings")
                return cls
        if isinstance(cls, type) and issubclass(cls, SharedStore):
            return self._store(cls, settings, at)
        return None if cls is None else self._object(cls, settings, at, {})

    def _store(self, cls: type[SharedStore], settings: dict[str, Any], at: Path) -> SharedStore | None:
        """Return a store, under a name of its own for the layer that it stands in, unless a prefix is given.

        Two limits under one name would be one limit.
        """
        key = f"{cls.__qualname__} {sorted((name, str(each)) for name, each in settings.items())}"
        before = None if self._before is None else self._before.stores.get(key)
        base = self.stores.get(key) or before or self._object(cls, settings, at, {})
        if base is None:
            return None
        self.stores[key] = base
        named: SharedStore = base if "prefix" in settings else base.named(".".join(self._owner))
        return named

    def _ours(self, use: str, at: Path) -> Any:
        try:
            return class_of(use)
        except ImportError as error:
            self._problems.add((*at, "use"), f"{use!r} cannot be had: {error}")
            return None

    def _found(self, name: str, at: Path) -> Any:
        try:
            return self._registry.find(name)
        except LookupError as error:
            self._problems.add(at, str(error.args[0]))
            return None

    _makers: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
        {
            "several": _several,
            "table": _table,
            "layer": _layer,
            "record": _record,
            "budget": _budget,
            "seed": _seed,
            "latency": _latency,
            "pair": _pair,
            "function": _function,
            "alternative": _alternative,
            "errors": _errors,
            "periods": _periods,
            "object": _made_object,
        }
    )


def _is(one: object, other: object) -> bool:
    return one is other
