"""Nothing that people say, get, or pay with leaves the process by telemetry: a run in which all of it is marked."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from sluiceway import (
    Deployment,
    Pipeline,
    Session,
    bounded,
    budgeted,
    cached,
    circuit_breaker,
    coalesced,
    describe,
    fallback,
    hedged,
    rate_limited,
    retry_jitter,
    routed,
    telemetry,
    timed,
)
from sluiceway.testing.openai_shapes import chunks, completion, openai_error

MARK = "SECRET"
PROMPT, ANSWER, KEY, ARGUMENT, HEADER = (
    f"{MARK}-{what}" for what in ("prompt", "answer", "sk-key", "argument", "header")
)


async def ask(prompt, *, api_key=KEY, model="gpt-4o-mini", stream=False, weather=None, **options):
    """Answer, or fail in ways that quote everything; *weather* decides."""
    await asyncio.sleep(0.05)
    kind = weather.choice(["fine", "fine", "refused", "busy", "broken", "slow"]) if weather else "fine"
    if kind == "slow":
        await asyncio.sleep(60)
    if kind in {"refused", "busy"}:
        raise openai_error(429 if kind == "refused" else 503, f"{prompt} {api_key}", headers={"x-request-id": HEADER})
    if kind == "broken":
        raise ValueError(f"cannot read {prompt} with {options}")
    return completion(ANSWER)


async def broken(prompt, **options):
    """Fail."""
    raise openai_error(500, prompt)


async def tell(prompt, *, api_key=KEY):
    """Tell it as a stream."""
    for chunk in chunks(f"{ANSWER} {ANSWER} {ANSWER}"):
        await asyncio.sleep(0.01)
        yield chunk


def pipelines():
    """Every kind of layer, with keys where layers take them."""
    yield Pipeline(
        timed("5s", first_item="4s"),
        retry_jitter(4, rng=random.Random(3), budget=False),
        bounded(2, by=lambda call: call.kwargs["api_key"]),
        rate_limited(rpm=6_000, by=lambda call: call.kwargs["api_key"]),
        circuit_breaker(min_calls=5, by=lambda call: call.args[0]),
        timed("1s"),
        name="plain",
    )(ask)
    for refusing in (
        bounded(1, max_wait=0, by=lambda call: call.kwargs["api_key"]),
        rate_limited(rpm=1, max_wait=0, by=lambda call: call.kwargs["api_key"]),
        budgeted(tokens=30, count=lambda call: 20, per=lambda call: call.kwargs["api_key"]),
    ):
        yield Pipeline(refusing, name="refusing")(ask)
    yield Pipeline(circuit_breaker(min_calls=1, by=lambda call: call.kwargs["api_key"]), name="breaking")(broken)
    yield Pipeline(cached(), coalesced(key=lambda call: call.args[0]), hedged("100ms"), name="shared")(ask)
    yield Pipeline(fallback(ask, on=Exception), name="falling")(ask)
    yield Pipeline(
        routed(
            Deployment("east", kwargs={"api_key": KEY}),
            Deployment("west", kwargs={"api_key": f"{KEY}-2"}),
        ),
        name="routed",
    )(ask)


async def everything():
    """Run it all; return what people can print of it."""
    weather = random.Random(11)
    async with Session("nightly", span="links") as session:
        shown = []
        for layered in pipelines():
            prompts = [f"{PROMPT} {number}" for number in (1, 1, 2, 3, 4, 5)]
            calls = [layered(each, api_key=KEY, weather=weather, extra=ARGUMENT) for each in prompts]
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.gather(layered(PROMPT, api_key=KEY, weather=weather), return_exceptions=True)
            shown += [repr(layered), str(describe(layered))]  # a snapshot shows whose limit is which: it is for that
        async for _ in Pipeline(timed(9, idle=5), bounded(1), name="told")(tell)(PROMPT, api_key=KEY):
            pass
        given_up = asyncio.ensure_future(next(pipelines())(PROMPT, api_key=KEY, weather=weather))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        shown += [str(session.stats), repr(session.stats), repr(session)]
    return shown


@pytest.mark.parametrize("detail", ["full", "compact", "nested"])
async def test_no_mark_is_in_spans_metrics_logs_events_or_what_can_be_printed(make_spans, caplog, detail):
    """Prompts, answers, keys, arguments and headers, also where errors quote them and limits are kept for each."""
    caplog.set_level(logging.DEBUG)
    spans = make_spans()
    reader = InMemoryMetricReader()
    metered = MeterProvider([reader], shutdown_on_exit=False)
    telemetry.configure(tracer_provider=spans.provider, meter_provider=metered, detail=detail)
    events = []
    telemetry.listen(lambda event: events.append(repr(event)))
    shown = await everything()
    measured = reader.get_metrics_data().to_json()
    lines = [f"{record.getMessage()} {vars(record)}" for record in caplog.records if record.name == "sluiceway"]
    told = {
        "spans": "\n".join(span.to_json() for span in spans.all),
        "metrics": measured,
        "logs": "\n".join(lines),
        "events": "\n".join(events),
        "what can be printed": "\n".join(shown),
    }
    assert {where: len(text) > 500 for where, text in told.items()} == dict.fromkeys(told, True)
    assert [(where, around(text)) for where, text in told.items() if MARK in text] == []


def around(text):
    at = text.index(MARK)
    return text[max(0, at - 150) : at + 50]


async def test_a_mark_that_is_asked_for_is_there(make_spans):
    """With `capture_content=True` the error's text is in its span: the search above would have found it."""
    spans = make_spans()
    telemetry.configure(tracer_provider=spans.provider, capture_content=True)
    await everything()
    assert MARK in "".join(span.to_json() for span in spans.all)


async def test_a_refusal_says_why_and_not_for_whom(make_spans):
    """Its error names the key, for who made the call; its span tells the rest."""
    spans = make_spans()
    telemetry.configure(tracer_provider=spans.provider)
    layer = bounded(1, max_wait=0, by=lambda call: KEY)
    tasks = [asyncio.ensure_future(layer(ask)(PROMPT)) for _ in range(2)]
    _, refusal = await asyncio.gather(*tasks, return_exceptions=True)
    assert f"for '{KEY}'" in str(refusal)
    (told,) = [event for span in spans.all for event in span.events]
    assert told.attributes["exception.message"] == str(refusal).replace(f" for '{KEY}'", "")
