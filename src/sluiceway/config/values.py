"""From the values of settings to what they stand for: functions, queues, stores, budgets, deployments."""

from __future__ import annotations

import builtins
import contextlib
import warnings
from abc import ABC, abstractmethod
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sluiceway.algorithms.retry_budget import RetryBudget
from sluiceway.order import PipelineWarning
from sluiceway.sharing.store import SharedStore

from .objects import OBJECTS, class_of, remember
from .problems import Problems, hinted, quoted
from .settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sluiceway.layer import Layer

    from .kinds import Kind
    from .problems import Path
    from .registry import Registry
    from .settings import Settings

    Owner: TypeAlias = "tuple[str, ...]"


class Values(ABC):
    """Makes what stands in the settings of layers; how a layer is made is for the subclass.

    Args:
        registry: what names stand for.
        problems: hear what is wrong.
        before: who made what the file said before.

    Attributes:
        objects: what ``{ use = ... }`` in a setting made, and of what, by where it stands.
        stores: stores that processes share, by their settings: those of one server have one connection.
        warnings: what layers had to say about their settings.
    """

    def __init__(self, registry: Registry, problems: Problems, before: Values | None) -> None:
        self.objects: dict[tuple[Owner, Path], tuple[Any, Any]] = {}
        self.stores: dict[str, SharedStore] = {}
        self.warnings: list[str] = []
        self._earlier = before
        self._registry = registry
        self._problems = problems
        self._owner: Owner = ()
        self._way: Owner = ()  # from there to the value that is looked at: settings, and the names of deployments

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
            with self._inside_of(name):
                where = origin.get(name, (*at, name))
                made[name] = value if setting is None else self._value(value, setting.kinds, where)
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
        if kind is not None and kind.name == "layer":
            return self._layer(value, kind, at)
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

    @abstractmethod
    def _layer(self, value: dict[str, Any], kind: Kind, at: Path) -> Layer | None:
        """Return the layer that *value* says."""

    def _record(self, value: dict[str, Any], kind: Kind, at: Path) -> Any:
        with self._inside_of(str(value.get("name", at[-1]))):
            return self._object(kind.inner, value, at, {})

    @contextlib.contextmanager
    def _inside_of(self, name: str) -> Iterator[None]:
        outer = self._way
        self._way = (*outer, name)
        try:
            yield
        finally:
            self._way = outer

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

    def _made_object(self, value: Any, kind: Kind, at: Path) -> Any:
        """Return what a name stands for, or what ``{ use = ... }`` makes."""
        if isinstance(value, str):
            if not kind.inner or value not in kind.inner.bare:
                return self._fitting(self._named(value, kind, at), value, kind, at)
            value = {"use": value}
        place = self._owner, at
        old = None if self._earlier is None else self._earlier.objects.get(place)
        if old is not None and old[0] == value:
            made = old[1]
        else:
            made = self._fitting(self._used(value, kind, at), value["use"], kind, at)
        self.objects[place] = value, made
        if made is not None:
            remember(made, value)
        return made

    def _fitting(self, made: Any, name: str, kind: Kind, at: Path) -> Any:
        """Return what was *made* by *name*; None, and a problem noted, if it is something else than is wanted."""
        if made is None or not kind.inner or kind.inner.fits(made):
            return made
        self._problems.add(at, f"{quoted(name)} is no {kind.inner.what}: it must be {kind.words}")
        return None

    def _named(self, name: str, kind: Kind, at: Path) -> Any:
        """Return what *name* stands for, where something of *kind* is wanted."""
        if not kind.inner or self._registry.knows(name):
            return self._found(name, at)
        near = hinted(name, kind.inner.bare)
        scheme, address, _ = name.partition("://")  # whose rest may hold a password
        called = quoted(f"{scheme}://..." if address else name)
        meant = f"did you mean {near!r}?" if near else f"it must be {kind.words}"
        self._problems.add(at, f"{called} stands for nothing: {meant}")
        return None

    def _used(self, value: dict[str, Any], kind: Kind, at: Path) -> Any:
        """Return what *value* makes, a table with `use`."""
        use = value["use"]
        settings = {name: each for name, each in value.items() if name != "use"}
        if use in OBJECTS:
            cls = self._ours(use, at)
        else:
            cls = self._named(use, kind, (*at, "use"))
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
        before = None if self._earlier is None else self._earlier.stores.get(key)
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
