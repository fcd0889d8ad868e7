"""Events to spans, metrics, logs and statistics: four sinks of the same facts, so that they cannot disagree.

Importing this is what makes calls observed. Nothing is told until somebody asks for it: an OpenTelemetry SDK set up by
the application, a configured structlog, a handler for the standard logger `"sluiceway"`, a session, or `listen`.

Spans may be lost on their way: the SDK's batch processor drops what its queue cannot hold (2,048 spans unless
`OTEL_BSP_MAX_QUEUE_SIZE` says more; ours, of `setup` and `export_otlp`, 32,768). Sample, or use
`configure(detail="compact")`, where that is not enough. Statistics are made from events and lose nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.call import unheard
from sluiceway.running import switch

from .configuration import configure
from .hub import Scope, attached, listen, observe, process_scopes, publish, scopes, unlisten, warnings_only
from .linking import linked
from .trace_ids import add_trace_ids

if TYPE_CHECKING:
    from .explaining import Explanation
    from .inspecting import Inspection
    from .memory import Memory
    from .otlp import ExportingTracerProvider
    from .scraping import PrometheusEndpoint
    from .setting_up import Setup

switch.observe = observe
unheard.sink = warnings_only


def export_otlp(endpoint: str | None = None, *, service_name: str | None = None) -> ExportingTracerProvider:
    """Return a tracer provider that sends spans by OTLP, in batches from a thread of its own.

    ``telemetry.configure(tracer_provider=telemetry.export_otlp())`` shows the calls in a Jaeger on this machine. It is
    not made the global provider: other instrumentations go on as they are. ``await provider.aclose()`` at the end
    sends what is queued without holding up the event loop.

    Args:
        endpoint: where the collector listens, such as `"http://localhost:4318"`, to which `/v1/traces` is added where
            no path is given, or `"grpc://localhost:4317"` (`grpcs:` with TLS). None for what
            `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_PROTOCOL` say, or the first of these.
        service_name: what the traces are listed under; None for `OTEL_SERVICE_NAME`, or `"sluiceway"`.

    Raises:
        MissingExtra: the exporter is not installed.
        ValueError: *endpoint* is no address.
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


def inspect(port: int = 9465, *, calls: int = 1_000) -> Inspection:
    """Let ``sluiceway top`` look into this process, and remember its last calls for `explain`; return what ends it.

    ``async with telemetry.inspect(): ...`` serves, from the event loop that runs, each function's numbers, the state of
    its layers, recent errors by kind and the slowest calls, as JSON under `/state`, and under `/calls/<call id>` where
    the time of a call went. It listens on 127.0.0.1 and nowhere else, answers requests only that name this machine, and
    shows no prompts, answers, arguments, texts of errors or keys (a sign stands for each key of a layer): but whoever
    has an account on this machine can read it. A call costs about 20 us more while it is open.

    Args:
        port: where to listen; 0 is any free one, which `port` and `url` of what is returned tell.
        calls: how many calls that are over are remembered.

    Raises:
        OSError: on entering: the port is taken.
        TypeError, ValueError: *port* is no port, or *calls* no whole number of at least 1.
    """
    from .inspecting import Inspection  # noqa: PLC0415 - most processes open none

    return Inspection(port, calls)


def remember(calls: int = 1_000) -> Memory:
    """Remember the last *calls* that are over, and those under way, for `explain`; return what ends it.

    ``with telemetry.remember() as memory:`` also has `memory.slowest()` and `memory.recent()`. Names, times and kinds
    of errors are kept; it costs a call about 15 us and 1 to 2 kB.

    Raises:
        TypeError, ValueError: *calls* is no whole number of at least 1.
    """
    from .memory import Memory  # noqa: PLC0415 - most processes remember nothing

    return Memory(calls)


def explain(call_id: str) -> Explanation:
    """Return where the time of the call *call_id* went, until now if it is under way; ``print`` it.

    Log lines have the id as `call_id`, spans as `sluiceway.call.id`. The call must have begun while `remember` or
    `inspect` was open.

    Raises:
        LookupError: the call is not remembered; the message says why that may be.
    """
    from .memory import explain as explained  # noqa: PLC0415 - as above

    return explained(call_id)


def setup(
    *,
    service_name: str | None = None,
    otlp: str | bool | None = None,
    prometheus_port: int | None = None,
    logs: str | None = None,
    sample: float | None = None,
) -> Setup:
    """Set up traces, metrics and logs for an application that has none of them yet, and return what ends them.

    ``async with telemetry.setup(service_name="nightly", otlp=True, prometheus_port=9464, logs="json"): ...``. It makes
    OpenTelemetry's global providers, so that other instrumentations are seen as well; call it once, early. Where the
    application has such a provider already, that one is used, and a warning says so: those applications need no
    `setup`. What is not asked for, here or by `OTEL_*` variables, is not set up.

    Spans are sent in batches by a thread, from a queue of 32,768; `OTEL_BSP_*` change that, and headers, timeouts,
    certificates, resource attributes and the sampler come from their usual variables. `OTEL_SDK_DISABLED=true` makes
    this do nothing.

    Args:
        service_name: what traces and metrics are listed under; None for `OTEL_SERVICE_NAME`, or `"sluiceway"`.
        otlp: where a Jaeger or another collector listens: `"http://localhost:4318"`, or `"grpc://localhost:4317"`
            (`grpcs:` with TLS). True for what `OTEL_EXPORTER_OTLP_*` say, or the first of these; None for what they
            say, or nothing; False for nothing.
        prometheus_port: where metrics are served for a scraper, on 127.0.0.1 unless `OTEL_EXPORTER_PROMETHEUS_HOST`
            says otherwise; 0 for any free port. None for what `OTEL_METRICS_EXPORTER` says (`prometheus`, `otlp`).
        logs: `"text"` or `"json"` lines on stderr from INFO on; None leaves logging to the application. Where lines
            have a handler or a configured structlog already, they go there only.
        sample: the share of traces that are recorded, decided once for each; None for what `OTEL_TRACES_SAMPLER`
            says, or all. Metrics and statistics count every call all the same.

    Raises:
        MissingExtra: what is asked for is not installed.
        OSError: the port is taken.
        TypeError, ValueError: an argument or variable cannot be what it has to be.
    """
    from .setting_up import set_up  # noqa: PLC0415 - brings the SDK

    return set_up(service_name=service_name, otlp=otlp, prometheus_port=prometheus_port, logs=logs, sample=sample)


__all__ = [
    "Scope",
    "add_trace_ids",
    "attached",
    "configure",
    "explain",
    "export_otlp",
    "inspect",
    "linked",
    "listen",
    "process_scopes",
    "prometheus",
    "publish",
    "remember",
    "scopes",
    "setup",
    "unlisten",
]
