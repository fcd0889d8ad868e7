"""Spans to a collector: over real HTTP, and without holding up the event loop at the end."""

from __future__ import annotations

import asyncio
import http.server
import sys
import threading

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sluiceway import telemetry
from sluiceway.errors import MissingExtra
from sluiceway.layer import Pipeline
from spies import Passing


class Collector(http.server.ThreadingHTTPServer):
    """Takes OTLP over HTTP and remembers it; answers when it may."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.server.asked.set()
        self.server.may_answer.wait(20)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args): ...


@pytest.fixture
def collector():
    """A collector on a port of its own."""
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.may_answer.set()
    server.shutdown()
    server.server_close()
    thread.join()


async def answer():
    return "yes"


@pytest.mark.real
async def test_calls_arrive_at_the_collector_under_the_services_name(collector):
    """What is queued is sent at the end; spans arrive as they were, and no global provider is set."""
    before = trace.get_tracer_provider()
    async with telemetry.export_otlp(collector.url, service_name="nightly") as provider:
        telemetry.configure(tracer_provider=provider)
        await Pipeline(Passing(), name="ask")(answer)()
    ((path, request),) = collector.received
    (resource,) = request.resource_spans
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (path, attributes["service.name"]) == ("/v1/traces", "nightly")
    names = [span.name for scope in resource.scope_spans for span in scope.spans]
    assert sorted(names) == ["attempt 1", "call ask"]
    assert trace.get_tracer_provider() is before


@pytest.mark.real
async def test_the_end_does_not_hold_up_the_event_loop(collector):
    """While a slow collector keeps the last batch waiting, the loop goes on."""
    collector.may_answer.clear()
    provider = telemetry.export_otlp(collector.url)
    telemetry.configure(tracer_provider=provider)
    await Pipeline(Passing(), name="ask")(answer)()
    closing = asyncio.ensure_future(provider.aclose())
    await asyncio.to_thread(collector.asked.wait, 20)  # the batch is under way, and nobody answers
    assert not closing.done()
    collector.may_answer.set()
    await closing
    await provider.aclose()  # a second time does nothing


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://jaeger:4318", "http://jaeger:4318/v1/traces"),
        ("https://collector.example/", "https://collector.example/v1/traces"),
        ("http://collector.example/otlp/traces", "http://collector.example/otlp/traces"),
    ],
)
def test_the_path_of_traces_is_added_where_there_is_none(endpoint, url):
    """People know the collector's address, not OTLP's paths; a path that is given is kept."""
    from sluiceway.telemetry.otlp import _traces_url

    assert _traces_url(endpoint) == url


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://localhost:4317", "http://", ""])
def test_an_address_that_is_none_is_refused(endpoint):
    """At once, with the value and what is meant, not at the first export in a thread."""
    with pytest.raises(ValueError, match="must be an HTTP address such as 'http://localhost:4318'"):
        telemetry.export_otlp(endpoint)


def test_without_the_exporter_the_extra_is_named(monkeypatch):
    """The error says which command installs it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sluiceway\[otlp\]'"):
        telemetry.export_otlp()


def test_the_services_name_may_come_from_the_environment(monkeypatch):
    """`OTEL_SERVICE_NAME` is what people set; otherwise the traces are listed under "sluiceway"."""
    names = []
    for value in ("from outside", ""):
        monkeypatch.setenv("OTEL_SERVICE_NAME", value)
        provider = telemetry.export_otlp()
        names.append(provider.resource.attributes["service.name"])
        provider.shutdown()
    assert names == ["from outside", "sluiceway"]
