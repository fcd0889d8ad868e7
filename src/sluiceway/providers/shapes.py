"""Looking into what a provider returned, whatever its type: `opened(value).get("usage")`.

Client libraries differ in classes, not in names: openai and anthropic give pydantic objects, others dicts, structs
or namespaces of the same fields. How a type is looked into is decided once per type, so that the values which
most functions return (a str, a number, None) cost one look-up.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol, TypeAlias

_MANY: Final = 4096  # types remembered; a program that makes types without end starts anew
_TUPLE: Final = 4  # elements looked at: `(parsed, completion)`, `(text, usage)`


class Fields(Protocol):
    """The fields of a thing by name."""

    def get(self, name: str, /) -> Any:
        """Return the field *name*, None without one."""


Opener: TypeAlias = Callable[[Any], Fields | None]


class _Attributes:
    """The fields of a thing that keeps them in slots or properties."""

    __slots__ = ("_thing",)

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def get(self, name: str, /) -> Any:
        try:
            return getattr(self._thing, name, None)
        except Exception:  # noqa: BLE001 - a foreign property; whatever it raises, the field is not to be had
            return None


def opened(value: Any) -> Fields | None:
    """Return the fields of the provider's response in *value*, or None if there can be none. Never raises.

    Wrappers are looked through: openai's raw responses that have been read, the objects that Instructor returns,
    tuples such as `(parsed, completion)`, and openai's errors that carry a completion.
    """
    opener = openers[type(value)]
    return None if opener is None else opener(value)


class _Openers(dict[type, Opener | None]):
    def __missing__(self, kind: type) -> Opener | None:
        if len(self) >= _MANY:
            self.clear()
        self[kind] = opener = _opener(kind)
        return opener


openers: Final = _Openers()
"""How each type is looked into, None for those that hold no fields; for callers that cannot afford one more call."""


def _opener(kind: type) -> Opener | None:
    if issubclass(kind, Mapping):
        return _mapping
    if issubclass(kind, tuple):
        return _Attributes if hasattr(kind, "usage") else _tuple
    if issubclass(kind, BaseException):
        return _exception
    if issubclass(kind, (str, bytes, bytearray, int, float, complex, list, AbstractSet, type(None))):
        return None
    if hasattr(kind, "http_request") and hasattr(kind, "parse"):
        return None if inspect.iscoroutinefunction(kind.parse) else _raw
    if hasattr(kind, "usage") or not getattr(kind, "__dictoffset__", 0):
        return _Attributes
    return _namespace


def _mapping(value: Any) -> Fields | None:
    fields: Fields = value
    return fields


def _namespace(value: Any) -> Fields | None:
    fields: dict[str, Any] = value.__dict__
    raw = fields.get("_raw_response")  # Instructor's objects carry the completion they were parsed from
    return fields if raw is None else opened(raw)


def _tuple(value: Any) -> Fields | None:
    for element in value[:_TUPLE]:
        if not isinstance(element, tuple):
            fields = opened(element)
            if fields is not None and fields.get("usage") is not None:
                return fields
    return None


def _exception(value: Any) -> Fields | None:
    completion = getattr(value, "completion", None)
    return None if completion is None or isinstance(completion, BaseException) else opened(completion)


def _raw(value: Any) -> Fields | None:
    """Look into `with_raw_response`: it parses once and remembers, so the caller's own `parse()` is free then."""
    try:
        if not value.http_response.is_closed:  # a stream: the body is the caller's to read
            return None
        return opened(value.parse())
    except Exception:  # noqa: BLE001 - what cannot be parsed the caller hears from their own parse()
        return None
