"""Fields of files that batches write, each of the type that it must have: people and other programs write them too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LATEST: Final = 253_402_300_799  # the last second of the year 9999


class Kind(NamedTuple):
    """What a field may be."""

    text: str
    fits: Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _object_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def optional(kind: Kind) -> Kind:
    """Return *kind*, or null."""
    return Kind(f"{kind.text} or null", lambda value: value is None or kind.fits(value))


WHOLE: Final = Kind("a whole number of at least 0", _whole)
NUMBER: Final = Kind("a number of at least 0", _number)
MOMENT: Final = Kind("seconds since 1970", lambda value: _number(value) and value <= _LATEST)
TEXT: Final = Kind("a text", lambda value: isinstance(value, str))
OBJECT: Final = Kind("an object", lambda value: isinstance(value, dict))
OBJECTS: Final = Kind("a list of objects", lambda value: isinstance(value, list) and all(map(OBJECT.fits, value)))
COUNTS: Final = Kind("an object of whole numbers", _object_of(_whole))
NUMBERS: Final = Kind("an object of numbers", _object_of(_number))


def require(fields: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """Refuse *fields* of which one is not of its kind; one that is not there is right.

    Raises:
        ValueError: the message names the field, and its value if that is a number.
    """
    for name, kind in kinds.items():
        if name in fields and not kind.fits(fields[name]):
            raise ValueError(f"{name}{_shown(fields[name])} must be {kind.text}")


def _shown(value: Any) -> str:
    """Return *value* if it is a number, else its type: it may hold anybody's text."""
    plain = isinstance(value, (int, float)) or not value
    return f"={value!r}" if plain else f" is a {type(value).__name__} and"
