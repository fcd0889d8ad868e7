"""The whole of it with the real layers: the trace of a call that had a bad day, and numbers that agree with it."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from sluiceway import Pipeline, Session, bounded, circuit_breaker, rate_limited, retry_jitter, telemetry, timed
from sluiceway.events import AttemptFinished, BackedOff, CallFinished, Waited
from sluiceway.testing.openai_shapes import completion, openai_error


def bad_day():
    """A provider that answers 429, then 503, then well; each takes a second."""
    script = [openai_error(429, headers={"retry-after": "2"}), openai_error(503), completion("fine")]

    async def summarize(text):
        await asyncio.sleep(1)
        step = script.pop(0) if script else completion("fine")
        if isinstance(step, Exception):
            raise step
        return step

    return summarize


def pipeline():
    return Pipeline(
        timed("60s"),
        retry_jitter(attempts=5, rng=random.Random(1)),
        bounded(1),
        rate_limited(rpm=600, tpm=200_000),
        circuit_breaker(),
        name="summarize",
    )


async def one_that_waits(call):
    """Run another call first, which takes the only place for three seconds."""
    layers = pipeline()
    slow = layers(asyncio.sleep)
    ask = layers(call)
    first = asyncio.ensure_future(slow(3))
    await asyncio.sleep(0)
    answer = await ask("a secret text")
    await first
    return answer


def of_call(spans, attempts):
    """The spans of the one call with so many attempts: its own, then its children in order."""
    call = next(span for span in spans.all if span.attributes.get("sluiceway.call.attempts") == attempts)
    return call, [span for span in spans.all if span.parent and span.parent.span_id == call.context.span_id]


async def test_the_trace_of_a_call_reads_as_what_happened(spans):
    """A call that waited, met 429 and 503, and succeeded: flat phases in order, and only two attempts failed."""
    assert (await one_that_waits(bad_day())).choices[0].message.content == "fine"
    call, children = of_call(spans, 3)
    told = [span for span in children if span.name not in {"timed", "retry check"}]
    passing = ["bounded wait", "rate limit wait", "circuit check"]
    assert [span.name for span in told] == [
        *passing,
        "attempt 1",
        "backoff",
        *passing,
        "attempt 2",
        "backoff",
        *passing,
        "attempt 3",
    ]
    attempts = [span for span in told if span.name.startswith("attempt")]
    assert {span.kind for span in attempts} == {SpanKind.CLIENT}
    assert [span.attributes.get("http.response.status_code") for span in attempts] == [429, 503, None]
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert attempts[2].attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert {span.status.status_code for span in spans.all if span not in attempts} == {StatusCode.UNSET}
    assert (call.name, call.kind) == ("call summarize", SpanKind.INTERNAL)
    assert {"sluiceway.call.outcome": "ok", "sluiceway.call.attempts": 3}.items() <= dict(call.attributes).items()
    assert call.attributes["sluiceway.wait.bounded"] >= 3


async def test_phases_say_what_their_layers_know(spans):
    """The numbers that explain a wait stand on it: limits, what was left, the state, the delay and its source."""
    await one_that_waits(bad_day())
    _, children = of_call(spans, 3)
    keys = {span.name: set(span.attributes) for span in children}
    assert keys["bounded wait"] == {
        "sluiceway.bounded.limit",
        "sluiceway.bounded.in_flight",
        "sluiceway.queue.depth",
    }
    assert {
        "sluiceway.rate_limit.requested",
        "sluiceway.rate_limit.remaining",
        "sluiceway.rate_limit.limit",
        "sluiceway.rate_limit.unit",
    } <= keys["rate limit wait"]
    assert "sluiceway.circuit_breaker.state" in keys["circuit check"]
    assert keys["backoff"] == {
        "sluiceway.retry.delay",
        "sluiceway.retry.delay_source",
        "sluiceway.retry.reason",
    }


async def test_siblings_stand_apart_and_inside_their_call(spans):
    """A microsecond at least between phases and attempts, all of them within the call."""
    await one_that_waits(bad_day())
    call, children = of_call(spans, 3)
    gaps = [after.start_time - before.end_time for before, after in itertools.pairwise(children)]
    assert min(gaps) >= 1_000
    assert call.start_time <= min(span.start_time for span in children)
    assert call.end_time >= max(span.end_time for span in children)


async def test_statistics_events_and_spans_tell_the_same(spans):
    """Counts and times in a session's statistics equal those of the events and those of the exported spans."""
    events = []
    telemetry.listen(events.append)
    async with Session("acceptance") as session:
        await one_that_waits(bad_day())
        stats = session.stats

    def of(kind):
        return [event for event in events if type(event) is kind]

    calls, attempts, backoffs = of(CallFinished), of(AttemptFinished), of(BackedOff)
    assert (stats.calls, stats.attempts, stats.retries) == (len(calls), len(attempts), len(backoffs)) == (2, 4, 2)
    assert stats.tokens.total == sum(event.attempt.usage.total for event in attempts if event.attempt.usage)
    waited = sum(event.at - event.started_at for event in [*of(Waited), *backoffs])
    told = {name: value for span in spans.all for name, value in span.attributes.items() if ".wait." in name}
    assert waited == pytest.approx(sum(told.values()))
    names = spans.names()
    assert len([name for name in names if name.startswith("attempt")]) == len(attempts)
    assert names.count("backoff") == len(backoffs)
    assert names.count("call summarize") == len(calls)
    assert {span.attributes["session.id"] for span in spans.all if span.name == "call summarize"} == {session.id}


async def test_no_content_leaves_the_process(spans, info):
    """Neither the prompt nor the answer stands in any span or log line."""
    await one_that_waits(bad_day())
    exported = "".join(span.to_json() for span in spans.all) + info.text
    assert "a secret text" not in exported
    assert "fine" not in exported


async def test_compact_keeps_what_took_time(spans):
    """With `detail="compact"` the same call is told by its wait, its backoffs and its attempts."""
    telemetry.configure(tracer_provider=spans.provider, detail="compact")
    await one_that_waits(bad_day())
    _, children = of_call(spans, 3)
    told = [span.name for span in children if not span.name.startswith("rate limit")]
    assert told == ["bounded wait", "attempt 1", "backoff", "attempt 2", "backoff", "attempt 3"]
