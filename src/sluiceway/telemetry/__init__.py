"""Events to spans, metrics, logs and statistics: four sinks of the same facts."""

from __future__ import annotations

from sluiceway.binding import switch

from .configuration import configure
from .hub import Scope, attached, listen, observe, process_scopes, publish, scopes, unlisten

switch.observe = observe

__all__ = ["Scope", "attached", "configure", "listen", "process_scopes", "publish", "scopes", "unlisten"]
