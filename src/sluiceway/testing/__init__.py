"""For tests of code that uses sluiceway: time that jumps, a scripted provider, injected faults.

Nothing is loaded before it is used: the pytest plugin passes through here at every start of pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluiceway.testing.deadlock import Deadlock
    from sluiceway.testing.virtual_time import VirtualTimeLoop, run

__all__ = ["Deadlock", "VirtualTimeLoop", "run"]

_HOME = {"Deadlock": "deadlock", "VirtualTimeLoop": "virtual_time", "run": "virtual_time"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
