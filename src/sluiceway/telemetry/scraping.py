"""Metrics on a port that a Prometheus scrapes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from sluiceway.errors import MissingExtra

if TYPE_CHECKING:
    import threading
    from types import TracebackType
    from wsgiref.simple_server import WSGIServer

    from opentelemetry.sdk.metrics.export import MetricReader

PORT: Final = 9464
"""OpenTelemetry's port for this, which the environment variable `OTEL_EXPORTER_PROMETHEUS_PORT` means too."""


class PrometheusEndpoint:
    """Metrics under `url`, served by a thread until it is closed; also usable as ``with`` and ``async with``.

    It is the server of `prometheus_client`: it answers while the event loop is busy, and needs none.

    Attributes:
        host, port: where it listens; the port that was found if 0 was asked for.
        reader: what it serves; an application that makes its own `MeterProvider` gives it this.
    """

    def __init__(
        self, server: WSGIServer, thread: threading.Thread, reader: MetricReader, service_name: str | None
    ) -> None:
        self.host = str(server.server_address[0])
        self.port = server.server_port
        self.reader = reader
        self._server = server
        self._thread = thread
        self._service_name = service_name
        self._provider: MeterProvider | None = None
        self._closed = False

    @property
    def url(self) -> str:
        """What a scraper asks, such as `"http://127.0.0.1:9464/metrics"`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    @property
    def meter_provider(self) -> MeterProvider:
        """The provider whose instruments are served here, made on first use; no global is set."""
        if self._provider is None:
            said = {} if self._service_name is None else {"service.name": self._service_name}
            self._provider = MeterProvider([self.reader], Resource.create(said), shutdown_on_exit=False)
        return self._provider

    def ends_with(self, provider: MeterProvider) -> None:
        """Have `close` end *provider* too, whose reader this is: a reader must not be ended twice."""
        self._provider = provider

    def close(self) -> None:
        """Stop listening and end the provider that was made here; a second time does nothing.

        It waits for the thread, half a second at the most: inside an event loop use `aclose`.
        """
        if self._closed:
            return
        self._closed = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self._provider is None:
            self.reader.shutdown()
        else:
            self._provider.shutdown()

    async def aclose(self) -> None:
        """Do what `close` does, in a thread."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<PrometheusEndpoint {self.url}{' closed' if self._closed else ''}>"


def serve(port: int, host: str, service_name: str | None) -> PrometheusEndpoint:
    """Return what `telemetry.prometheus` does."""
    check_port(port)
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 - optional
        from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtra("prometheus()", "prometheus") from error
    registry = CollectorRegistry()
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise OSError(error.errno, f"cannot serve metrics on {host}:{port}: {error.strerror or error}") from None
    return PrometheusEndpoint(server, thread, PrometheusMetricReader(registry=registry), service_name)


def check_port(port: Any) -> None:
    """Refuse what is no port.

    Raises:
        TypeError: *port* is no int.
        ValueError: it is not between 0 and 65,535.
    """
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port={port!r} must be a whole number from 0 (any free one) to 65535")
    if not 0 <= port <= 65535:
        raise ValueError(f"port={port!r} must be from 0 (any free one) to 65535")
