"""What makes two calls equal: the same function with the same arguments."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from hashlib import sha256
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from .bound_arguments import bound_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call import Call

_AS_TEXT: Final = (date, time, timedelta, Decimal, Fraction, PurePath, UUID)
_quoted: Final = json.encoder.encode_basestring
_canonical: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode  # made once: the making takes longer than a short prompt's writing
_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    str: _quoted,
    int: int.__repr__,
    bool: ("false", "true").__getitem__,
    float: lambda value: repr(value) if math.isfinite(value) else _canonical({"!float": repr(value)}),
    type(None): lambda _: "null",
}
_LEFT_OUT: Final = frozenset({"NotGiven", "Omit"})  # how openai and anthropic say that an argument was not given
_SDKS: Final = frozenset({"openai", "anthropic"})


def call_key(call: Call) -> str:
    """Return what equal calls have in common: ``"module.function:digest"``, with no argument in clear.

    The digest is the SHA-256 of the canonical JSON (sorted names, no spaces, UTF-8) of the arguments as bound to their
    parameters, defaults included, so that ``ask("hi")`` and ``ask(prompt="hi")`` are equal. It is the same in every
    process. `self` or `cls` is not part of it, and neither are clients (whatever can be entered with `async with`):
    where they decide about the answer, give the layer a `key=` of its own.

    Beside JSON's own types it takes tuples (as lists), sets, bytes, enumerations, dates and times, `Decimal`, `UUID`,
    paths, dataclasses, Pydantic models, and classes such as an answer's; most of these under the name of their class.

    Raises:
        TypeError: an argument has no such form. The message names the parameter and its type, never its value.
    """
    name, arguments = bound_arguments(call.function, call.args, call.kwargs)
    text = _text(name, arguments)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        encoded = text.encode("utf-8", "surrogatepass")
    return f"{name}:{sha256(encoded).hexdigest()}"


def call_text(call: Call) -> str:
    """Return the canonical JSON of the arguments: what `call_key` tells calls of one function apart by.

    Raises:
        TypeError: as `call_key`.
    """
    name, arguments = bound_arguments(call.function, call.args, call.kwargs)
    return _text(name, arguments) if arguments else "{}"


def _text(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the canonical JSON of *arguments* of the function *name*."""
    parts = []
    for parameter in sorted(arguments):
        value = arguments[parameter]
        write = _WRITERS.get(type(value))
        if write is not None:
            text = write(value)
        elif _is_client(value) or _left_out(value):
            continue
        else:
            text = _canonical(_form(value, name, parameter, ()))
        parts.append(f"{_quoted(parameter)}:{text}")
    return f"{{{','.join(parts)}}}"


def _is_client(value: object) -> bool:
    """Whether *value* is something to talk through; not so what can be read, which is something to talk about."""
    kind = type(value)
    if any(hasattr(kind, name) for name in ("__anext__", "__aiter__", "read")):
        return False
    return hasattr(kind, "__aenter__") or hasattr(kind, "with_options")


def _left_out(value: object) -> bool:
    kind = type(value)
    return kind.__name__ in _LEFT_OUT and kind.__module__.partition(".")[0] in _SDKS


def _form(value: Any, name: str, parameter: str, inside: tuple[int, ...]) -> Any:
    """Return *value* as JSON would have it; *inside* are the ids of what it is part of."""
    if value is None or type(value) in (str, bool, int):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"!float": repr(value)}
    if id(value) in inside:
        raise TypeError(f"{name}: the argument {parameter} contains itself, so that calls cannot be compared by it")
    inside = (*inside, id(value))

    def form(part: Any) -> Any:
        return _form(part, name, parameter, inside)

    if type(value) in (list, tuple):
        return [form(part) for part in value if not _left_out(part)]
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value):
            return {key: form(part) for key, part in value.items() if not _left_out(part)}
        pairs = [[form(key), form(part)] for key, part in value.items()]
        return {"!dict": sorted(pairs, key=_ordered)}
    if isinstance(value, (set, frozenset)):
        return {"!set": sorted((form(part) for part in value), key=_ordered)}
    kind = type(value)
    found = _content(value, kind)
    if found is None:
        raise TypeError(
            f"{name}: the argument {parameter} holds a {kind.__module__}.{kind.__qualname__}, which has no canonical "
            "JSON form to compare calls by: give the layer key=, a function of the Call that returns a str"
        )
    return {f"!{kind.__module__}.{kind.__qualname__}": form(found[0])}


def _content(value: Any, kind: type) -> tuple[Any] | None:
    """Return what *value* is made of, in simpler types; None if that cannot be told."""
    if isinstance(value, type):
        schema = None
        with contextlib.suppress(Exception):  # no Pydantic model, or one without a schema
            schema = value.model_json_schema()  # type: ignore[attr-defined]  # that is asked here
        return ([f"{value.__module__}.{value.__qualname__}", schema],)
    if isinstance(value, Enum):
        return (value.name,)
    if isinstance(value, (bytes, bytearray)):
        return (base64.b64encode(value).decode(),)
    if isinstance(value, _AS_TEXT):
        return (str(value),)
    if dataclasses.is_dataclass(value):
        return ({field.name: getattr(value, field.name) for field in dataclasses.fields(value)},)
    dump = getattr(kind, "model_dump", None)
    if callable(dump):
        return (dump(value, mode="json"),)
    return _plain(value)


def _plain(value: Any) -> tuple[Any] | None:
    """Return *value*, of a subclass of one of JSON's types, as one of those."""
    if isinstance(value, str):
        return (str.__str__(value),)
    if isinstance(value, int):
        return (int(value),)
    if isinstance(value, float):
        return (float(value),)
    return (list(value),) if isinstance(value, (list, tuple)) else None


def _ordered(form: Any) -> str:
    return json.dumps(form, sort_keys=True)
