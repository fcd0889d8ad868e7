"""An outage of a minute under load, through the whole stack, with the provider's own ledger."""

import asyncio
import contextlib
import functools
from dataclasses import dataclass, field
from random import Random

import pytest

from sluiceway import (
    CircuitOpen,
    Pipeline,
    Session,
    bounded,
    circuit_breaker,
    rate_limited,
    retry_jitter,
    timed,
)
from sluiceway.events import CallFinished, CircuitChanged
from sluiceway.testing import completion, openai_error, run

LOAD = 60  # calls a second, for the whole time; each takes half a second, so that 30 are in flight
DOWN, UP, END = 60.0, 120.0, 240.0


@dataclass
class Fragile:
    """A provider that is down for a minute and comes back weak: with more in flight than it can bear it answers none.

    The ledger has (began, in flight, status) of every attempt.
    """

    ledger: list = field(default_factory=list)
    in_flight: int = 0

    def bears(self, now):
        return 60 if now < UP else min(60.0, 12.0 + 1.5 * (now - UP))

    async def __call__(self, prompt):
        began = asyncio.get_running_loop().time()
        self.in_flight += 1
        try:
            status = 503 if DOWN <= began < UP else 529 if self.in_flight > self.bears(began) else 200
            self.ledger.append((began, self.in_flight, status))
            await asyncio.sleep(0.5 if status == 200 else 1.0)
        finally:
            self.in_flight -= 1
        if status != 200:
            raise openai_error(status)
        return completion("x", prompt_tokens=10, completion_tokens=10)

    def count(self, status, since, until):
        return sum(status == each and since <= began < until for began, _, each in self.ledger)


async def under_load(*breaker):
    """Send the load through the layers, *breaker* among them; return provider, statistics and events."""
    provider, events = Fragile(), []
    layers = (timed(30), retry_jitter(4, rng=Random(1)), bounded(200), rate_limited(rpm=60 * 120), *breaker, timed(5))
    ask = Pipeline(*layers)(provider)
    loop = asyncio.get_running_loop()

    async def one():
        with contextlib.suppress(Exception):
            await ask("a prompt")

    async with Session(on_event=events.append) as session, asyncio.TaskGroup() as calls:
        while loop.time() < END:
            calls.create_task(one())
            await asyncio.sleep(1 / LOAD)
    return provider, session.stats, events


@functools.cache
def guarded():
    """Run the load once, behind a breaker, for all that is asked of it."""
    return run(under_load(circuit_breaker(window=10, open_for=5, max_open_for=10, rng=Random(2))))


def states(events):
    """Return (at, state) of every change of the circuit."""
    return [(event.at, event.new) for event in events if type(event) is CircuitChanged]


def calls(events, since, until=END):
    """Return the ends of the calls that came in that time."""
    ends = [event for event in events if type(event) is CallFinished]
    return [end for end in ends if since < end.call.started_at < until]


def test_the_provider_is_left_alone_while_it_is_down():
    """The circuit opens within ten seconds; from then on at most one call in twenty reaches the provider."""
    provider, stats, events = guarded()
    opened = next(at for at, state in states(events) if state == "open")
    assert DOWN < opened < DOWN + 10
    asked = provider.count(503, opened, UP)
    assert 0 < asked < LOAD * (UP - opened) / 20
    assert len(provider.ledger) == stats.attempts


def test_refusals_are_immediate_and_nobody_waits_for_nothing():
    """Who comes while the circuit is open is refused in the same instant, unless it is a probe, and waits nowhere."""
    _, _, events = guarded()
    opened = next(at for at, state in states(events) if state == "open")
    came = calls(events, opened, UP)
    refused = [end for end in came if not end.call.run.attempts]
    assert len(refused) > 0.95 * len(came)
    assert {CircuitOpen} == {type(end.error) for end in refused}
    assert {0.0} == {end.latency for end in refused}
    assert all(end.error.retry_after > 0 for end in refused)


def test_recovery_ramps_without_a_second_collapse():
    """Back again, the provider is never asked for more than it bears, and half a minute after all calls succeed."""
    provider, _, events = guarded()
    assert 0 == provider.count(529, UP, END)
    (ramping,) = [at for at, state in states(events) if state == "ramping"]
    (closed,) = [at for at, state in states(events) if state == "closed"]
    assert UP < ramping < UP + 10
    assert ramping + 30 == pytest.approx(closed)
    assert {"ok"} == {end.outcome for end in calls(events, closed)}
    shares = [provider.count(200, ramping + t, ramping + t + 5) / (5 * LOAD) for t in (0, 10, 20, 30)]
    assert [0.2, 0.45, 0.75, 1.0] == pytest.approx(shares, abs=0.1)


def test_without_a_breaker_the_same_provider_does_collapse():
    """What the tests above would see if the layer did nothing: the load falls on a provider that is still weak."""
    provider, _, _ = run(under_load())
    assert provider.count(503, DOWN, UP) > 0.9 * LOAD * (UP - DOWN)
    assert provider.count(529, UP, END) > 100
