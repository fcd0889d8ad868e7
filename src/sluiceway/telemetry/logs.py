"""Events to log lines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sluiceway import events

if TYPE_CHECKING:
    from sluiceway.events import Event

_log = logging.getLogger("sluiceway")
_log.addHandler(logging.NullHandler())
_reported: set[str] = set()

WARNINGS = frozenset(
    {
        events.BackedOff,
        events.CallRejected,
        events.CircuitChanged,
        events.LimitPaused,
        events.ErrorRateHigh,
        events.SdkRetries,
    }
)


def enabled() -> bool:
    return _log.isEnabledFor(logging.INFO)


def hear(event: Event) -> None: ...


def broken(sink: Any, error: Exception) -> None:
    """Log once that *sink* raised *error*."""
    name = f"{sink!r}"
    if name not in _reported:
        _reported.add(name)
        _log.error("a sink raised and was ignored: %s", name, exc_info=error)
