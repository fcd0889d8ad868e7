"""Spans to a collector: over real HTTP, and without holding up the event loop at the end."""

from __future__ import annotations

import asyncio
import sys

import pytest
from opentelemetry import trace

from collecting import http_collector
from sluiceway import telemetry
from sluiceway.errors import MissingExtra
from sluiceway.layer import Pipeline
from spies import Passing


@pytest.fixture
def collector():
    """A collector on a port of its own."""
    with http_collector() as server:
        yield server


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


@pytest.mark.parametrize("endpoint", ["localhost:4318", "udp://localhost:4317", "http://", "grpc://", ""])
def test_an_address_that_is_none_is_refused(endpoint):
    """At once, with the value and what is meant, not at the first export in a thread."""
    with pytest.raises(ValueError, match="must be an address such as 'http://localhost:4318'"):
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
