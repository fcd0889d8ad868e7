"""Traces to Jaeger and others that take OTLP, over HTTP or gRPC."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from sluiceway.errors import MissingExtra

from .telling_once import TellingOnce

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler

QUEUE: Final = 1 << 15
"""Spans that wait for the exporter's thread: 4,000 calls of a full stack that end at once. The SDK keeps 2,048."""
BATCH: Final = 2_048
"""Spans in a request: about half a MB, an eighth of what a gRPC server takes unless told otherwise."""
DELAY: Final = 1_000.0
"""Milliseconds after which a smaller batch is sent; the SDK waits five seconds."""

_EXAMPLE: Final = "'http://localhost:4318' or 'grpc://localhost:4317'"


class ExportingTracerProvider(TracerProvider):
    """A tracer provider whose end does not hold up the event loop; also usable as ``async with``.

    `shutdown` sends what is queued and may wait for the collector for many seconds; call it at the end of a program
    without a loop, `aclose` inside one. It stays safe to call both.
    """

    _closed = False

    def shutdown(self) -> None:
        """Send what is queued and end the export; a second time does nothing."""
        if not self._closed:
            self._closed = True
            super().shutdown()

    async def aclose(self) -> None:
        """Send what is queued and end the export, in a thread."""
        await asyncio.to_thread(self.shutdown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


def exporting(
    endpoint: str | None, service_name: str | None, sampler: Sampler | None = None
) -> ExportingTracerProvider:
    """Return what `telemetry.export_otlp` does; *sampler* None for what `OTEL_TRACES_SAMPLER` says."""
    exporter = TellingOnce(_span_exporter(endpoint))
    provider = ExportingTracerProvider(sampler=sampler, resource=resource(service_name))
    provider.add_span_processor(batched(exporter))
    return provider


def batched(exporter: SpanExporter) -> BatchSpanProcessor:
    """Return the SDK's processor in front of *exporter*, sized for our volume where `OTEL_BSP_*` says nothing else."""
    return BatchSpanProcessor(
        exporter,
        max_queue_size=_unless_said("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE),
        max_export_batch_size=_unless_said("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH),
        schedule_delay_millis=_unless_said("OTEL_BSP_SCHEDULE_DELAY", DELAY),
    )


def _unless_said(variable: str, value: Any) -> Any:
    return None if os.environ.get(variable) else value


def resource(service_name: str | None) -> Resource:
    """Return who the telemetry is from: *service_name*, else what `OTEL_SERVICE_NAME` and the like say, else us."""
    if service_name:
        return Resource.create({"service.name": service_name})
    said = Resource.create()
    if str(said.attributes.get("service.name", "")).startswith("unknown_service"):
        return said.merge(Resource({"service.name": "sluiceway"}))
    return said


# ------------------------------------------------------------------ which exporter


def over_grpc(endpoint: str | None, signal: str) -> bool:
    """Whether *signal* (`"TRACES"`, `"METRICS"`) goes by gRPC: *endpoint* says so, or `OTEL_EXPORTER_OTLP_PROTOCOL`.

    Raises:
        ValueError: *endpoint* is no address, or the variable names a protocol that the SDK does not speak.
    """
    if endpoint is not None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https", "grpc", "grpcs"} or not parts.hostname:
            raise ValueError(f"endpoint={endpoint!r} must be an address such as {_EXAMPLE}")
        if parts.scheme.startswith("grpc"):
            return True
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(variable)
        if protocol:
            if protocol not in {"grpc", "http/protobuf"}:
                raise ValueError(f"{variable}={protocol!r} must be 'grpc' or 'http/protobuf'")
            return protocol == "grpc"
    return False


def _span_exporter(endpoint: str | None) -> SpanExporter:
    if over_grpc(endpoint, "TRACES"):
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc  # noqa: PLC0415 - optional
        except ImportError as error:
            raise MissingExtra("OTLP over gRPC", "otlp-grpc") from error
        return OverGrpc(**_grpc_address(endpoint))
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtra("OTLP over HTTP", "otlp") from error
    return OTLPSpanExporter(endpoint=None if endpoint is None else _traces_url(endpoint))


def _grpc_address(endpoint: str | None) -> dict[str, Any]:
    """Return what the exporter is told: `grpc:` is without TLS and `grpcs:` with it, as `http:` and `https:` are."""
    if endpoint is None:
        return {}
    parts = urlsplit(endpoint)
    return {"endpoint": parts.netloc, "insecure": parts.scheme in {"grpc", "http"}}


def _traces_url(endpoint: str) -> str:
    if urlsplit(endpoint).path in {"", "/"}:
        return endpoint.rstrip("/") + "/v1/traces"
    return endpoint
