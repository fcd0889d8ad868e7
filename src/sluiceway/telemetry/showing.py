"""What may be shown of a layer's state: numbers and our own words, never a key, never what a user's object holds."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Mapping
from typing import Any, Final

MOST_KEYS: Final = 20
"""States of one layer that are shown, those with most waiting and in flight first."""

_SALT: Final = os.urandom(16)
_OURS: Final = "sluiceway"
_LEFT_OUT: Final = frozenset({"layers", "since"})  # shown for themselves; of a clock that means nothing elsewhere


def states(snapshot: Any) -> list[dict[str, Any]]:
    """Return *snapshot*, of one layer, as dicts that `json.dumps` takes, one for each key.

    A key may be a tenant, or somebody's API key for the account it stands for, so that a sign stands for it: the same
    in one process for as long as it runs, and not to be turned back.
    """
    shots = snapshot if isinstance(snapshot, tuple) else (snapshot,)
    found = sorted(shots, key=_busy, reverse=True)[:MOST_KEYS]
    return [_plain(shot) for shot in found if dataclasses.is_dataclass(shot)]


def sign(key: object) -> str | None:
    """Return what stands for *key*; None for no key."""
    if key is None:
        return None
    return "#" + hashlib.blake2b(repr(key).encode(), key=_SALT, digest_size=3).hexdigest()


def _busy(shot: Any) -> tuple[float, float]:
    return _number(getattr(shot, "waiting", 0)), _number(getattr(shot, "in_flight", 0))


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) else 0.0


def _plain(shot: Any) -> dict[str, Any]:
    ours = type(shot).__module__.partition(".")[0] == _OURS
    found: dict[str, Any] = {}
    for each in dataclasses.fields(shot):
        value = getattr(shot, each.name)
        if each.name == "key":
            found["key"] = sign(value)
        elif ours and each.name in _LEFT_OUT:
            continue
        elif isinstance(value, Mapping):
            if ours:
                found[each.name] = {str(name): _finite(inner) for name, inner in value.items() if _shown(inner)}
        elif _shown(value) or value is None or (ours and isinstance(value, str)):
            found[each.name] = _finite(value)
    return found


def _shown(value: Any) -> bool:
    return isinstance(value, (int, float))


def _finite(value: Any) -> Any:
    """Return *value*, None if it is no number that JSON has."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def printable(name: str) -> str:
    """Return *name* in one line of what every terminal and every encoding takes: callers name models and tenants."""
    if name.isprintable():
        return name
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)
