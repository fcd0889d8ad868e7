"""Kinds of values that settings take: what a file may say, and how that is checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pydantic
from pydantic import WithJsonSchema

from sluiceway.durations import seconds
from sluiceway.sharing.store import SharedStore

from .secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of values.

    Attributes:
        name: decides what becomes of a value.
        words: what is allowed, for messages.
        type: the same for pydantic.
        fits: whether a value that passed may be of this kind; where several do, the first counts.
        inner: the kinds inside of a list or table, the class of a record, or what an object has to be.
    """

    name: str
    words: str
    type: Any
    fits: Callable[[Any], bool]
    inner: Any = ()


@dataclass(frozen=True, slots=True)
class Made:
    """What an object has to be where one kind of them is wanted.

    Attributes:
        what: one is called.
        bare: the names of ours that say enough by themselves, without a table.
        fits: whether an object is one.
    """

    what: str
    bare: tuple[str, ...]
    fits: Callable[[Any], bool]


def _checked(fits: Callable[[Any], bool], schema: Mapping[str, Any]) -> Any:
    """Return a type whose values are those that *fits* accepts."""

    def check(value: Any) -> Any:
        if not fits(value):
            raise ValueError("it does not fit")
        return value

    return Annotated[Any, pydantic.AfterValidator(check), WithJsonSchema(dict(schema))]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_duration(value: Any) -> bool:
    if not (_is_number(value) or isinstance(value, (str, timedelta))):
        return False
    try:
        seconds(value, zero=True)
    except ValueError:
        return _is_number(value)  # of the right kind; what is wrong with it the layer says better
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) or callable(value)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_name, value))


def _is_object(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("use"), str))


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


_TEXT: Final[dict[str, Any]] = {"type": "string"}

NUMBER: Final = Kind("plain", "a number", _checked(_is_number, {"type": "number"}), _is_number)
INTEGER: Final = Kind("plain", "a whole number", pydantic.StrictInt, lambda v: isinstance(v, int) and _is_number(v))
BOOLEAN: Final = Kind("plain", "true or false", pydantic.StrictBool, lambda v: isinstance(v, bool))
TEXT: Final = Kind("plain", "a text", _checked(_is_text, _TEXT), _is_text)
NOTHING: Final = Kind("plain", "", None, lambda v: v is None)
ANYTHING: Final = Kind("plain", "anything", Any, lambda _: True)
DURATION: Final = Kind(
    "plain",
    'a number of seconds, or a text such as "250ms", "1.5s", "2m", "1h30m"',
    _checked(
        _is_duration,
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^(\s*[0-9.]+\s*(us|ms|s|m|h|d))+\s*$|^env:"},
            ]
        },
    ),
    _is_duration,
)
LATENCY: Final = Kind(
    "latency",
    "a duration, or two: the least and the most",
    _checked(
        lambda v: _is_duration(v) or (isinstance(v, list) and len(v) == 2 and all(map(_is_duration, v))),
        {"type": ["number", "string", "array"]},
    ),
    lambda v: _is_duration(v) or isinstance(v, list),
)
FUNCTION: Final = Kind(
    "function", "the name of a function", _checked(_is_name, _TEXT | {"description": "A registered name."}), _is_name
)
ERRORS: Final = Kind(
    "errors",
    "the names of errors, or of a function",
    _checked(lambda v: _is_name(v) or _is_names(v), {"type": ["string", "array"], "items": _TEXT}),
    lambda v: _is_name(v) or _is_names(v),
)
PERIODS: Final = Kind(
    "periods",
    "'session', 'tenant', 'day', the name of a function, or a list of these",
    _checked(lambda v: _is_name(v) or _is_names(v), {"type": ["string", "array"], "items": _TEXT}),
    lambda v: _is_name(v) or _is_names(v),
)
ALTERNATIVE: Final = Kind(
    "alternative",
    'the name of a model, or { function = "the name of a function" }',
    _checked(
        lambda v: _is_text(v) or (isinstance(v, dict) and list(v) == ["function"] and _is_name(v["function"])),
        {"anyOf": [_TEXT, {"type": "object", "properties": {"function": _TEXT}, "required": ["function"]}]},
    ),
    lambda v: isinstance(v, (str, dict)),
)
OBJECT: Final = Kind(
    "object",
    'a table such as { use = "priority" }',
    _checked(_is_object, {"x-def": "object"}),
    _is_object,
)
QUEUE: Final = Kind(
    "object",
    "'fifo', 'priority', 'fair', a table such as { use = \"priority\", aging = \"10s\" }, or a registered name",
    _checked(_is_object, {"x-def": "queue"}),
    _is_object,
    Made("queue", ("fifo", "priority", "fair"), lambda v: hasattr(v, "open") and not isinstance(v, type)),
)
STORE: Final = Kind(
    "object",
    'a table such as { use = "redis", url = "redis://localhost:6379" }, or a registered name',
    _checked(_is_object, {"x-def": "store"}),
    _is_object,
    Made("store", (), lambda v: isinstance(v, SharedStore)),
)
SEED: Final = Kind("seed", "a whole number, from which chance starts", pydantic.StrictInt, INTEGER.fits)
BUDGET: Final = Kind(
    "budget",
    "a table such as { minimum = 3, ratio = 0.2 }",
    _checked(lambda v: isinstance(v, dict), {"x-def": "budget"}),
    lambda v: isinstance(v, dict),
)
LAYER: Final = Kind(
    "layer",
    'a layer such as { use = "bounded", limit = 30 } or { ref = "limits.openai" }',
    _checked(lambda v: isinstance(v, dict), {"x-def": "layer"}),
    lambda v: isinstance(v, dict),
)
PAIR: Final = Kind(
    "pair", "a list of two numbers", _checked(_is_pair, {"type": "array", "minItems": 2, "maxItems": 2}), _is_pair
)


def choice(values: tuple[Any, ...]) -> Kind:
    """Return the kind of which there are only *values*."""
    words = " or ".join(str(v).lower() if isinstance(v, bool) else repr(v) for v in values)

    def fits(value: Any) -> bool:
        return any(type(value) in (type(each), Secret) and value == each for each in values)

    return Kind("plain", words, Literal[values], fits)


def several(kind: Kind) -> Kind:
    """Return the kind of lists of *kind*."""
    return Kind("several", f"a list, each of which is {kind.words}", list[kind.type], _is_list, kind)  # type: ignore[name-defined]  # pydantic's types are values


def table(key: str, kind: Kind) -> Kind:
    """Return the kind of tables whose keys are of the type *key* and whose values are of *kind*."""
    return Kind("table", f"a table, each value of which is {kind.words}", dict[str, kind.type], _is_table, (key, kind))  # type: ignore[name-defined]  # as above


def record(cls: type) -> Kind:
    """Return the kind of tables that make a *cls*."""
    name = cls.__name__
    schema = {"x-def": name}
    return Kind("record", f"a table of the settings of {name}", _checked(_is_table, schema), _is_table, cls)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def words(kinds: tuple[Kind, ...]) -> str:
    """Return what *kinds* allow, in words."""
    return ", or ".join(dict.fromkeys(kind.words for kind in kinds if kind.words)) or "left out"
