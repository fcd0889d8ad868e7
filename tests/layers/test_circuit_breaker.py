"""`circuit_breaker`: what opens a circuit, who is let through meanwhile, and how it closes again."""

from __future__ import annotations

import asyncio
import random
from asyncio import get_running_loop, sleep

import pytest

from sluiceway.call import hints
from sluiceway.errors import CircuitOpen, RateLimited
from sluiceway.events import CallRejected, CircuitChanged, Phase
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.bounded import bounded
from sluiceway.layers.breaker_state import BreakerSnapshot
from sluiceway.layers.circuit_breaker import circuit_breaker
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.layers.retry_jitter import retry_jitter
from sluiceway.layers.timed import timed
from sluiceway.order import PipelineWarning, Role
from sluiceway.telemetry import hub
from sluiceway.testing.openai_shapes import openai_error
from sluiceway.testing.scripted import ScriptedProvider, after, hang
from sluiceway.testing.scripted_stream import stream
from sluiceway.testing.virtual_time import run


class Most(random.Random):
    """Chance that always gives nearly the most: a circuit stays open for all of `open_for`."""

    def random(self):
        return 1.0 - 2**-53


class MyError(Exception):
    """An exception of the user's own code."""


def now():
    return get_running_loop().time()


def breaker(**settings):
    """Return a breaker that two failures open for 30 seconds sharp, and one success closes for all at once."""
    return circuit_breaker(**{"min_calls": 2, "close_after": 1, "ramp": 0, "rng": Most(), **settings})


async def ended(*awaitables):
    """Return the values and errors of *awaitables*, one after the other."""
    return [(await asyncio.gather(each, return_exceptions=True))[0] for each in awaitables]


async def test_more_keys_than_are_kept_close_no_circuit():
    """A circuit that refuses calls is not forgotten, nor are the failures that are about to open one."""
    layer = breaker(by=lambda call: call.args[0], open_for="1h", max_open_for="1h")
    failing = layer(ScriptedProvider(openai_error(503)))
    rounds = [await ended(*map(failing, range(1_001))) for _ in range(4)]
    assert [0, 0, 1_001, 1_001] == [sum(isinstance(error, CircuitOpen) for error in errors) for errors in rounds]


async def test_circuits_that_refuse_nobody_are_forgotten():
    """After the longest time that they may be open a thousand are kept, though nobody came to try the provider."""
    layer = breaker(by=lambda call: call.args[0], min_calls=1, open_for=30, max_open_for=300)
    await ended(*map(layer(ScriptedProvider(openai_error(503))), range(3_000)))
    assert 3_000 == len(layer.snapshot())
    await sleep(301)
    await ended(*map(layer(ScriptedProvider(1)), range(3_000, 3_100)))
    assert 1_000 == len(layer.snapshot())


async def opened(layer, **call):
    """Open the circuit of *layer*."""
    failing = layer(ScriptedProvider(openai_error(503)))
    await ended(failing(**call), failing(**call))
    return layer


async def half_open(layer):
    """Bring the circuit of *layer* to where the next call is a probe."""
    await opened(layer)
    await sleep(30)
    return layer


def kinds(results):
    return [type(result).__name__ if isinstance(result, BaseException) else result for result in results]


# ------------------------------------------------------------------ what opens it


@pytest.mark.parametrize(
    "error",
    [openai_error(500), openai_error(503), openai_error(529), ConnectionResetError(), TimeoutError()],
    ids=repr,
)
async def test_the_providers_failures_open_it(error):
    """Overload, 5xx, broken connections and timeouts of the provider's client open the circuit."""
    layer = breaker()
    provider = ScriptedProvider(error)
    results = await ended(*(layer(provider)() for _ in range(3)))
    assert ("open", 2) == (layer.state, provider.count)
    assert isinstance(results[2], CircuitOpen)


@pytest.mark.parametrize(
    "error",
    [
        openai_error(400),
        openai_error(401),
        openai_error(429),
        openai_error(429, code="insufficient_quota"),
        RateLimited("our own refusal"),
        MyError("an answer that does not parse"),
    ],
    ids=repr,
)
async def test_what_says_nothing_about_the_provider_does_not_open_it(error):
    """Wrong requests, 429 (46 opened backstop's), no money, our refusals, the user's own errors: none counts."""
    layer = breaker()
    provider = ScriptedProvider(error)
    await ended(*(layer(provider)() for _ in range(46)))
    assert ("closed", 46, 0) == (layer.state, provider.count, layer.snapshot()[0].calls)


async def test_cancelled_callers_do_not_open_it():
    """Five cancelled callers open purgatory's breaker; here a hundred leave it as it was."""
    layer = breaker()
    tasks = [asyncio.create_task(layer(ScriptedProvider(hang()))()) for _ in range(100)]
    await sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert ("closed", 0) == (layer.state, layer.snapshot()[0].calls)


async def test_a_timeout_inside_is_a_failure_one_outside_is_not():
    """The attempt's limit is the provider's fault; charged for the caller's own, healthy providers go into cooldown."""
    inside, outside, deadline = breaker(), breaker(), breaker()
    within, without = timed(1), timed(1)
    for _ in range(3):
        await ended(inside(within(ScriptedProvider(hang())))(), without(outside(ScriptedProvider(hang())))())
        with hints(deadline=1):
            await ended(deadline(ScriptedProvider(hang()))())
    assert ("open", "closed", "closed") == (inside.state, outside.state, deadline.state)


async def test_a_deadline_of_the_caller_that_ends_a_nested_call_is_no_failure():
    """The deadline that a nested call inherits is the caller's, though its error comes from inside."""
    layer = breaker()
    inner = timed()(ScriptedProvider(hang()))

    async def ask():
        with hints(deadline=1):
            return await inner()

    results = await ended(*(layer(ask)() for _ in range(3)))
    assert ["TimedOut"] * 3 == kinds(results)
    assert "closed" == layer.state


async def test_a_share_of_too_few_calls_means_nothing():
    """Nineteen failures of nineteen leave the defaults closed; the twentieth opens them."""
    layer = circuit_breaker()
    provider = ScriptedProvider(openai_error(503))
    await ended(*(layer(provider)() for _ in range(19)))
    assert "closed" == layer.state
    await ended(layer(provider)())
    assert "open" == layer.state


async def test_old_failures_leave_the_window_also_while_nobody_calls():
    """Cockatiel turns one bucket per push, so stale counts survive a quiet hour; here time turns them."""
    layer = breaker(min_calls=3)
    provider = ScriptedProvider(openai_error(503), openai_error(503), "v", openai_error(503))
    await ended(layer(provider)(), layer(provider)())
    await sleep(3600)
    await ended(layer(provider)(), layer(provider)())
    assert ("closed", 2, 1) == (layer.state, layer.snapshot()[0].calls, layer.snapshot()[0].failures)


async def test_slow_calls_open_it():
    """Successes that take `slow_call` or longer open it at `slow_ratio`."""
    layer = breaker(slow_call="5s", slow_ratio=0.5)
    ask = layer(ScriptedProvider(after(1, "v"), after(5, "v")))
    assert ["v", "v"] == await ended(ask(), ask())
    assert ("open", "1 of 2 calls took 5 s or more") == (layer.state, layer.snapshot()[0].reason)


async def test_waiting_for_a_permit_inside_is_the_only_waiting_it_sees():
    """Outside the breaker a call may queue for an hour without counting as slow."""
    layer = breaker(slow_call=5, min_calls=1)
    ask = bounded(1)(layer(ScriptedProvider(after(4, "v"))))
    await asyncio.gather(*(ask() for _ in range(900)))
    assert (3600, "closed") == (now(), layer.state)


async def test_results_of_calls_from_before_it_opened_are_not_heard():
    """A straggler of an older generation neither closes a half-open circuit nor opens a closed one."""
    layer = breaker()
    late = ScriptedProvider(after(40, openai_error(503)), after(31, "v"))
    stragglers = [asyncio.create_task(layer(late)()) for _ in range(2)]
    await sleep(0)
    await opened(layer)
    await sleep(30)
    probe = asyncio.create_task(layer(ScriptedProvider(after(5, "v")))())
    await sleep(2)
    assert "half_open" == layer.state  # though the second straggler has succeeded
    assert "v" == await probe
    await asyncio.wait(stragglers)
    assert ("closed", 0) == (layer.state, layer.snapshot()[0].failures)


# ------------------------------------------------------------------ while it is open


async def test_an_open_circuit_refuses_and_says_until_when_and_why():
    """`CircuitOpen` carries `retry_after` and says since when it is open, and why; the provider hears nothing."""
    layer = await opened(breaker())
    provider = ScriptedProvider("v")
    await sleep(12)
    with pytest.raises(CircuitOpen) as caught:
        await layer(provider)()
    assert "circuit_breaker is open for 12 s (2 of 2 calls failed): try again in 18 s" == str(caught.value)
    assert ("circuit_breaker", 0) == (caught.value.layer, provider.count)
    assert caught.value.retry_after == pytest.approx(18)


async def test_works_on_coroutine_functions():
    """Pybreaker does nothing at all on `async def`: it counts the coroutine's making, which never fails."""

    @breaker()
    async def ask():
        raise ConnectionResetError

    assert ["ConnectionResetError"] * 2 + ["CircuitOpen"] == kinds(await ended(ask(), ask(), ask()))


async def test_a_queue_drains_at_once_when_it_opens():
    """980 of 1,000 queued calls went on to a dead provider; inside the waiting layers none does, and permits return."""
    limiter, bound, layer = rate_limited(rpm=60), bounded(2), breaker()
    provider = ScriptedProvider(openai_error(503))
    ask = bound(limiter(layer(provider)))
    results = await asyncio.gather(*(ask() for _ in range(1000)), return_exceptions=True)
    assert (2, 998) == (provider.count, kinds(results).count("CircuitOpen"))
    assert now() < 10  # and not the quarter of an hour that 1,000 permits take
    assert (0, 0) == (bound.snapshot()[0].in_flight, bound.snapshot()[0].waiting)


async def test_a_refusal_is_not_retried():
    """An open circuit ends a call at once; retries inside the pause would only ask it again."""
    layer = await opened(breaker())
    assert ["CircuitOpen"] == kinds(await ended(retry_jitter(5)(layer(ScriptedProvider("v")))()))
    assert 0 == now()


async def test_a_refusal_of_another_breaker_is_no_failure():
    """A circuit that is open further inside does not open one further out."""
    outer, inner = breaker(), await opened(breaker())
    provider = ScriptedProvider("v")
    await ended(*(outer(inner(provider))() for _ in range(5)))
    assert "closed" == outer.state


# ------------------------------------------------------------------ coming back


async def test_one_probe_at_a_time_when_half_open():
    """50 of 50 calls pass hyx, purgatory and others when half-open; here one does."""
    layer = await half_open(breaker())
    provider = ScriptedProvider(after(1, "v"))
    results = await asyncio.gather(*(layer(provider)() for _ in range(50)), return_exceptions=True)
    assert (1, 1, 49) == (provider.count, results.count("v"), kinds(results).count("CircuitOpen"))
    assert "closed" == layer.state


async def test_a_failed_probe_opens_it_for_twice_as_long():
    """Every further opening doubles the time, up to `max_open_for`."""
    layer = await half_open(breaker(max_open_for=100))
    ask = layer(ScriptedProvider(openai_error(503)))
    for expected in (60, 100, 100):
        results = await ended(ask(), ask())
        assert ["InternalServerError", "CircuitOpen"] == kinds(results)
        assert results[1].retry_after == pytest.approx(expected)
        await sleep(expected)


@pytest.mark.parametrize(
    ("error", "state"),
    [(openai_error(429), "open"), (openai_error(400), "half_open"), (MyError(), "half_open")],
    ids=repr,
)
async def test_a_429_fails_a_probe_and_a_neutral_error_gives_its_place_back(error, state):
    """A provider that throttles its probe is not back yet; our own mistake says nothing, and the next call probes."""
    layer = await half_open(breaker())
    await ended(layer(ScriptedProvider(error))())
    assert (state, 0) == (layer.state, layer.snapshot()[0].probes)


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
async def test_a_cancelled_probe_is_no_success_and_gives_its_place_back(how):
    """A cancelled probe counts as a success in Polly; here it counts as nothing, and the next call probes."""
    layer = await half_open(breaker())
    task = asyncio.create_task(timed(5 if how == "deadline" else 500)(layer(ScriptedProvider(hang())))())
    await sleep(1)
    assert 1 == layer.snapshot()[0].probes
    if how == "cancelled":
        task.cancel()
    await asyncio.wait([task])
    assert ("half_open", 0) == (layer.state, layer.snapshot()[0].probes)
    assert "v" == await layer(ScriptedProvider("v"))()


async def test_a_hung_probe_does_not_block_the_circuit_for_ever():
    """A probe that never answers loses its place after `open_for`, where Polly's circuit hangs with it."""
    layer = await half_open(breaker())
    task = asyncio.create_task(layer(ScriptedProvider(hang()))())
    await sleep(29)
    assert ["CircuitOpen"] == kinds(await ended(layer(ScriptedProvider("v"))()))
    await sleep(1)
    assert "v" == await layer(ScriptedProvider("v"))()
    task.cancel()
    await asyncio.wait([task])
    assert "closed" == layer.state


async def test_it_closes_by_degrees():
    """After the probes a tenth of the calls pass, and all of them `ramp` seconds later."""
    layer = await half_open(breaker(close_after=3, ramp=30, rng=random.Random(1)))
    ask = layer(ScriptedProvider("v"))
    assert ["v"] * 3 == await ended(ask(), ask(), ask())
    assert "ramping" == layer.state
    shares = []
    for _ in range(3):
        shares.append((await ended(*(ask() for _ in range(1000)))).count("v") / 1000)
        await sleep(15)
    assert [0.1, 0.55, 1.0] == [pytest.approx(share, abs=0.04) for share in shares]
    assert "closed" == layer.state


# ------------------------------------------------------------------ streams


async def test_the_verdict_on_a_stream_falls_at_its_first_item():
    """A probe's stream closes the circuit when its first item comes, though it is read for another hour."""
    layer = await half_open(breaker())
    reading = await layer(ScriptedProvider(stream("abc", gap=1800, first=3)))()
    assert "half_open" == layer.state
    assert "a" == await anext(reading)
    assert ("closed", 33) == (layer.state, now())
    assert ["b", "c"] == [item async for item in reading]
    assert "closed" == layer.state


async def test_a_stream_counts_once():
    """Verdict at the first item, and none at the end."""
    layer = breaker()
    assert ["a", "b"] == [item async for item in await layer(ScriptedProvider(stream("ab")))()]
    assert 1 == layer.snapshot()[0].calls


async def test_a_stream_is_as_slow_as_its_first_item():
    """A long answer is no slow call; a long wait for its beginning is."""
    layer = breaker(slow_call=5, min_calls=9)
    for first, slow in ((1, 0), (6, 1)):
        reading = await layer(ScriptedProvider(stream("ab", gap=3600, first=first)))()
        assert "a" == await anext(reading)
        assert slow == layer.snapshot()[0].slow
        assert "b" == await anext(reading)
        await reading.aclose()


async def test_a_stream_that_breaks_before_its_first_item_is_a_failure_after_it_none():
    """Once an item came, the provider has answered; what breaks then is not counted."""
    layer = breaker(min_calls=9)
    await ended(anext(await layer(ScriptedProvider(stream("ab", fail_at=0)))()))
    assert (1, 1) == (layer.snapshot()[0].calls, layer.snapshot()[0].failures)
    reading = await layer(ScriptedProvider(stream("ab", fail_at=1)))()
    assert "a" == await anext(reading)
    await ended(anext(reading))
    assert (2, 1) == (layer.snapshot()[0].calls, layer.snapshot()[0].failures)


async def test_a_stream_without_items_is_a_success():
    """An empty stream that ends well has answered."""
    layer = breaker()
    assert [] == [item async for item in await layer(ScriptedProvider(stream("")))()]
    assert (1, 0) == (layer.snapshot()[0].calls, layer.snapshot()[0].failures)


async def test_a_reader_who_leaves_before_the_first_item_gives_the_probes_place_back():
    """An abandoned probe is neither success nor failure."""
    layer = await half_open(breaker())
    reading = await layer(ScriptedProvider(stream("ab", hang_at=0)))()
    assert 1 == layer.snapshot()[0].probes
    await reading.aclose()
    assert ("half_open", 0) == (layer.state, layer.snapshot()[0].probes)


async def test_a_retry_inside_is_judged_by_the_stream_that_it_ends_with():
    """In the odd order, breaker around retry, one call is one result."""
    layer = breaker()
    provider = ScriptedProvider(stream("ab", fail_at=0), stream("ab"))
    with pytest.warns(PipelineWarning, match="circuit_breaker stands outside retry_jitter"):
        ask = layer(retry_jitter(2)(provider))
    reading = await ask()
    assert ["a", "b"] == [item async for item in reading]
    assert (1, 0) == (layer.snapshot()[0].calls, layer.snapshot()[0].failures)


async def test_two_breakers_around_one_stream_both_hear_its_first_item():
    """Each of two layers gets its verdict."""
    outer, inner = breaker(), breaker()
    reading = await outer(inner(ScriptedProvider(stream("ab"))))()
    assert "a" == await anext(reading)
    assert (1, 1) == (outer.snapshot()[0].calls, inner.snapshot()[0].calls)
    await reading.aclose()
    assert (1, 1) == (outer.snapshot()[0].calls, inner.snapshot()[0].calls)


async def test_calls_that_a_layer_runs_at_the_same_time_are_judged_each():
    """Where a layer outside races two attempts of one call, each of them is a result of its own."""

    class Race(Layer):
        async def handle(self, call, proceed):
            tasks = [asyncio.create_task(proceed(call)) for _ in range(2)]
            return await asyncio.gather(*tasks, return_exceptions=True)

    layer = breaker(min_calls=9)
    for first, second in ((1, 2), (2, 1)):
        await Race()(layer(ScriptedProvider(after(first, openai_error(503)), after(second, openai_error(503)))))()
    assert (4, 4) == (layer.snapshot()[0].calls, layer.snapshot()[0].failures)


# ------------------------------------------------------------------ by hand


async def test_isolate_refuses_until_reset():
    """Isolated by hand it lets nothing through, whatever time passes; `reset()` closes it at once."""
    layer = breaker()
    layer.isolate(reason="maintenance")
    await sleep(7200)
    with pytest.raises(CircuitOpen) as caught:
        await layer(ScriptedProvider("v"))()
    assert "circuit_breaker is isolated for 7.2e+03 s (maintenance): until reset()" == str(caught.value)
    assert None is caught.value.retry_after
    layer.reset()
    assert "v" == await layer(ScriptedProvider("v"))()


async def test_reset_forgets_what_was_counted():
    """After `reset()` an open circuit is closed for all, with an empty window."""
    layer = await opened(breaker())
    layer.reset()
    assert (0, "reset by hand") == (layer.snapshot()[0].calls, layer.snapshot()[0].reason)
    assert ("v", "closed") == (await layer(ScriptedProvider("v"))(), layer.state)


def test_isolate_works_without_an_event_loop():
    """Before any loop runs a circuit can be isolated, and refuses in the loop to come."""
    layer = breaker()
    layer.isolate()
    assert None is layer.snapshot()[0].since
    assert "CircuitOpen" == run(ended(layer(ScriptedProvider("v"))()))[0].__class__.__name__
    layer.reset()
    assert "closed" == layer.state


# ------------------------------------------------------------------ keys


def by_model(call):
    return call.kwargs["model"]


async def test_each_key_has_a_circuit_of_its_own():
    """One model that fails leaves the others alone."""
    layer = await opened(breaker(by=by_model), model="bad")
    ask = layer(ScriptedProvider("v"))
    assert ["CircuitOpen", "v"] == kinds(await ended(ask(model="bad"), ask(model="good")))
    assert {"bad": "open", "good": "closed"} == {shot.key: shot.state for shot in layer.snapshot()}
    assert ("open", True) == (layer.state, layer.keyed)
    with pytest.raises(CircuitOpen, match="circuit_breaker for 'bad' is open for 0 s"):
        await ask(model="bad")


async def test_isolate_one_key_or_all_there_will_be():
    """`isolate(key)` isolates that key, `isolate()` every key, those not yet seen included."""
    layer = breaker(by=by_model)
    ask = layer(ScriptedProvider("v"))
    layer.isolate("a")
    assert ["CircuitOpen", "v"] == kinds(await ended(ask(model="a"), ask(model="b")))
    layer.isolate()
    assert ["CircuitOpen"] * 3 == kinds(await ended(*(ask(model=model) for model in "abc")))
    layer.reset("b")
    assert ["CircuitOpen", "v"] == kinds(await ended(ask(model="a"), ask(model="b")))
    layer.reset()
    assert ["v"] * 4 == await ended(*(ask(model=model) for model in "abcd"))


async def test_keys_are_bounded_and_those_isolated_are_kept():
    """At most 1,000 keys are remembered, the least recently used go first, but none that somebody isolated."""
    layer = breaker(by=by_model)
    layer.isolate("kept")
    ask = layer(ScriptedProvider("v"))
    for model in range(1500):
        await ask(model=model)
    assert (1000, "isolated") == (len(layer.snapshot()), {shot.key: shot.state for shot in layer.snapshot()}["kept"])


# ------------------------------------------------------------------ what it says


async def test_reports_every_change(listen):
    """Each transition is an event with the states, the key and the reason, heard without any listener's detail."""
    events = listen(listening=False)
    layer = await half_open(breaker())
    await layer(ScriptedProvider(after(1, "v")))()
    assert [
        (0, "closed", "open", "2 of 2 calls failed"),
        (30, "open", "half_open", "the time open is over"),
        (31, "half_open", "closed", "1 probes succeeded"),
    ] == [(event.at, event.old, event.new, event.reason) for event in events(CircuitChanged)]
    assert {"circuit_breaker"} == {event.layer for event in events(CircuitChanged)}
    assert all(event.call is not None for event in events(CircuitChanged))


@pytest.mark.parametrize("inside", [True, False])
def test_reports_what_is_done_by_hand(inside):
    """`isolate()` and `reset()` belong to no call, and are told to whoever hears the process."""
    heard = []
    hub.listen(heard.append)
    layer = breaker()

    async def by_hand():
        layer.isolate()
        layer.reset()

    try:
        if inside:
            run(by_hand())
        else:
            layer.isolate()
            layer.reset()
    finally:
        hub.unlisten(heard.append)
    changes = [(event.call, event.old, event.new) for event in heard if isinstance(event, CircuitChanged)]
    assert [(None, "closed", "isolated"), (None, "isolated", "closed")] == changes


async def test_a_refusal_is_an_event_and_a_phase_with_its_error(listen):
    """Who listens hears `CallRejected` and the phase "circuit check"."""
    events = listen(detailed=False)
    layer = await opened(breaker())
    assert [] == events(Phase)
    [error] = await ended(layer(ScriptedProvider("v"))())
    [phase] = events(Phase)
    assert ("circuit check", error) == (phase.name, phase.error)
    assert {"sluiceway.circuit_breaker.state": "open"} == phase.attributes
    assert [("circuit_breaker", error)] == [(event.layer, event.error) for event in events(CallRejected)]


async def test_each_check_is_a_phase_where_detail_is_wanted(listen):
    """A span that records gets the circuit's state for calls that pass, too."""
    events = listen()
    await breaker()(ScriptedProvider("v"))()
    assert [("circuit check", None, "closed")] == [
        (phase.name, phase.error, phase.attributes["sluiceway.circuit_breaker.state"]) for phase in events(Phase)
    ]


async def test_snapshot_and_repr_say_since_when_and_why():
    """At 3 a.m. the object tells its state, since when, and why."""
    layer = breaker()
    assert "<circuit_breaker(min_calls=2, close_after=1, ramp=0, rng=" in repr(layer)
    assert repr(layer).endswith(": closed>")
    await sleep(5)
    await opened(layer)
    await sleep(12)
    assert BreakerSnapshot(None, "open", 5.0, "2 of 2 calls failed", 2, 2, 0, 1, 0) == layer.snapshot()[0]
    assert repr(layer).endswith(": open for 12 s (2 of 2 calls failed)>")
    keyed = await opened(breaker(by=by_model), model="bad")
    await keyed(ScriptedProvider("v"))(model="good")
    assert repr(keyed).endswith(": 2 keys; 'bad' open for 0 s (2 of 2 calls failed)>")


# ------------------------------------------------------------------ one loop after another


def test_it_outlives_a_loop_whose_clock_starts_anew():
    """Opened at an old clock's hour, it is open in a new loop for the rest of its time, not for an hour more."""
    layer = breaker()

    async def first():
        await sleep(3600)
        await opened(layer)
        await ended(layer(ScriptedProvider("v"))())
        await sleep(10)

    async def second():
        [refused] = await ended(layer(ScriptedProvider("v"))())
        assert refused.retry_after == pytest.approx(20)
        await sleep(20)
        return await layer(ScriptedProvider("v"))()

    run(first())
    assert "v" == run(second())


def test_its_window_outlives_a_loop_whose_clock_starts_anew():
    """Failures of an old loop still count in a new one, until their time is over there."""
    layer = breaker(min_calls=3)

    async def fail(pause):
        await sleep(pause)
        await ended(layer(ScriptedProvider(openai_error(503)))())

    run(fail(3600))
    run(fail(0))
    assert 2 == layer.snapshot()[0].failures
    run(fail(120))
    assert (1, "closed") == (layer.snapshot()[0].failures, layer.state)


# ------------------------------------------------------------------ as a layer


def test_says_what_it_is():
    """It breaks, looks back over its window, and warns of one that an attempt's timeout outlasts."""
    layer = circuit_breaker(window="1m")
    assert (Role.BREAK, 60.0, False, True, 1) == (
        layer.role,
        layer.window,
        layer.keyed,
        layer.stateful,
        layer.attempts,
    )
    assert 0.5 == layer.settings()["failure_ratio"]
    with pytest.warns(match="shorter than two attempt timeouts"):
        Pipeline(layer, timed(40))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"failure_ratio": 0}, ValueError, "failure_ratio=0"),
        ({"failure_ratio": 1.5}, ValueError, "failure_ratio=1.5 must be at most 1"),
        ({"slow_ratio": -1}, ValueError, "slow_ratio=-1"),
        ({"window": "soon"}, ValueError, "window='soon' is not a duration"),
        ({"min_calls": 0}, ValueError, "min_calls=0 must be at least 1"),
        ({"slow_call": 0}, ValueError, "slow_call=0"),
        ({"open_for": 0}, ValueError, "open_for=0"),
        ({"open_for": 60, "max_open_for": 30}, ValueError, "max_open_for=30.0 must be at least open_for=60.0"),
        ({"probes": 1.5}, TypeError, "probes=1.5"),
        ({"close_after": 0}, ValueError, "close_after=0"),
        ({"ramp": -1}, ValueError, "ramp=-1"),
        ({"by": "model"}, TypeError, "by='model' must be a plain function of the Call"),
        ({"by": by_model, "min_calls": "9"}, TypeError, "min_calls='9'"),
        ({"rng": 7}, TypeError, "rng=7 must be a random.Random"),
    ],
)
def test_refuses_bad_settings(settings, error, message):
    """A setting that makes no sense is refused by name, where it is written, also where keys come later."""
    with pytest.raises(error, match=message):
        circuit_breaker(**settings)
