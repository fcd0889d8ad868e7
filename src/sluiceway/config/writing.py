"""From a pipeline back to a file that loads to the same pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sluiceway.algorithms.retry_budget import RetryBudget
from sluiceway.layer import Layer
from sluiceway.layers import registered
from sluiceway.layers.deployment import Deployment

from .document import VERSION
from .kinds import ANYTHING, OBJECT, TEXT
from .objects import OBJECTS, class_of, said_of
from .problems import Problems
from .secrets import Secret
from .settings import settings_of
from .yaml_files import write as write_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .kinds import Kind
    from .problems import Path
    from .registry import Registry
    from .sources import Format

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SECRET: Final = re.compile(r"key|token|secret|password|credential|auth", re.IGNORECASE)


def mapping_of(
    name: str, layers: Iterable[tuple[type[Layer], Mapping[str, Any]]], registry: Registry
) -> dict[str, Any]:
    """Return what a file says of one pipeline.

    Args:
        name: of the pipeline; what is no name of one becomes `main`.
        layers: the class and the settings of each, outermost first.
        registry: names what cannot be written.

    Raises:
        ConfigError: a setting is something without a name, or a secret that does not come from the environment.
    """
    called = name if _NAME.fullmatch(name) else "main"
    writer = _Writer(registry)
    at: Path = ("pipelines", called, "layers")
    said = [writer.layer(cls, settings, (*at, i)) for i, (cls, settings) in enumerate(layers)]
    writer.problems.raise_if_any()
    return {"version": VERSION, "pipelines": {called: {"layers": said}}}


class _Writer:
    """Writes layers; collects what cannot be written."""

    def __init__(self, registry: Registry) -> None:
        self.problems = Problems("<pipeline>")
        self._registry = registry
        self._uses = {cls: use for use, cls in reversed({**registered(), **registry.layers()}.items())}

    def layer(self, cls: type[Layer], settings: Mapping[str, Any], at: Path) -> dict[str, Any]:
        use = self._uses.get(cls) or self._registry.name_of(cls)
        if use is None:
            self.problems.add(at, f"{cls.__name__} is a layer without a name: give registry= with one for it")
        return {"use": use, **self._settings(cls, settings, at)}

    def _settings(self, cls: type, settings: Mapping[str, Any], at: Path) -> dict[str, Any]:
        """Return those of *settings* that are not the default."""
        named = settings_of(cls).named
        written = {}
        for name, value in settings.items():
            setting = named.get(name)
            if setting is not None and not setting.required and _same(value, setting.default):
                continue
            written[name] = self._value(value, (*at, name), () if setting is None else setting.kinds)
        return written

    def _value(self, value: Any, at: Path, kinds: tuple[Kind, ...] = ()) -> Any:
        if isinstance(value, Secret):
            return value.reference
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, (list, tuple)):
            inner = tuple(kind.inner for kind in kinds if kind.name == "several")
            return [self._value(each, (*at, i), inner) for i, each in enumerate(value)]
        if isinstance(value, Mapping):
            inner = tuple(kind.inner[1] for kind in kinds if kind.name == "table")
            return {self._key(key, at): self._value(each, (*at, str(key)), inner) for key, each in value.items()}
        return self._object(value, at, kinds)

    def _key(self, key: Any, at: Path) -> str:
        return str(key) if isinstance(key, (str, int)) else str(self._named(key, at))

    def _object(self, value: Any, at: Path, kinds: tuple[Kind, ...]) -> Any:
        if isinstance(value, Layer):
            return self.layer(type(value), value.settings(), at)
        if isinstance(value, Deployment):
            return self._deployment(value, at)
        if isinstance(value, RetryBudget):
            return {"minimum": value.minimum, "ratio": value.ratio}
        said = said_of(value)
        if said is not None:
            return self._value(said, at)
        cls: type = type(value)
        use = next((use for use in OBJECTS if class_of(use) is cls), None)
        if use is not None and all(hasattr(value, name) for name in settings_of(cls).named):
            settings = {name: getattr(value, name) for name in settings_of(cls).named}
            return {"use": use, **self._settings(cls, settings, at)}
        return self._apart_from_texts(self._named(value, at), value, at, kinds)

    def _apart_from_texts(self, name: str | None, value: Any, at: Path, kinds: tuple[Kind, ...]) -> Any:
        """Return how *name*, which stands for *value*, is written where one of *kinds* is wanted."""
        if name is not None and any(kind.name == "alternative" for kind in kinds):
            return {"function": name}
        if name is not None and TEXT in kinds and OBJECT in kinds:
            return {"use": name}
        if name is not None and (TEXT in kinds or ANYTHING in kinds):
            self.problems.add(at, f"{_called(value)} cannot be written: a text in this place is no name")
        return name

    def _deployment(self, value: Deployment, at: Path) -> dict[str, Any]:
        if self._tells_secrets(value.kwargs, (*at, "kwargs")):
            return {}
        settings = {name: getattr(value, name) for name in ("name", "kwargs", "layers", "weight", "function")}
        written = self._settings(Deployment, settings, at)
        return {name: each for name, each in written.items() if each not in ({}, [])}

    def _tells_secrets(self, given: Mapping[Any, Any], at: Path) -> bool:
        for name, value in given.items():
            if isinstance(value, Mapping) and self._tells_secrets(value, (*at, str(name))):
                return True
            if _SECRET.search(str(name)) and isinstance(value, str) and not isinstance(value, Secret):
                self.problems.add((*at, str(name)), f'{name!r} may be a secret: give it as "env:NAME" in a file')
                return True
        return False

    def _named(self, value: Any, at: Path) -> str | None:
        """Return the name of *value*, a function or whatever else cannot be written."""
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == "builtins":
            return value.__name__
        name = self._registry.name_of(value)
        if name is None:
            what = _called(value)
            how = "leave it out" if isinstance(value, Random) else f"give registry= with a name for {what}"
            self.problems.add(at, f"{what} cannot be written; {how}")
        return name


def _called(value: Any) -> str:
    return str(getattr(value, "__qualname__", f"a {type(value).__name__}"))


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, (MappingProxyType, tuple)) and not value:  # as objects keep what they were not given
        return not default
    return value is default or (type(value) is type(default) and bool(value == default))


def text_of(said: Mapping[str, Any], form: Format) -> str:
    """Return *said* as the text of a file.

    Raises:
        ConfigError: it is to be TOML, and there is null in it.
        MissingExtra: it is to be YAML, and PyYAML is not installed.
        ValueError: there is no such format.
    """
    if form == "json":
        return json.dumps(said, indent=2, ensure_ascii=False) + "\n"
    if form == "yaml":
        return write_yaml(said)
    if form != "toml":
        raise ValueError(f"format={form!r} must be one of 'toml', 'yaml', 'json'")
    problems = Problems("<pipeline>")
    for path in _nulls(said, ()):
        problems.add(path, "null cannot be written in TOML, and left out it would be the default: take JSON or YAML")
    problems.raise_if_any()
    return _toml(said)


def _nulls(value: Any, at: Path) -> Iterator[Path]:
    """Yield where there is null in *value*, which stands at *at*."""
    if value is None:
        yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield from _nulls(each, (*at, name))


def _toml(said: Mapping[str, Any]) -> str:
    lines = [f"version = {said['version']}"]
    for name, table in said["pipelines"].items():
        lines += ["", f"[pipelines.{_toml_key(name)}]", "layers = ["]
        lines += [f"  {_toml_value(layer)}," for layer in table["layers"]]
        lines.append("]")
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{_toml_key(name)} = {_toml_value(each)}" for name, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, float) and not isinstance(value, bool):
        return repr(value).replace("e+", "e")
    return _toml_text(value)


def _toml_key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _toml_text(name)


def _toml_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON allows as it is
