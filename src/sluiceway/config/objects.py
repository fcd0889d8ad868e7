"""Objects that tables in settings make: ``queue = { use = "priority", aging = "10s" }``."""

from __future__ import annotations

import importlib
import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

OBJECTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fair": "sluiceway:Fair",
        "fifo": "sluiceway:Fifo",
        "priority": "sluiceway:Priority",
        "redis": "sluiceway.backends.redis:RedisStore",
    }
)
"""What ``{ use = ... }`` makes inside of a setting, beside what the application registers."""


def class_of(use: str) -> type:
    """Return the class that *use* stands for.

    Raises:
        ImportError: it cannot be had.
    """
    module, _, name = OBJECTS[use].partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


_SAID: Final[dict[int, Mapping[str, Any]]] = {}  # by identity: equal queues may have been said in other words


def remember(made: Any, table: Mapping[str, Any]) -> None:
    """Remember that *made* was made of *table*, if it is of a kind about which that can be remembered."""
    try:
        weakref.finalize(made, _SAID.pop, id(made), None).atexit = False
    except TypeError:  # without a place for a weak reference: its attributes tell
        return
    _SAID[id(made)] = table


def said_of(made: Any) -> Mapping[str, Any] | None:
    """Return the table that *made* was made of; None if it was not, or that is not known."""
    return _SAID.get(id(made))
