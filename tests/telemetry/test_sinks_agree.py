"""Metrics, statistics and remembered calls of one bad day: four ways to count the same facts, and one result."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from measured import Collected
from sluiceway import (
    Pipeline,
    Session,
    bounded,
    cached,
    circuit_breaker,
    coalesced,
    hedged,
    rate_limited,
    retry_jitter,
    telemetry,
    timed,
)
from sluiceway.events import AttemptFinished, CallFinished
from sluiceway.telemetry import metrics
from sluiceway.testing.openai_shapes import completion, openai_error

MODEL = "gpt-4o-mini"


@pytest.fixture
def collected(monkeypatch):
    """Collect every call's metrics; prices stay unread."""
    monkeypatch.setattr(metrics, "load_soon", lambda: None)
    found = Collected()
    telemetry.configure(meter_provider=found.provider)
    return found


async def a_bad_day(calls):
    """Make *calls* through every kind of layer to a provider that is slow, busy, wrong and sometimes well."""
    rng = Random(7)

    @Pipeline(
        cached(key=lambda call: str(call.args[0] % 150)),
        coalesced(key=lambda call: call.args[0]),
        timed("9s"),
        retry_jitter(3, rng=Random(1)),
        hedged("1s"),
        bounded(12, max_queue=3),
        rate_limited(rpm=2000, burst="500ms"),
        circuit_breaker(failure_ratio=0.6, open_for="2s", rng=Random(2)),
        name="ask",
    )
    async def ask(number, model=MODEL):
        await asyncio.sleep(rng.expovariate(2.0))
        chance = rng.random()
        if chance < 0.3:
            raise openai_error(429 if chance < 0.1 else 503 if chance < 0.25 else 400)
        return completion(prompt_tokens=number, completion_tokens=7)

    async def one(number):
        await asyncio.sleep(rng.uniform(0, 10))
        task = asyncio.ensure_future(ask(number % 220))
        if number % 17 == 0:
            await asyncio.sleep(0.4)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(one(number) for number in range(calls)))


def by(points, label):
    """The counts of points added up by *label*."""
    found = Counter()
    for labels, value in points:
        found[labels.get(label)] += value[0] if isinstance(value, tuple) else value
    return found


async def test_metrics_statistics_and_remembered_calls_agree_to_the_unit(collected):
    """Outcomes, attempts, retries, tokens, waits, refusals, hedges, what was spared: each number is the same."""
    over, outlived = set(), []

    def note(event):  # an attempt that a coalesced call left to others is no part of where its own time went
        if isinstance(event, CallFinished):
            over.add(event.call.run.id)
        elif isinstance(event, AttemptFinished) and event.call.run.id in over:
            outlived.append(event)

    telemetry.listen(note)
    with telemetry.remember(10_000) as memory:
        async with Session("bad day") as session:
            await a_bad_day(400)
        calls = memory.recent(10_000)
    stats = session.stats
    outcomes = by(collected.points("call.duration"), "outcome")
    counted = (stats.succeeded, stats.failed, stats.rejected, stats.timed_out, stats.cancelled)
    assert all(counted[:3])
    assert counted[4]
    assert counted == tuple(outcomes[each] for each in ("ok", "error", "rejected", "timed out", "cancelled"))
    assert +outcomes == Counter(call.outcome for call in calls)

    attempts = by(collected.points("attempt.duration"), "outcome")
    assert stats.attempts == attempts.total()
    assert stats.attempts == len(outlived) + sum(step.kind == "attempt" for call in calls for step in call.steps)
    assert stats.retries == by(collected.points("retries"), "name").total() > 0
    tokens = {labels["type"]: total for labels, (_, total) in collected.points("tokens")}
    assert (stats.tokens.input, stats.tokens.output) == (tokens["input"], tokens["output"])

    waits = {labels["reason"]: value for labels, value in collected.points("wait.duration")}
    assert {reason: wait.count for reason, wait in stats.waits.items()} == {each: n for each, (n, _) in waits.items()}
    assert {each: pytest.approx(wait.seconds) for each, wait in stats.waits.items()} == {
        each: seconds for each, (_, seconds) in waits.items()
    }
    assert stats.refusals == by(collected.points("rejections"), "layer")
    spared = (stats.cache_hits, stats.coalesced, stats.hedges, stats.wasted_attempts)
    assert all(spared)
    names = ("cache.hits", "coalesced", "hedges", "hedges.lost")
    assert spared == tuple(by(collected.points(name), "name").total() for name in names)
    assert [({"name": "ask"}, 0)] == collected.points("calls.active")
