"""From the annotation of a layer's setting to the kinds of values that a file may give it.

Annotations are read as text and never run: names in them may be imported for type checkers only.
"""

from __future__ import annotations

import ast
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

from sluiceway.layers.deployment import Deployment

from . import kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .kinds import Kind

_NAMED: Final[Mapping[str, tuple[Kind, ...]]] = MappingProxyType(
    {
        "Any": (kinds.ANYTHING,),
        "int": (kinds.INTEGER,),
        "float": (kinds.NUMBER,),
        "bool": (kinds.BOOLEAN,),
        "str": (kinds.TEXT,),
        "None": (kinds.NOTHING,),
        "PathLike": (),
        "Duration": (kinds.DURATION,),
        "timedelta": (kinds.DURATION,),
        "Latency": (kinds.LATENCY,),
        "By": (kinds.FUNCTION,),
        "Callable": (kinds.FUNCTION,),
        "Key": (kinds.FUNCTION,),
        "Sink": (kinds.FUNCTION,),
        "TokenCount": (kinds.FUNCTION,),
        "On": (kinds.ERRORS,),
        "Per": (kinds.PERIODS,),
        "Alternative": (kinds.ALTERNATIVE,),
        "Discipline": (kinds.QUEUE,),
        "SharedStore": (kinds.STORE,),
        "Random": (kinds.SEED,),
        "RetryBudget": (kinds.BUDGET,),
        "Layer": (kinds.LAYER,),
        "Deployment": (kinds.record(Deployment),),
        "type": (kinds.OBJECT,),
        "list": (kinds.several(kinds.ANYTHING),),
        "dict": (kinds.table("str", kinds.ANYTHING),),
        "Mapping": (kinds.table("str", kinds.ANYTHING),),
    }
)
_LISTS: Final = frozenset(("Sequence", "Iterable", "list", "tuple", "frozenset", "set", "Collection"))
_TABLES: Final = frozenset(("Mapping", "dict", "MutableMapping"))


def kinds_of(annotation: Any, names: Mapping[str, Any]) -> tuple[Kind, ...]:
    """Return the kinds that *annotation* stands for; what *names* hold tells of aliases such as `Jitter`.

    What cannot be told is an object: a file names it, or a table of settings makes it.
    """
    text = annotation if isinstance(annotation, str) else _as_text(annotation)
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return (kinds.ANYTHING,)
    found = list(dict.fromkeys(_kinds(node, names)))
    if kinds.OBJECT in found:  # any object, so none in particular
        found = [kind for kind in found if kind is kinds.OBJECT or kind.name != "object"]
    found.sort(key=lambda kind: kind.name == "object")  # a text is a text where one is taken, and no object's name
    return tuple(found)


def _as_text(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "None"
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else repr(annotation)


def _kinds(node: ast.expr, names: Mapping[str, Any]) -> tuple[Kind, ...]:
    if isinstance(node, ast.BinOp):
        return _kinds(node.left, names) + _kinds(node.right, names)
    if isinstance(node, ast.Constant):
        if node.value is None:
            return (kinds.NOTHING,)
        return kinds_of(node.value, names) if isinstance(node.value, str) else (kinds.ANYTHING,)
    if isinstance(node, ast.Subscript):
        return _subscripted(_name(node.value), node.slice, names)
    return _by_name(_name(node), names)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _by_name(name: str, names: Mapping[str, Any]) -> tuple[Kind, ...]:
    if name in _NAMED:
        return _NAMED[name]
    alias = names.get(name)
    if get_origin(alias) is Literal:
        return (kinds.choice(get_args(alias)),)
    return (kinds.OBJECT,)


def _subscripted(name: str, inner: ast.expr, names: Mapping[str, Any]) -> tuple[Kind, ...]:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name in ("Literal", "Final", "Annotated", "Optional", "Union"):
        return _special(name, parts, names)
    if name == "tuple" and len(parts) == 2 and [_name(part) for part in parts] == ["int", "int"]:
        return (kinds.PAIR,)
    if name in _LISTS:
        return tuple(kinds.several(kind) for kind in _kinds(parts[0], names))
    if name in _TABLES and len(parts) == 2:
        return tuple(kinds.table(_name(parts[0]), kind) for kind in _kinds(parts[1], names))
    return _by_name(name, names)


def _special(name: str, parts: list[ast.expr], names: Mapping[str, Any]) -> tuple[Kind, ...]:
    if name == "Literal":
        return (kinds.choice(tuple(part.value for part in parts if isinstance(part, ast.Constant))),)
    found = _kinds(parts[0], names) if name != "Union" else sum((_kinds(part, names) for part in parts), ())
    return (*found, kinds.NOTHING) if name == "Optional" else found
