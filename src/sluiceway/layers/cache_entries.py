"""Answers as JSON and back: what may stand in a cache, and nothing that could import code.

Plain JSON values are themselves. An object of a Pydantic class (openai's and anthropic's answers, your own models) is
written with the path of its class. When it is read back that class is taken from those seen in live answers of this
process, from those that were named beforehand, or from `openai.types` and `anthropic.types`; any other path is not
followed. What is written was read back before, and found the same.
"""

from __future__ import annotations

import importlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_TRUSTED: Final = ("openai.types.", "anthropic.types.")
_MODEL: Final = "$model"
_NAMESPACE: Final = "$namespace"


class NotStorable(Exception):
    """A value that JSON cannot hold so that the same comes back."""


class Codec:
    """Writes and reads answers, and remembers the classes that it has seen alive; *types* are known beforehand."""

    def __init__(self, types: Iterable[type] = ()) -> None:
        self._known = {_path(kind): kind for kind in types}

    def written(self, value: Any) -> Any:
        """Return *value* as JSON.

        Raises:
            NotStorable: it, or something in it, would not come back the same.
        """
        try:
            written = self._write(value)
            json.dumps(written, allow_nan=False)
        except (ValueError, RecursionError):
            raise NotStorable(f"a {_path(type(value))} holds what JSON does not know, such as nan") from None
        return written

    def read(self, written: Any) -> Any:
        """Return what was written.

        Raises:
            ValueError: *written* is not what we write, or of a class that is not known.
        """
        kind = type(written)
        if kind in _PLAIN:
            return written
        if kind is list:
            return [self.read(part) for part in written]
        if kind is not dict:
            raise ValueError(f"{kind.__name__} is not JSON")
        if _MODEL in written:
            return self._model(written[_MODEL], written.get("data"), by=written.get("by"))
        if _NAMESPACE in written:
            return SimpleNamespace(**{name: self.read(part) for name, part in dict(written[_NAMESPACE]).items()})
        return {name: self.read(part) for name, part in written.items()}

    # ------------------------------------------------------------------ writing

    def _write(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is list:
            return [self._write(part) for part in value]
        if kind is dict:
            if any(type(name) is not str or name.startswith("$") for name in value):
                raise NotStorable("a dict whose names are no strings, or begin with $")
            return {name: self._write(part) for name, part in value.items()}
        if kind is SimpleNamespace:
            return {_NAMESPACE: {name: self._write(part) for name, part in vars(value).items()}}
        if callable(getattr(kind, "model_dump", None)) and callable(getattr(kind, "model_validate", None)):
            return self._write_model(value, kind)
        raise NotStorable(f"a {_path(kind)} is neither JSON nor a Pydantic model")

    def _write_model(self, value: Any, kind: type) -> Any:
        path = _path(kind)
        self._known[path] = kind
        data = _dumped(value)
        for by in ("validate", "construct"):
            try:
                if _dumped(self._model(path, data, by=by)) == data:
                    return {_MODEL: path, "by": by, "data": data}
            except Exception:  # noqa: BLE001, S112 - somebody's validator; then it may be constructed
                continue
        raise NotStorable(f"a {path} does not come back from its own JSON")

    # ------------------------------------------------------------------ reading

    def _model(self, path: Any, data: Any, *, by: Any) -> Any:
        kind = self._class(path)
        if not isinstance(data, dict):
            raise ValueError("a model's data must be a dict")  # noqa: TRY004 - of what is read, not of an argument
        if by == "validate":
            return kind.model_validate(data)
        if by == "construct" and path.startswith(_TRUSTED):  # as these clients make answers: leniently, all the way
            return kind.construct(**data)
        raise ValueError(f"no way {by!r} to make a {path}")

    def _class(self, path: Any) -> Any:
        if not isinstance(path, str):
            raise ValueError("a class has a path")  # noqa: TRY004 - as above
        kind = self._known.get(path)
        if kind is None:
            self._known[path] = kind = _trusted(path)
        return kind


def _trusted(path: str) -> Any:
    """Return the class at *path* if it is one of openai's or anthropic's types."""
    module, _, name = path.partition(":")
    if not path.startswith(_TRUSTED) or not name.isidentifier():
        raise ValueError(f"the class {path!r} is not known")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"the class {path!r} cannot be had") from error
    if not isinstance(kind, type) or kind.__module__ != module or not hasattr(kind, "model_validate"):
        raise ValueError(f"{path!r} is no class of answers")
    return kind


def _dumped(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)


def _path(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"
