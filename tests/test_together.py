"""All layers together, in any order and whatever happens: nothing leaks, nothing hangs, every call ends."""

from __future__ import annotations

import asyncio
import gc
import warnings
from asyncio import CancelledError
from collections import Counter
from contextlib import aclosing, contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sluiceway
from sluiceway import HIGH, LOW, Fair, Fifo, Pipeline, Priority, Rejected, TimedOut, hints, layers
from sluiceway.events import AttemptFinished, AttemptStarted, CallFinished, CallStarted, Settled, Waited
from sluiceway.running import switch
from sluiceway.testing import completion, openai_error, run
from sluiceway.testing.openai_shapes import StatusError
from stepping import cancel_at_every_step

REGISTERED = layers.registered()
EXPECTED = (Rejected, TimedOut, StatusError, ConnectionError)

# ------------------------------------------------------------------ one of each layer, with settings


def one(*values):
    return st.sampled_from(values)


def tenant(call):
    return call.hints.tenant


def no_key(_call):
    return None


QUEUES = st.sampled_from([None, Fifo, Priority, lambda: Fair(key=tenant)]).map(lambda make: make and make())
WAITS = {"max_wait": one(None, 0, 1.5), "max_queue": one(None, 1), "queue": QUEUES}
SETTINGS = {
    "adaptive_bound": {"initial": one(1, 2), "max": one(None, 3), "by": one(None, tenant), **WAITS},
    "adaptive_rate": {"initial": one(1.0, 5.0), "law": one("cubic", "aimd"), "by": one(None, tenant), **WAITS},
    "bounded": {"limit": one(1, 2), "by": one(None, tenant), **WAITS},
    "budgeted": {"tokens": one(3_000, 10**9), "per": one(None, "tenant")},
    "cached": {"key": one(None, no_key), "ttl": one(None, 1)},
    "chaos": {"errors": one({429: 0.3, 500: 0.2}), "cut": one(0.2), "reset": one(0.1), "enabled": one(True)},
    "circuit_breaker": {"min_calls": one(1, 3), "open_for": one(1), "by": one(None, tenant)},
    "coalesced": {},
    "fallback": {},
    "hedged": {"after": one(0.3, 2)},
    "observed": {"detail": one(None, "compact")},
    "rate_limited": {
        "rpm": one(None, 60, 600),
        "tpm": one(60_000, 10**9),
        "in_flight": one(None, 2),
        "by": one(None, tenant),
        **WAITS,
    },
    "retry_jitter": {"attempts": one(2, 3), "base": one(0, 0.5)},
    "routed": {},
    "shed": {"max_wait": one(None, 2)},
    "timed": {"limit": one(None, 3), "first_item": one(None, 1), "idle": one(None, 1)},
}
ARGUMENTS = {
    "fallback": lambda: ("another",),
    "routed": lambda: (
        sluiceway.Deployment("a", kwargs={"model": "a"}, layers=[REGISTERED["bounded"](1)]),
        sluiceway.Deployment("b", kwargs={"model": "b"}),
    ),
}
NAMES = sorted(REGISTERED.keys() & SETTINGS.keys())
PLAIN = [name for name in NAMES if name != "chaos"]


@st.composite
def stacks(draw, names=NAMES, most=7):
    """Draw layers in some order, some of them more than once, but each object once."""
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=most))
    made = []
    for name in chosen:
        given_ = {key: value for key, drawn in SETTINGS[name].items() if (value := draw(drawn)) is not None}
        made.append(REGISTERED[name](*ARGUMENTS.get(name, tuple)(), **given_))
    return made


def test_every_layer_takes_part():
    """A new layer is added to the settings above, so that it is tried with all the others."""
    assert set() == {name for name, layer in REGISTERED.items() if layer.__module__.startswith("sluiceway")} - {*NAMES}


# ------------------------------------------------------------------ a provider, and callers


class Provider:
    """Plays its script, whoever asks, and knows who is inside."""

    def __init__(self, script):
        self.script = script
        self.asked = 0
        self.inside = 0

    def next_step(self):
        step = self.script[self.asked % len(self.script)]
        self.asked += 1
        return step

    async def answer(self, prompt, *, model="m", max_tokens=100):
        kind, seconds, count = self.next_step()
        self.inside += 1
        try:
            await asyncio.sleep(seconds)
            if kind == "error":
                raise openai_error(count, headers={"retry-after": "1"} if count == 429 else None)
            if kind == "reset":
                raise ConnectionResetError("reset")
            return completion("ok", model=model)
        finally:
            self.inside -= 1

    async def open(self, prompt, *, model="m", max_tokens=100):
        kind, seconds, count = self.next_step()
        await asyncio.sleep(seconds)
        if kind == "error":
            raise openai_error(count)
        return Items(self, count % 4, seconds / 2, broken=kind == "reset")

    async def generate(self, prompt, *, model="m", max_tokens=100):
        async with aclosing(await self.open(prompt, model=model, max_tokens=max_tokens)) as items:
            async for item in items:
                yield item


class Items:
    """A stream that counts as inside until it is over or closed."""

    def __init__(self, provider, count, gap, *, broken):
        self.provider = provider
        self.left = count
        self.gap = gap
        self.broken = broken
        self.over = False
        provider.inside += 1

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(self.gap)
        if self.left == 0:
            await self.aclose()
            raise ConnectionResetError("reset") if self.broken else StopAsyncIteration
        self.left -= 1
        return self.left

    async def aclose(self):
        self.provider.inside -= not self.over
        self.over = True


STEPS = st.one_of(
    st.tuples(st.just("value"), st.sampled_from([0.0, 0.5, 5.0]), st.integers(0, 3)),
    st.tuples(st.just("error"), st.sampled_from([0.0, 0.5]), st.sampled_from([400, 429, 500, 503])),
    st.tuples(st.just("reset"), st.sampled_from([0.0, 0.5]), st.integers(0, 3)),
)
CALLERS = st.tuples(
    st.sampled_from([0.0, 0.1, 1.0, 4.0]),  # when
    st.sampled_from(["a", "b"]),  # what
    st.sampled_from([None, 0.0, 0.2, 1.0]),  # cancelled after
    st.sampled_from([None, 0, 1]),  # a stream is left after so many items
    st.sampled_from([{}, {"priority": HIGH}, {"priority": LOW, "tenant": "t"}, {"idempotent": False}, {"deadline": 2}]),
)


async def ask(function, prompt, leave):
    """Make one call and read what it gives; return the word for how it ended."""
    try:
        answer = function(prompt)
        if not hasattr(answer, "__anext__"):
            answer = await answer
        if hasattr(answer, "__anext__"):
            try:
                items = 0
                async for _ in answer:
                    items += 1
                    if leave is not None and items > leave:
                        break
            finally:
                await answer.aclose()
    except EXPECTED as error:
        return type(error).__name__
    return "ok"


async def caller(function, when, prompt, cancelled_after, leave, said):
    await asyncio.sleep(when)
    with hints(**said):
        task = asyncio.create_task(ask(function, prompt, leave))
    if cancelled_after is not None:
        asyncio.get_running_loop().call_later(cancelled_after, task.cancel)
    try:
        return await task
    except CancelledError:
        assert cancelled_after is not None
        return "cancelled"


@contextmanager
def heard():
    """Collect every event of every call, phases without length too."""
    events = []

    def observe(run, call):
        run.sink = events.append
        run.listening = run.detailed = True

    before, switch.observe = switch.observe, observe
    try:
        yield events
    finally:
        switch.observe = before


# ------------------------------------------------------------------ what must hold


def at_rest(stack, provider):
    """Nobody is inside, waits, races or reserves anything."""
    assert 0 == provider.inside
    for layer in everything(stack):
        shots = layer.snapshot()
        for shot in shots if isinstance(shots, tuple) else (shots,):
            for name in ("in_flight", "waiting", "racing", "inside"):
                assert not getattr(shot, name, 0), (layer, name, shot)
            for name, reserved in getattr(shot, "reserved", {}).items():
                assert reserved == pytest.approx(0, abs=1e-6), (layer, name, shot)


def everything(stack):
    for layer in stack:
        yield layer
        for deployment in getattr(layer, "deployments", ()):
            yield from deployment.layers


def accounted(events):
    """What began ended; what was granted was settled at most once, the rest having been given back whole, unsent."""
    kinds = Counter(type(event) for event in events)
    assert (kinds[CallStarted], kinds[AttemptStarted]) == (kinds[CallFinished], kinds[AttemptFinished])
    settled = [event for event in events if isinstance(event, Settled)]
    granted = [
        event for event in events if isinstance(event, Waited) and event.layer == "rate_limited" and event.granted
    ]
    assert len(settled) <= len(granted)
    for event in settled:
        assert all(taken >= 0 for taken in event.actual.values())
        if event.basis == "refund":
            assert not any(event.actual.values())
        elif event.basis in ("estimate", "possibly billed"):
            assert event.reserved == event.actual


class Ledger:
    """A limiter that keeps books: what it gave, less what came back, plus what was settled beyond the estimate."""

    def __init__(self, limiter):
        self._limiter = limiter
        self.taken = Counter()

    def __getattr__(self, name):
        return getattr(self._limiter, name)

    def _book(self, amounts, sign=1):
        for i, amount in enumerate(amounts):
            self.taken[i] += sign * amount

    def take(self, costs, now):
        wait = self._limiter.take(costs, now)
        if wait == 0.0:
            self._book(costs)
        return wait

    def give(self, costs, now, at=None):
        self._book(costs, -1)
        self._limiter.give(costs, now, at)

    def adjust(self, deltas, now, at=None):
        self._book(deltas)
        self._limiter.adjust(deltas, now, at)


def keep_books(stack):
    """Return the books of the one limiter in *stack*, if there is one and one key."""
    limiters = [layer for layer in stack if layer.name == "rate_limited"]
    if len(limiters) != 1 or limiters[0].keyed:
        return None
    state = limiters[0]._one
    state.limiter = state.room.limiter = ledger = Ledger(state.limiter)
    return state, ledger


def balanced(books, events):
    """What was taken and not given back is what the calls were settled to: nothing is outstanding."""
    state, ledger = books
    settled = Counter()
    for event in events:
        if isinstance(event, Settled) and event.layer == "rate_limited":
            settled.update(event.actual)
    for i, name in enumerate(state.by_name([0.0] * len(state.specs))):
        assert ledger.taken[i] == pytest.approx(settled[name]), name


def full_again(stack):
    """After an idle time a limiter has what a new one has: no more was given back than taken, and no less."""
    for layer in stack:
        if layer.name == "rate_limited" and not layer.keyed:
            fresh = type(layer)(**layer._given[1])
            (shot,), (new,) = layer.snapshot(), fresh.snapshot()
            assert shot.available == pytest.approx(dict(new.available)), layer


def bound(stack, provider, form):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # any order is legal, and some cost something
        return Pipeline(*stack)(getattr(provider, form))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stacks(),
    st.lists(STEPS, min_size=1, max_size=5),
    st.lists(CALLERS, min_size=1, max_size=6),
    st.sampled_from(["answer", "open", "generate"]),
)
def test_whatever_happens_nothing_leaks_and_every_call_ends(stack, script, callers, form):
    """Values, errors, streams read and left, cancellations, deadlines: permits come back and tokens are accounted."""
    provider = Provider(script)
    function = bound(stack, provider, form)

    async def all_of_them():
        async with asyncio.timeout(100_000):
            outcomes = await asyncio.gather(*(caller(function, *each) for each in callers))
        for _ in range(10):  # what ends beside its caller has a few turns for that
            await asyncio.sleep(0)
        at_rest(stack, provider)
        await asyncio.sleep(3 * 3600)
        full_again(stack)
        return outcomes

    books = keep_books(stack)
    with heard() as events:
        outcomes = run(all_of_them())
    assert len(callers) == len(outcomes)
    accounted(events)
    if books is not None:
        balanced(books, events)
    gc.collect()  # a coroutine that nobody awaited is a warning, and so an error


def test_who_comes_when_only_the_dead_wait_is_told_as_granted():
    """It came in the moment in which the one before it was cancelled and its permit was there."""
    function = REGISTERED["rate_limited"](rpm=60)(Provider([("value", 1.0, 0)]).answer)

    async def three():
        loop = asyncio.get_running_loop()
        first = asyncio.create_task(function())
        await asyncio.sleep(0)
        waits = asyncio.create_task(function())
        await asyncio.sleep(0)
        loop.call_later(1.0, waits.cancel)
        await asyncio.sleep(1.0)
        await asyncio.gather(first, waits, function(), return_exceptions=True)

    with heard() as events:
        run(three())
    granted = [event.granted for event in events if isinstance(event, Waited)]
    assert [True, False, True] == granted


@pytest.mark.parametrize("form", ["open", "generate"])
def test_a_hedged_stream_that_breaks_after_an_item_raises_its_own_error(form):
    """It had won by that item, so the race was over: it once looked for a hedge to go on with and found itself."""
    stack = [REGISTERED["hedged"](2)]
    assert "ConnectionResetError" == run(ask(bound(stack, Provider([("reset", 0.0, 1)]), form), "a", None))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks(PLAIN, most=5), st.sampled_from(["answer", "open", "generate"]))
def test_a_cancellation_is_neutral_at_every_step(stack, form):
    """Wherever it strikes, everything comes back, and nobody holds it against the provider."""
    provider = Provider([("value", 0.1, 2)])
    function = bound(stack, provider, form)

    async def for_each_step():
        for step in cancel_at_every_step():
            await step(ask(function, "a", None))
            for _ in range(10):
                await asyncio.sleep(0)
            assert step.outcome in ("value", "cancelled")
            at_rest(stack, provider)
            await asyncio.sleep(60)
        for layer in stack:
            if layer.name == "circuit_breaker":
                assert {"closed"} >= {shot.state for shot in layer.snapshot()}

    run(for_each_step())
