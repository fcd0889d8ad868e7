"""Collectors of OTLP on ports of their own: what they received can be looked at."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector(http.server.ThreadingHTTPServer):
    """Takes OTLP over HTTP and remembers it; answers when it may, with `status`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received = []
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        traces = self.path.endswith("/v1/traces")
        self.server.received.append((self.path, ExportTraceServiceRequest.FromString(body) if traces else body))
        self.server.asked.set()
        self.server.may_answer.wait(20)
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args): ...


@contextmanager
def http_collector():
    """Run a collector for OTLP over HTTP."""
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()


class GrpcCollector:
    """Takes OTLP over gRPC and remembers it."""

    def __init__(self):
        self.received = []
        self.port = 0

    def Export(self, request, context):  # noqa: N802 - as the protocol names it
        self.received.append(request)
        return ExportTraceServiceResponse()


@contextmanager
def grpc_collector():
    """Run a collector for OTLP over gRPC."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server

    collector = GrpcCollector()
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        add_TraceServiceServicer_to_server(collector, server)
        collector.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield collector
        finally:
            server.stop(None).wait()


def names(request):
    """Return the names of the spans in *request*, sorted."""
    return sorted(
        span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
    )


def service(request):
    """Return the service that *request* is from."""
    (resource,) = request.resource_spans
    return {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"]
