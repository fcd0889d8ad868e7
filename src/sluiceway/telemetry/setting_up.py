"""One call for an application that has no telemetry yet."""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.metrics import _internal as metrics_state
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from sluiceway.errors import MissingExtra

from .log_lines import LogLines
from .otlp import exporting, over_grpc, resource
from .scraping import PORT, check_port, serve

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import Sampler

    from .scraping import PrometheusEndpoint

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_HERE: Final = "http://localhost:4318"


class Setup:
    """What `telemetry.setup` set up; also usable as ``async with``, or ``with`` where there is no event loop.

    Attributes:
        tracer_provider: OpenTelemetry's global one if it was made here; None otherwise.
        meter_provider: likewise.
        prometheus: where metrics are served; None if they are not.

    At the end of the process the SDK sends what is queued by itself, which may take seconds if the collector is slow.
    """

    def __init__(self) -> None:
        self.tracer_provider: TracerProvider | None = None
        self.meter_provider: MeterProvider | None = None
        self.prometheus: PrometheusEndpoint | None = None
        self._lines: LogLines | None = None
        self._closed = False

    async def flush(self) -> None:
        """Send what is queued, and return when the collector has it or it was given up."""
        for provider in (self.tracer_provider, self.meter_provider):
            if provider is not None:
                await asyncio.to_thread(provider.force_flush)

    def shutdown(self) -> None:
        """Send what is queued and end all of it; a second time does nothing. Inside an event loop use `aclose`.

        OpenTelemetry lets nobody take a global provider away: calls that come later find one that records nothing.
        """
        lines, self._lines = self._lines, None
        if lines is not None:
            lines.remove()
        if self.prometheus is not None:
            self.prometheus.close()  # and the provider with it
        elif self.meter_provider is not None and not self._closed:
            self.meter_provider.shutdown()
        if self.tracer_provider is not None:
            self.tracer_provider.shutdown()
        self._closed = True

    async def aclose(self) -> None:
        """Do what `shutdown` does, in a thread: a slow collector does not hold up the event loop."""
        await asyncio.to_thread(self.shutdown)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


def set_up(
    *,
    service_name: str | None,
    otlp: str | bool | None,
    prometheus_port: int | None,
    logs: str | None,
    sample: float | None,
) -> Setup:
    """Do what `telemetry.setup` does."""
    _check(otlp, sample)
    lines = None if logs is None else LogLines(logs)
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    traces_to = None if disabled else _traces_to(otlp=otlp)
    port = None if disabled else _port_of_the_environment() if prometheus_port is None else prometheus_port
    pushes = not disabled and _asked("METRICS", "otlp")
    if port is not None:
        check_port(port)
    if traces_to is not None and _there_already("tracer", trace_api._TRACER_PROVIDER):  # noqa: SLF001 - public is a proxy
        traces_to = None
    if (port is not None or pushes) and _there_already("meter", metrics_state._METER_PROVIDER):  # noqa: SLF001 - as above
        port, pushes = None, False
    made = Setup()
    try:
        if traces_to is not None:
            sampler = None if sample is None else sampling(sample)
            made.tracer_provider = exporting(traces_to or None, service_name, sampler)
        if port is not None or pushes:
            _measure(made, port, service_name, pushes=pushes)
    except BaseException:
        made.shutdown()
        raise
    _set_globals(made)
    if lines is not None:
        lines.add()
        made._lines = lines  # noqa: SLF001 - our own
    return made


def _measure(made: Setup, port: int | None, service_name: str | None, *, pushes: bool) -> None:
    readers: list[MetricReader] = []
    if port is not None:
        made.prometheus = serve(port, os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "127.0.0.1", None)
        readers.append(made.prometheus.reader)
    if pushes:
        readers.append(_pushing_reader())
    made.meter_provider = MeterProvider(readers, resource(service_name))
    if made.prometheus is not None:
        made.prometheus.ends_with(made.meter_provider)


def sampling(share: float) -> Sampler:
    """Return what records a *share* of the traces, each whole or not at all; a trace from elsewhere has decided."""
    return ParentBased(TraceIdRatioBased(share))


def _set_globals(made: Setup) -> None:
    """Last, when nothing can fail any more: a global provider can be set once."""
    if made.tracer_provider is not None:
        trace_api.set_tracer_provider(made.tracer_provider)
    if made.meter_provider is not None:
        metrics_api.set_meter_provider(made.meter_provider)


def _there_already(what: str, provider: Any) -> bool:
    """Whether the application has such a *provider*; it is told that it stays the only one."""
    if provider is None:
        return False
    warnings.warn(
        f"OpenTelemetry has a {what} provider already ({type(provider).__name__}): it is used, and "
        f"telemetry.setup() makes no second one",
        RuntimeWarning,
        stacklevel=4,
    )
    return True


# ------------------------------------------------------------------ what is asked for


def _traces_to(*, otlp: str | bool | None) -> str | None:
    """Return the collector's address, empty for what the environment says; None to send nothing."""
    if isinstance(otlp, str):
        over_grpc(otlp, "TRACES")  # whether it is an address at all
        return otlp
    said = any(os.environ.get(variable) for variable in _ENDPOINTS)
    if otlp is None:
        otlp = (said or _asked("TRACES", "otlp")) and not _asked("TRACES", "none")
    if not otlp:
        return None
    return "" if said or over_grpc(None, "TRACES") else _HERE


def _asked(signal: str, exporter: str) -> bool:
    return exporter in os.environ.get(f"OTEL_{signal}_EXPORTER", "").replace(" ", "").split(",")


def _port_of_the_environment() -> int | None:
    if not _asked("METRICS", "prometheus"):
        return None
    said = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT") or str(PORT)
    if not said.isdecimal():
        raise ValueError(f"OTEL_EXPORTER_PROMETHEUS_PORT={said!r} must be a port such as {PORT}")
    return int(said)


def _pushing_reader() -> MetricReader:
    exporter: Any
    try:
        if over_grpc(None, "METRICS"):
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as exporter  # noqa: PLC0415, N813 - optional
        else:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as exporter  # noqa: PLC0415, N813 - optional
    except ImportError as error:
        raise MissingExtra("OTEL_METRICS_EXPORTER=otlp", "otlp") from error
    return PeriodicExportingMetricReader(exporter())


def _check(otlp: Any, sample: Any) -> None:
    if otlp is not None and not isinstance(otlp, (str, bool)):
        raise TypeError(f"otlp={otlp!r} must be the address of a collector, True, False or None")
    if sample is None:
        return
    if isinstance(sample, bool) or not isinstance(sample, (int, float)):
        raise TypeError(f"sample={sample!r} must be a share of the traces such as 0.1")
    if not 0 <= sample <= 1:
        raise ValueError(f"sample={sample!r} must be from 0 (no trace) to 1 (every one)")
