"""Traces to Jaeger and others that take OTLP over HTTP."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from sluiceway.errors import MissingExtra

if TYPE_CHECKING:
    from types import TracebackType


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


def exporting(endpoint: str | None, service_name: str | None) -> ExportingTracerProvider:
    """Return what `telemetry.export_otlp` does."""
    url = None if endpoint is None else _traces_url(endpoint)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtra("export_otlp()", "otlp") from error
    name = service_name or os.environ.get("OTEL_SERVICE_NAME") or "sluiceway"
    provider = ExportingTracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return provider


def _traces_url(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"endpoint={endpoint!r} must be an HTTP address such as 'http://localhost:4318'")
    if parts.path in {"", "/"}:
        return endpoint.rstrip("/") + "/v1/traces"
    return endpoint
