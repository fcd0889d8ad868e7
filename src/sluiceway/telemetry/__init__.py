"""Events to spans, metrics, logs and statistics: four sinks of the same facts, so that they cannot disagree.

Importing this is what makes calls observed. Nothing is told until somebody asks for it: an OpenTelemetry SDK set up by
the application, a configured structlog, a handler for the standard logger `"sluiceway"`, a session, or `listen`.

Spans may be lost on their way: the SDK's batch processor drops what its queue cannot hold (2,048 spans,
`OTEL_BSP_MAX_QUEUE_SIZE`), so under bursts raise that, sample, or use `configure(detail="compact")`. Statistics are
made from events and lose nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.call import unheard
from sluiceway.running import switch

from .configuration import configure
from .hub import Scope, attached, listen, observe, process_scopes, publish, scopes, unlisten, warnings_only

if TYPE_CHECKING:
    from .otlp import ExportingTracerProvider
    from .scraping import PrometheusEndpoint

switch.observe = observe
unheard.sink = warnings_only


def export_otlp(endpoint: str | None = None, *, service_name: str | None = None) -> ExportingTracerProvider:
    """Return a tracer provider that sends spans by OTLP over HTTP, in batches from a thread of its own.

    ``telemetry.configure(tracer_provider=telemetry.export_otlp())`` shows the calls in a Jaeger on this machine. It is
    not made the global provider: other instrumentations go on as they are. ``await provider.aclose()`` at the end
    sends what is queued without holding up the event loop.

    Args:
        endpoint: where the collector listens, such as `"http://localhost:4318"`; `/v1/traces` is added where no path
            is given. None for what `OTEL_EXPORTER_OTLP_ENDPOINT` says, or that address.
        service_name: what the traces are listed under; None for `OTEL_SERVICE_NAME`, or `"sluiceway"`.

    Raises:
        MissingExtra: the exporter is not installed.
        ValueError: *endpoint* is no HTTP address.
    """
    from .otlp import exporting  # noqa: PLC0415 - brings the SDK

    return exporting(endpoint, service_name)


def prometheus(port: int = 9464, *, host: str = "127.0.0.1", service_name: str | None = None) -> PrometheusEndpoint:
    """Serve metrics for a Prometheus to scrape, from a thread of its own, and return the endpoint.

    ``telemetry.configure(meter_provider=telemetry.prometheus().meter_provider)`` is all that an application needs that
    has no metrics yet. One with a `MeterProvider` of its own adds `endpoint.reader` to its readers. No global is set.
    Anybody who reaches the port can read it without a password: names of functions and models, and numbers.

    Args:
        port: where to listen; 0 is any free one, which `endpoint.port` tells.
        host: the address to listen on, only this machine's own by default; `"0.0.0.0"` for scrapers elsewhere.
        service_name: `service_name` of `target_info`; None for `OTEL_SERVICE_NAME`.

    Raises:
        MissingExtra: the exporter is not installed.
        OSError: the port is taken, or the host is none of this machine's.
        TypeError, ValueError: *port* is no port.
    """
    from .scraping import serve  # noqa: PLC0415 - brings the SDK

    return serve(port, host, service_name)


__all__ = [
    "Scope",
    "attached",
    "configure",
    "export_otlp",
    "listen",
    "process_scopes",
    "prometheus",
    "publish",
    "scopes",
    "unlisten",
]
