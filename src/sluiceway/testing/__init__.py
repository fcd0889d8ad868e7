"""For tests of code that uses sluiceway: time that jumps, a scripted provider, injected faults.

Nothing is loaded before it is used: the pytest plugin passes through here at every start of pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluiceway.testing.deadlock import Deadlock
    from sluiceway.testing.disabled import disabled
    from sluiceway.testing.faults import faulty
    from sluiceway.testing.openai_shapes import chunks, completion, openai_error
    from sluiceway.testing.scripted import ScriptedProvider, ScriptExhausted, after, hang
    from sluiceway.testing.scripted_stream import ScriptedStream, stream
    from sluiceway.testing.virtual_time import VirtualTimeLoop, run

__all__ = [
    "Deadlock",
    "ScriptExhausted",
    "ScriptedProvider",
    "ScriptedStream",
    "VirtualTimeLoop",
    "after",
    "chunks",
    "completion",
    "disabled",
    "faulty",
    "hang",
    "openai_error",
    "run",
    "stream",
]

_NAMES = {
    "deadlock": ("Deadlock",),
    "disabled": ("disabled",),
    "faults": ("faulty",),
    "openai_shapes": ("chunks", "completion", "openai_error"),
    "scripted": ("ScriptExhausted", "ScriptedProvider", "after", "hang"),
    "scripted_stream": ("ScriptedStream", "stream"),
    "virtual_time": ("VirtualTimeLoop", "run"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
