"""Metrics on a port: what a scraper gets, and who may ask."""

from __future__ import annotations

import asyncio
import socket
import sys
import urllib.error
import urllib.request

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider

from reporting import Waits
from sluiceway import telemetry
from sluiceway.errors import MissingExtra
from sluiceway.layer import Pipeline
from sluiceway.testing.openai_shapes import completion
from spies import Passing


def scraped(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


async def answer():
    return completion(prompt_tokens=10, completion_tokens=3)


@pytest.mark.real
async def test_a_scraper_reads_the_metrics_of_calls():
    """Names are Prometheus's, with units; labels are the call's name and the model, and no global provider is set."""
    before = api.get_meter_provider()
    async with telemetry.prometheus(0, service_name="nightly") as endpoint:
        telemetry.configure(meter_provider=endpoint.meter_provider)
        await Pipeline(Waits(0.01), name="ask")(answer)()
        text = await asyncio.to_thread(scraped, endpoint.url)
    lines = [line for line in text.splitlines() if 'sluiceway_call_name="ask"' in line]
    assert any(line.startswith("sluiceway_call_duration_seconds_bucket{") for line in lines)
    assert any(line.startswith("sluiceway_wait_duration_seconds_count{") for line in lines)
    assert any(line.startswith("sluiceway_tokens_sum{") and line.endswith(" 10.0") for line in lines)
    assert 'service_name="nightly"' in text
    assert before is api.get_meter_provider()


@pytest.mark.real
async def test_an_application_adds_the_reader_to_its_own_provider():
    """What the application's own provider records is served, ours and its own alike."""
    with telemetry.prometheus(0) as endpoint:
        provider = MeterProvider([endpoint.reader], shutdown_on_exit=False)
        telemetry.configure(meter_provider=provider)
        provider.get_meter("the application").create_counter("orders").add(3)
        await Pipeline(Passing(), name="ask")(answer)()
        text = await asyncio.to_thread(scraped, endpoint.url)
    assert "orders_total" in text
    assert "sluiceway_call_duration_seconds_count" in text


@pytest.mark.real
async def test_it_listens_on_this_machine_alone_and_tells_its_port():
    """Port 0 is any free one; the address is 127.0.0.1 unless another is given."""
    async with telemetry.prometheus(0) as endpoint:
        assert "127.0.0.1" == endpoint.host
        assert 0 < endpoint.port
        assert f"http://127.0.0.1:{endpoint.port}/metrics" == endpoint.url


@pytest.mark.real
async def test_after_the_end_nobody_listens():
    """The port is free again, closing twice does nothing, and calls go on unmeasured."""
    endpoint = telemetry.prometheus(0)
    telemetry.configure(meter_provider=endpoint.meter_provider)
    await endpoint.aclose()
    await endpoint.aclose()
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(scraped, endpoint.url)
    await Pipeline(Passing(), name="ask")(answer)()
    with telemetry.prometheus(endpoint.port) as again:
        assert endpoint.port == again.port


@pytest.mark.real
def test_it_needs_no_event_loop():
    """Applications set up telemetry before `asyncio.run`."""
    with telemetry.prometheus(0) as endpoint:
        assert endpoint.meter_provider is endpoint.meter_provider
        endpoint.meter_provider.get_meter("the application").create_counter("orders").add(3)
        assert "orders_total" in scraped(endpoint.url)


@pytest.mark.real
def test_a_port_that_is_taken_is_named():
    """The error says which address could not be had."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot serve metrics on 127.0.0.1:{port}"):
            telemetry.prometheus(port)


@pytest.mark.parametrize(
    ("port", "error"),
    [("9464", TypeError), (True, TypeError), (None, TypeError), (-1, ValueError), (65536, ValueError)],
)
def test_what_is_no_port_is_refused(port, error):
    """With the value and what is allowed."""
    with pytest.raises(error, match=r"must be .*from 0 \(any free one\) to 65535"):
        telemetry.prometheus(port)


def test_without_the_exporter_the_extra_is_named(monkeypatch):
    """The error says which command installs it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.prometheus", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sluiceway\[prometheus\]'"):
        telemetry.prometheus(0)
