"""The application's own log lines: found from their trace and their call."""

from __future__ import annotations

import subprocess
import sys

import pytest
import structlog
from opentelemetry import trace
from structlog.testing import capture_logs

from sluiceway import Session, telemetry
from sluiceway.layer import Pipeline
from sluiceway.testing.openai_shapes import completion
from spies import Passing


@pytest.fixture
def lines():
    """The lines of an application that configured the processor."""
    structlog.configure(processors=[telemetry.add_trace_ids])
    with capture_logs(processors=[telemetry.add_trace_ids]) as found:
        yield found


@Pipeline(Passing(), name="ask")
async def ask():
    structlog.get_logger().info("asking", about="weirs")
    return completion()


async def test_a_line_inside_a_call_names_attempt_call_and_session(lines, spans):
    """Its span is the attempt's, its call and session are those that sluiceway's own lines name."""
    async with Session("nightly") as session:
        await ask()
    own = next(line for line in lines if line["event"] == "asking")
    finished = next(line for line in lines if line["event"] == "call ok")
    attempt = spans.one("attempt 1").context
    assert (f"{attempt.trace_id:032x}", f"{attempt.span_id:016x}") == (own["trace_id"], own["span_id"])
    assert (finished["trace_id"], finished["call_id"], session.id) == (
        *(own["trace_id"], own["call_id"]),
        own["session_id"],
    )


async def test_a_line_inside_a_call_that_nobody_traces_names_the_call(lines):
    """Without spans there is no trace id, and the call's own is there all the same."""
    await ask()
    own = next(line for line in lines if line["event"] == "asking")
    assert {"event", "log_level", "about", "call_id"} == set(own)


def test_a_line_in_a_span_of_the_application_names_that(lines, spans):
    """Outside of calls the current span is the application's own."""
    with spans.tracer.start_as_current_span("request") as span:
        structlog.get_logger().info("here")
    assert f"{span.get_span_context().span_id:016x}" == lines[0]["span_id"]
    assert "call_id" not in lines[0]


def test_what_a_line_says_already_is_kept(spans):
    """Somebody who names a trace means it."""
    with spans.tracer.start_as_current_span("request"):
        line = telemetry.add_trace_ids(None, "info", {"event": "here", "trace_id": "mine"})
    assert "mine" == line["trace_id"]


def test_nothing_is_added_where_there_is_nothing():
    """A line outside of spans and calls is as it was."""
    assert {"event": "here"} == telemetry.add_trace_ids(None, "info", {"event": "here"})


def test_a_span_that_fails_does_not_lose_the_line():
    """The processor stands between the application and its log."""

    class Broken(trace.NonRecordingSpan):
        def get_span_context(self):
            raise RuntimeError("no")

    with trace.use_span(Broken(trace.INVALID_SPAN_CONTEXT)):
        assert {"event": "here"} == telemetry.add_trace_ids(None, "info", {"event": "here"})


_A_BAD_DAY = """
import asyncio
from sluiceway import *
from sluiceway.providers.openai import client
from sluiceway.simulator import Simulator

@fallback("gpt-4o")
@timed("5s")
@budgeted(tokens=100_000, unknown="ignore")
@retry_jitter(3, base="1ms")
@hedged("20ms")
@bounded(4, max_queue=9)
@rate_limited(rpm=6000)
@circuit_breaker(min_calls=5, open_for="50ms")
async def ask(api, prompt, model="gpt-4o-mini"):
    messages = [{"role": "user", "content": prompt}]
    return await api.chat.completions.create(model=model, messages=messages, stream=prompt.endswith("7"))

async def main():
    weather = {"errors": {503: 0.3, 400: 0.1}, "latency": "30ms", "reset_rate": 0.05, "seed": 1}
    async with Simulator(**weather) as simulator, client(base_url=simulator.base_url, api_key="key") as api:
        async with Session("bad day") as session:
            calls = [asyncio.ensure_future(ask(api, f"prompt {number}")) for number in range(60)]
            await asyncio.sleep(0.1)
            calls[0].cancel()
            done = await asyncio.gather(*calls, return_exceptions=True)
            for stream in done:
                if hasattr(stream, "__anext__"):
                    await anext(stream)  # and leave it
            del stream, done, calls
    stats = session.stats
    assert stats.succeeded and stats.failed and stats.rejected, str(stats)

asyncio.run(main())
"""


@pytest.mark.real
def test_a_bad_day_is_silent_on_stdout_and_stderr():
    """Retries, refusals, open circuits, hedges, fallbacks, a cancellation, streams left half-way: nobody asked."""
    command = [sys.executable, "-W", "error", "-c", _A_BAD_DAY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
