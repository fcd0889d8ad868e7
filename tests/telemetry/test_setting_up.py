"""One call for applications that have no telemetry: what it makes, what it leaves alone, and how it ends."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_state
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._once import Once

from collecting import grpc_collector, http_collector, names, service
from sluiceway import telemetry
from sluiceway.errors import MissingExtra
from sluiceway.layer import Pipeline
from sluiceway.telemetry.logs import standard_log
from sluiceway.telemetry.otlp import BATCH, QUEUE
from spies import Passing


async def answer():
    return "yes"


@pytest.fixture(autouse=True)
def _nothing_set_up(monkeypatch):
    """An application that has nothing: no global providers, no variables; whatever is set goes away again."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics_state, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics_state, "_METER_PROVIDER_SET_ONCE", Once())
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def stand_aside(monkeypatch):
    """Return what takes pytest's own handlers away, which it adds when the test begins."""

    def aside():
        monkeypatch.setattr(standard_log, "propagate", False)
        monkeypatch.setattr(standard_log, "handlers", [])

    return aside


# ------------------------------------------------------------------ traces


@pytest.mark.real
async def test_one_call_and_the_calls_of_the_application_arrive():
    """Traces go to the collector under the service's name, by a provider that is everybody's."""
    with http_collector() as collector:
        async with telemetry.setup(service_name="nightly", otlp=collector.url) as made:
            await Pipeline(Passing(), name="ask")(answer)()
            trace.get_tracer("the application").start_span("its own").end()
            assert trace.get_tracer_provider() is made.tracer_provider
    ((path, request),) = collector.received
    assert (path, service(request), names(request)) == (
        "/v1/traces",
        "nightly",
        ["attempt 1", "call ask", "its own"],
    )


@pytest.mark.real
async def test_traces_go_by_grpc_where_the_address_says_so():
    """`grpc://` is OTLP over gRPC, without TLS."""
    with grpc_collector() as collector:
        async with telemetry.setup(service_name="nightly", otlp=f"grpc://127.0.0.1:{collector.port}"):
            await Pipeline(Passing(), name="ask")(answer)()
    (request,) = collector.received
    assert (service(request), names(request)) == ("nightly", ["attempt 1", "call ask"])


@pytest.mark.real
async def test_the_usual_variables_are_enough(monkeypatch):
    """Address, protocol and name may all come from the environment, where operators set them."""
    with grpc_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=from outside")
        async with telemetry.setup():
            await Pipeline(Passing(), name="ask")(answer)()
    (request,) = collector.received
    assert (service(request), names(request)) == ("from outside", ["attempt 1", "call ask"])


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ({}, None),
        ({"OTEL_SDK_DISABLED": "true"}, "http://localhost:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_nothing_is_sent_unless_asked_for(monkeypatch, said, given):
    """Neither by default, nor where the variables or the argument say no."""
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    with telemetry.setup(otlp=given) as made:
        assert made.tracer_provider is None
    assert trace._TRACER_PROVIDER is None


def test_true_is_the_usual_address():
    """`otlp=True` without variables is a Jaeger on this machine."""
    with telemetry.setup(otlp=True) as made:
        (processor,) = made.tracer_provider._active_span_processor._span_processors
        assert processor.span_exporter.inner._endpoint == "http://localhost:4318/v1/traces"


def test_the_queue_is_sized_for_our_volume(monkeypatch):
    """32,768 spans instead of 2,048, sent 2,048 at a time; the variables still decide."""
    sizes = []
    for said in ("", "100"):
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", said)
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", said)
        provider = telemetry.export_otlp("http://localhost:4318")
        (processor,) = provider._active_span_processor._span_processors
        batch = processor._batch_processor
        sizes.append((batch._max_queue_size, batch._max_export_batch_size))
        provider.shutdown()
    assert sizes == [(QUEUE, BATCH), (100, 100)]


@pytest.mark.real
async def test_a_share_of_the_traces_is_whole_or_absent():
    """With `sample=0.5` some calls are recorded with all their spans and the others not at all."""
    with http_collector() as collector:
        async with telemetry.setup(otlp=collector.url, sample=0.5):
            ask = Pipeline(Passing(), name="ask")(answer)
            for _ in range(100):
                await ask()
    found = [name for _, request in collector.received for name in names(request)]
    calls = found.count("call ask")
    assert 10 < calls < 90
    assert found.count("attempt 1") == calls


# ------------------------------------------------------------------ one provider only


def test_a_second_provider_is_a_warning():
    """An application that has OpenTelemetry keeps its provider, and hears that there will be no other."""
    own = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(own)
    with (
        pytest.warns(RuntimeWarning, match="has a tracer provider already") as told,
        telemetry.setup(otlp="http://localhost:4318") as made,
    ):
        assert made.tracer_provider is None
    assert trace.get_tracer_provider() is own
    assert told[0].filename == __file__


@pytest.mark.real
def test_a_second_meter_provider_is_a_warning():
    """Nothing is served where the application's provider measures: it would be empty."""
    own = MeterProvider(shutdown_on_exit=False)
    metrics.set_meter_provider(own)
    with (
        pytest.warns(RuntimeWarning, match="has a meter provider already"),
        telemetry.setup(prometheus_port=0) as made,
    ):
        assert made.prometheus is None
    assert metrics.get_meter_provider() is own


# ------------------------------------------------------------------ metrics


@pytest.mark.real
async def test_metrics_are_served_for_a_scraper():
    """`prometheus_port` opens it on this machine's own address; the end closes it."""
    async with telemetry.setup(service_name="nightly", prometheus_port=0) as made:
        await Pipeline(Passing(), name="ask")(answer)()
        url = made.prometheus.url
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=20).read().decode())
    assert "sluiceway_call_duration_seconds_count" in text
    assert 'service_name="nightly"' in text
    assert url.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(urllib.request.urlopen, url, timeout=20)


@pytest.mark.real
async def test_metrics_are_pushed_where_the_variable_says_so(monkeypatch):
    """`OTEL_METRICS_EXPORTER=otlp` sends them to the collector, at the end at the latest."""
    with http_collector() as collector:
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with telemetry.setup(otlp=False):
            await Pipeline(Passing(), name="ask")(answer)()
    ((path, body),) = collector.received
    assert path == "/v1/metrics"
    assert b"sluiceway.call.duration" in body


# ------------------------------------------------------------------ logs


async def test_json_lines_join_their_traces(capsys, stand_aside, make_spans):
    """One object a line, with the ids of the call and its trace as fields of their own."""
    stand_aside()
    spans = make_spans()
    telemetry.configure(tracer_provider=spans.provider)
    async with telemetry.setup(logs="json"):
        await Pipeline(Passing(), name="ask")(answer)()
    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["level"], line["call"]) == ("call ok", "info", "ask")
    assert line["trace_id"] == f"{spans.one('call ask').context.trace_id:032x}"


async def test_text_lines_are_for_people(capsys, stand_aside):
    """Time, level, what happened and to whom; nothing is written after the end."""
    stand_aside()
    async with telemetry.setup(logs="text"):
        await Pipeline(Passing(), name="ask")(answer)()
    await Pipeline(Passing(), name="ask")(answer)()
    (line,) = capsys.readouterr().err.splitlines()
    assert "INFO sluiceway call ok: call=ask" in line
    assert standard_log.level == logging.NOTSET


async def test_lines_that_have_a_way_get_no_second_one(capsys, stand_aside):
    """Where the application has a handler, it alone writes; the level is lowered so that there is something."""
    stand_aside()
    own = io.StringIO()
    standard_log.addHandler(logging.StreamHandler(own))
    async with telemetry.setup(logs="text"):
        await Pipeline(Passing(), name="ask")(answer)()
    assert capsys.readouterr().err == ""
    assert own.getvalue().startswith("call ok: call=ask")


def test_structlog_is_left_to_the_application():
    """A configured structlog gets the lines anyway, and a warning says that nothing is added."""
    import structlog

    structlog.configure(processors=[structlog.testing.LogCapture()])
    before = list(standard_log.handlers)
    with pytest.warns(RuntimeWarning, match="structlog is configured"), telemetry.setup(logs="json"):
        assert standard_log.handlers == before


# ------------------------------------------------------------------ what it cannot be


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"otlp": 4318}, TypeError, "otlp=4318 must be the address of a collector"),
        ({"otlp": "localhost"}, ValueError, "endpoint='localhost' must be an address such as"),
        ({"prometheus_port": "9464"}, TypeError, "port='9464' must be a whole number"),
        ({"prometheus_port": 70000}, ValueError, "port=70000 must be from 0"),
        ({"logs": "xml"}, ValueError, "logs='xml' must be 'text', 'json' or None"),
        ({"sample": 2}, ValueError, r"sample=2 must be from 0 \(no trace\) to 1"),
        ({"sample": True}, TypeError, "sample=True must be a share"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_set(arguments, kind, text):
    """The error names the value and what is allowed, and no global provider was set by then."""
    with pytest.raises(kind, match=text):
        telemetry.setup(**arguments)
    assert trace._TRACER_PROVIDER is None
    assert metrics_state._METER_PROVIDER is None


@pytest.mark.real
def test_where_a_part_fails_nothing_is_left_behind():
    """A port that is taken: no provider was set, and no thread waits for spans."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match=r"cannot serve metrics on 127\.0\.0\.1"):
            telemetry.setup(otlp="http://localhost:4318", prometheus_port=taken.getsockname()[1])
    assert trace._TRACER_PROVIDER is None
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("OtelBatchSpan")] == []


def test_a_protocol_that_nobody_speaks_is_refused(monkeypatch):
    """`http/json` is in the specification, and not in the SDK."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_PROTOCOL='http/json' must be"):
        telemetry.setup(otlp=True)


def test_a_port_that_is_none_is_named_with_its_variable(monkeypatch):
    """Operators look for what they wrote."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "http")
    with pytest.raises(ValueError, match="OTEL_EXPORTER_PROMETHEUS_PORT='http' must be a port"):
        telemetry.setup()


def test_without_the_grpc_exporter_the_extra_is_named(monkeypatch):
    """The error says which command installs it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sluiceway\[otlp-grpc\]'"):
        telemetry.setup(otlp="grpc://localhost:4317")


@pytest.mark.real
def test_a_process_that_forgets_the_end_loses_nothing():
    """What is queued when the interpreter leaves is sent by then."""
    script = """
import asyncio, sys
from sluiceway import observed, telemetry
telemetry.setup(service_name="forgetful", otlp=sys.argv[1])
@observed()
async def ask(): ...
asyncio.run(ask())
"""
    with http_collector() as collector:
        subprocess.run([sys.executable, "-W", "error", "-c", script, collector.url], check=True, timeout=60)
    assert [names(request) for _, request in collector.received] == [["attempt 1", "call ask"]]
