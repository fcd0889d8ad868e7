"""Events to spans, metrics, logs and statistics: four sinks of the same facts, so that they cannot disagree.

Importing this is what makes calls observed. Nothing is told until somebody asks for it: an OpenTelemetry SDK set up by
the application, a configured structlog, a handler for the standard logger `"sluiceway"`, a session, or `listen`.

Spans may be lost on their way: the SDK's batch processor drops what its queue cannot hold (2,048 spans,
`OTEL_BSP_MAX_QUEUE_SIZE`), so under bursts raise that, sample, or use `configure(detail="compact")`. Statistics are
made from events and lose nothing.
"""

from __future__ import annotations

from sluiceway.binding import switch

from .configuration import configure
from .hub import Scope, attached, listen, observe, process_scopes, publish, scopes, unlisten
from .otlp import ExportingTracerProvider, export_otlp

switch.observe = observe

__all__ = [
    "ExportingTracerProvider",
    "Scope",
    "attached",
    "configure",
    "export_otlp",
    "listen",
    "process_scopes",
    "publish",
    "scopes",
    "unlisten",
]
