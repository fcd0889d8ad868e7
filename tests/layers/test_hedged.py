"""`hedged`: the first answer of several attempts, and nothing left of the others."""

from __future__ import annotations

import asyncio
import gc
from asyncio import CancelledError, get_running_loop
from random import Random

import pytest

from sluiceway import (
    BoundExceeded,
    CircuitOpen,
    Pipeline,
    RetryBudget,
    TimedOut,
    bounded,
    circuit_breaker,
    hedged,
    hints,
    rate_limited,
    retry_jitter,
    timed,
)
from sluiceway.events import AttemptFinished, AttemptStarted, CallRejected, HedgeLost, HedgeSent, Phase, Settled
from sluiceway.layers.hedged import HedgeSnapshot
from sluiceway.testing import ScriptedProvider, after, completion, hang, stream
from spies import Again, Passing, Spy
from stepping import cancel_at_every_step


def now():
    return get_running_loop().time()


def provider(*script, **settings):
    return ScriptedProvider(*script, **settings)


def held(bound):
    return bound.snapshot()[0].in_flight


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


SLOW_THEN_FAST = (after(10, "slow"), after(0.5, "fast"))


# ------------------------------------------------------------------ who wins


async def test_a_call_that_is_fast_enough_makes_one_attempt():
    """Nothing is sent, and no task is made, before the time is up."""
    ask = provider(after(0.9, "answer"))
    assert "answer" == await hedged(1.0)(ask)()
    assert (1, 0.9, set()) == (ask.count, now(), others())


async def test_a_second_attempt_is_sent_when_the_first_is_slow_and_the_first_answer_wins():
    """The slow one is cancelled, and over before the caller has the answer."""
    ask = provider(*SLOW_THEN_FAST)
    assert "fast" == await hedged(1.0)(ask)()
    assert (2, 1.5, 0) == (ask.count, now(), ask.in_flight)
    assert CancelledError is type(ask.calls[0].error)
    assert set() == others()


async def test_the_first_attempt_may_still_win():
    """Then the hedge is the one that is cancelled and awaited."""
    ask = provider(after(1.2, "first"), after(5, "second"))
    layer = hedged(1.0)
    assert "first" == await layer(ask)()
    assert (2, 1.2, 0) == (ask.count, now(), ask.in_flight)
    assert HedgeSnapshot(after=1.0, samples=0, racing=0, sent=1, won=0) == layer.snapshot()
    assert set() == others()


async def test_a_loser_that_takes_its_time_to_end_is_awaited():
    """Nothing of a call is left when it returns, not even a clean-up."""
    cleaned = []

    async def ask():
        if not cleaned:
            cleaned.append(None)
            try:
                await asyncio.sleep(10)
            finally:
                await asyncio.sleep(0.25)
                cleaned.append(now())
        return "fast"

    assert "fast" == await hedged(1.0)(ask)()
    assert [None, 1.25] == cleaned
    assert 1.25 == now()


async def test_a_loser_that_swallows_its_cancellation_and_answers_has_answered():
    """There is one answer, and the caller's task is not left marked as cancelled."""
    first = True

    async def ask():
        nonlocal first
        if not first:
            return "second"
        first = False
        try:
            await asyncio.sleep(10)
        except CancelledError:
            return "stubborn"

    assert "stubborn" == await hedged(1.0)(ask)()
    assert 0 == asyncio.current_task().cancelling()
    await asyncio.sleep(1)
    assert set() == others()


async def test_several_hedges_are_sent_one_after_the_other():
    """Each comes `after` the one before it, and no more than `max`."""
    ask = provider(hang(), hang(), after(0.5, "third"), "none")
    assert "third" == await hedged(1.0, max=2)(ask)()
    assert ([0.0, 1.0, 2.0], 2.5) == ([call.started_at for call in ask.calls], now())
    assert set() == others()


# ------------------------------------------------------------------ errors


async def test_an_error_before_a_hedge_is_due_is_the_calls():
    """A hedge is no retry."""
    error = ConnectionError("reset")
    ask = provider(after(0.5, error), "never")
    with pytest.raises(ConnectionError) as raised:
        await hedged(1.0)(ask)()
    assert raised.value is error
    assert (1, 0.5) == (ask.count, now())


async def test_a_hedge_that_fails_does_not_end_the_call():
    """The first attempt goes on."""
    ask = provider(after(5, "first"), after(0.1, ConnectionError))
    assert "first" == await hedged(1.0)(ask)()
    assert 5.0 == now()


async def test_a_hedge_rescues_a_call_whose_first_attempt_fails_while_it_races():
    """The first success wins, not the first end."""
    ask = provider(after(1.5, ConnectionError), after(5, "second"))
    layer = hedged(1.0)
    assert "second" == await layer(ask)()
    assert (6.0, 1) == (now(), layer.snapshot().won)


async def test_if_all_fail_the_error_is_that_of_the_first_attempt():
    """The very object, whoever failed last."""
    first = ConnectionError("first")
    for times in ((1.5, 5), (5, 0.5)):
        ask = provider(after(times[0], first), after(times[1], ValueError("second")))
        with pytest.raises(ConnectionError) as raised:
            await hedged(1.0)(ask)()
        assert raised.value is first
        assert first.__cause__ is first.__context__ is None
    assert set() == others()


# ------------------------------------------------------------------ when


async def test_the_clock_starts_when_the_first_attempt_leaves_the_last_layer_that_waits():
    """A call that queued for a minute is not slow."""
    bound = bounded(1)
    ask = provider(after(60, "long"), after(0.5, "short"))
    blocker = asyncio.create_task(bound(ask)())
    await asyncio.sleep(0)
    assert "short" == await hedged(1.0)(bound(ask))()
    assert (2, 60.5) == (ask.count, now())
    await blocker


async def test_a_percentile_is_used_once_it_is_known_from_twenty_samples():
    """Off before."""
    layer = hedged("p50")
    ask = provider(*[after(1.0, "usual")] * 18, after(50, "slow"), after(1.0, "usual"))
    f = layer(ask)
    for _ in range(19):
        await f()
    assert (19, None) == (ask.count, layer.after)
    await f()
    assert layer.after == pytest.approx(1.0, rel=0.011)
    began = now()
    ask = provider(after(50, "slow"), after(1.0, "fast"))
    assert "fast" == await layer(ask)()
    assert now() - began == pytest.approx(2.0, rel=0.011)


async def test_what_lost_counts_with_the_time_it_was_given_and_errors_do_not_count():
    """So that hedging does not make the percentile smaller than it is, and outages neither."""
    layer = hedged("p95")
    f = layer(provider(*[after(1.0, "x")] * 20, after(90, "slow"), after(0.2, "fast"), ConnectionError))
    for _ in range(21):
        await f()
    assert 21 == layer.snapshot().samples
    with pytest.raises(ConnectionError):
        await f()
    assert 21 == layer.snapshot().samples


async def test_a_call_that_must_not_be_repeated_is_not():
    """`hints(idempotent=False)`."""
    ask = provider(*SLOW_THEN_FAST)
    with hints(idempotent=False):
        assert "slow" == await hedged(1.0)(ask)()
    assert 1 == ask.count


# ------------------------------------------------------------------ permits


async def test_a_hedge_takes_a_free_permit_or_is_not_sent():
    """It never queues, and nobody hears of its refusal."""
    bound, layer = bounded(1), hedged(1.0)
    ask = provider(*SLOW_THEN_FAST)
    assert "slow" == await layer(bound(ask))()
    assert (1, 0, 0) == (ask.count, held(bound), layer.snapshot().sent)


@pytest.mark.parametrize("make", [lambda: rate_limited(rpm=60, burst="1s"), lambda: bounded(1, max_wait=0)])
async def test_no_refusal_of_a_hedge_is_told(make, listen):
    """By whatever layer: the call was not refused."""
    heard = listen()
    ask = provider(*SLOW_THEN_FAST)
    assert "slow" == await hedged(0.01)(make()(ask))()
    assert ([], [], 1) == (heard(CallRejected), heard(HedgeSent), ask.count)


async def test_an_open_circuit_refuses_a_hedge_and_not_the_call(listen):
    """Opened by others while the first attempt runs."""
    heard = listen()
    breaker = circuit_breaker()
    task = asyncio.create_task(hedged(1.0)(breaker(provider(after(5, "first"))))())
    await asyncio.sleep(0.5)
    breaker.isolate()
    assert "first" == await task
    assert [] == heard(CallRejected)
    with pytest.raises(CircuitOpen):
        await hedged(1.0)(breaker(provider("never")))()
    assert 1 == len(heard(CallRejected))


async def test_a_refusal_of_the_first_attempt_is_the_calls():
    """As without a hedge."""
    bound = bounded(1, max_wait="500ms")
    ask = provider(hang())
    blocker = asyncio.create_task(bound(ask)())
    await asyncio.sleep(0)
    with pytest.raises(BoundExceeded):
        await hedged("100ms")(bound(ask))()
    blocker.cancel()


async def test_each_attempt_holds_a_permit_of_its_own_and_all_come_back():
    """The winner's until the end of its stream."""
    bound = bounded(2)
    ask = hedged(1.0)(bound(provider(hang(), stream([1, 2, 3], first=0.5))))
    opening = asyncio.create_task(ask())
    await asyncio.sleep(1.25)
    assert 2 == held(bound)
    items = []
    async for item in await opening:
        items.append(item)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 1 == held(bound)
    assert ([1, 2, 3], 0) == (items, held(bound))


async def test_limits_inside_settle_each_attempt_by_itself(listen):
    """The loser keeps its estimate as possibly billed, the winner is settled to its usage."""
    heard = listen()
    ask = provider(hang(), completion("hi", prompt_tokens=7, completion_tokens=5))
    limit = rate_limited(tpm=100_000)
    await hedged(1.0)(limit(ask))(model="m", messages=[{"role": "user", "content": "hi"}], max_tokens=100)
    assert ["usage", "possibly billed"] == [event.basis for event in heard(Settled)]
    assert {"tpm": 12} == dict(heard(Settled)[0].actual)
    assert heard(Settled)[1].reserved == heard(Settled)[1].actual


@pytest.mark.filterwarnings("ignore::sluiceway.PipelineWarning")
async def test_a_limit_outside_settles_to_what_was_used(listen):
    """It finds the attempts of both in the call's record."""
    heard = listen()
    ask = provider(hang(), completion("hi", prompt_tokens=7, completion_tokens=5))
    await rate_limited(tpm=100_000)(hedged(1.0)(ask))(model="m", messages=[], max_tokens=100)
    assert [("usage", {"tpm": 12})] == [(event.basis, dict(event.actual)) for event in heard(Settled)]


# ------------------------------------------------------------------ streams


async def test_the_stream_that_gives_its_first_item_first_wins():
    """Behind the object that the reader holds already."""
    ask = provider(stream([1, 2], first=10), stream([3, 4], first=0.5, gap=0.25))
    f = hedged(1.0)(ask)
    items = await f()
    assert 0.0 == now()
    assert [3, 4] == [item async for item in items]
    assert (1.75, 0, set()) == (now(), ask.in_flight, others())


async def test_nothing_is_sent_after_the_first_item():
    """However long the rest takes."""
    ask = provider(stream([1, 2, 3], first=0.5, gap=60), "never")
    assert [1, 2, 3] == [item async for item in await hedged(1.0)(ask)()]
    assert 1 == ask.count


async def test_the_first_stream_may_still_win():
    """Its hedge is cancelled at its first item."""
    ask = provider(stream([1, 2], first=1.2, gap=10), stream([3, 4], first=5))
    items = await hedged(1.0)(ask)()
    assert 1 == await anext(items)
    await asyncio.sleep(0.1)
    assert (1, set()) == (ask.in_flight, others())
    assert [2] == [item async for item in items]


async def test_a_stream_that_nobody_reads_is_not_slow():
    """The clock stands still between the opening and the first read, and goes on then."""
    ask = provider(stream([1], first=10), stream([2], first=0.5))
    items = await hedged(1.0)(ask)()
    await asyncio.sleep(100)
    assert 1 == ask.count
    assert [2] == [item async for item in items]
    assert 101.5 == now()


async def test_a_hedge_that_comes_first_while_nobody_reads_is_what_the_next_read_gets():
    """The first stream opened late, and its reader took its time."""
    ask = provider(after(1.2, stream([1], first=10)), stream([2, 3], first=1.0))
    items = await hedged(1.0)(ask)()
    assert 1.2 == now()
    await asyncio.sleep(5)
    assert [2, 3] == [item async for item in items]
    assert (6.2, 0, set()) == (now(), ask.in_flight, others())


async def test_a_first_item_that_is_there_at_the_read_beats_a_hedge_that_waits():
    """And the reader's task is not cancelled for the hedge."""

    class Ready:
        def __init__(self):
            self.items = [1, 4]

        async def __anext__(self):
            if not self.items:
                raise StopAsyncIteration
            return self.items.pop(0)

    ask = provider(after(1.2, Ready), stream([2, 3], first=1.0))
    items = await hedged(1.0)(ask)()
    await asyncio.sleep(5)
    assert 1 == await anext(items)
    await asyncio.sleep(0.1)
    assert 4 == await anext(items)
    with pytest.raises(StopAsyncIteration):
        await anext(items)
    assert (0, 0, set()) == (ask.in_flight, asyncio.current_task().cancelling(), others())


@pytest.mark.parametrize("how", ["close", "drop", "cancel", "unread"])
@pytest.mark.parametrize("hedge_wins", [True, False])
async def test_a_stream_that_is_left_leaves_nothing(how, hedge_wins):
    """However it is left, and whoever won."""
    bound = bounded(5)
    script = (hang(), stream([1, 2], first=0.5, gap=1)) if hedge_wins else (stream([1, 2], first=1.25, gap=1), hang())
    ask = provider(*script)
    items = await hedged(1.0)(bound(ask))()
    if how != "unread":
        assert 1 == await anext(items)
    if how == "close":
        await items.aclose()
    elif how == "cancel":
        task = asyncio.create_task(anext_of(items))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
    del items
    gc.collect()
    await asyncio.sleep(0.1)
    assert (0, 0, set()) == (held(bound), ask.in_flight, others())


async def anext_of(items):
    return await anext(items)


async def test_an_error_in_the_middle_of_the_winners_stream_is_the_readers():
    """The same object for layers and reader, after the items before it."""
    error = ConnectionError("cut")
    spy = Spy()
    ask = provider(hang(), stream([1, 2], fail_at=1, error=error))
    items = await Pipeline(spy, hedged(1.0))(ask)()
    assert 1 == await anext(items)
    with pytest.raises(ConnectionError) as raised:
        await anext(items)
    assert raised.value is error
    assert spy.errors == [error]


async def test_async_generators_race_too():
    """Each attempt runs a generator of its own."""
    made = []

    async def ask():
        made.append(number := len(made))
        try:
            await asyncio.sleep(0.5 if number else 10)
            yield number
            yield number
        finally:
            made.append("closed")

    assert [1, 1] == [item async for item in hedged(1.0)(ask)()]
    assert [0, 1, "closed", "closed"] == made
    assert 1.5 == now()


async def test_a_retry_outside_never_repeats_a_stream_whose_hedge_gave_an_item():
    """The item is out."""
    ask = provider(hang(), stream([1, 2], fail_at=1, error=ConnectionError), "never")
    items = await Pipeline(retry_jitter(3), hedged(1.0))(ask)()
    assert 1 == await anext(items)
    with pytest.raises(ConnectionError):
        await anext(items)
    assert 2 == ask.count


# ------------------------------------------------------------------ time limits


async def test_a_limit_outside_ends_all_attempts():
    """`TimedOut` in the caller's time, and nothing goes on."""
    ask = provider(hang())
    with pytest.raises(TimedOut):
        await Pipeline(timed(5), hedged(1.0))(ask)()
    assert (2, 0, 5.0, set()) == (ask.count, ask.in_flight, now(), others())
    assert 0 == asyncio.current_task().cancelling()


async def test_a_limit_inside_ends_one_attempt():
    """The first one's own end does not end the hedge, whose limit began later."""
    ask = provider(hang(), after(2.5, "second"))
    assert "second" == await Pipeline(hedged(1.0), timed(3))(ask)()
    assert 3.5 == now()
    ask = provider(hang())
    with pytest.raises(TimedOut):
        await Pipeline(hedged(1.0), timed(3))(ask)()
    assert 7.5 == now()
    assert 0 == asyncio.current_task().cancelling()


async def test_a_limit_outside_ends_a_stream_that_a_hedge_won():
    """At the next read, if nobody is reading; the permit is back in time."""
    bound = bounded(5)
    ask = provider(hang(), stream([1, 2, 3], first=0.5))
    items = await Pipeline(timed(5), hedged(1.0), bound)(ask)()
    assert 1 == await anext(items)
    await asyncio.sleep(10)
    assert (0, 0) == (held(bound), ask.in_flight)
    with pytest.raises(TimedOut):
        await anext(items)


async def test_limits_on_items_hold_for_the_winner():
    """First item and idle, inside the hedge."""
    ask = provider(hang(), stream([1, 2], first=0.5, hang_at=1))
    items = await Pipeline(hedged(1.0), timed(idle=2, first_item=10))(ask)()
    assert 1 == await anext(items)
    with pytest.raises(TimedOut, match="no further item within 2 s"):
        await anext(items)
    assert (3.5, 0) == (now(), asyncio.current_task().cancelling())


# ------------------------------------------------------------------ cancellation


@pytest.mark.parametrize(
    "script",
    [
        SLOW_THEN_FAST,
        (after(1.2, "first"), after(5, "second")),
        (after(1.5, ConnectionError), after(5, "second")),
        (after(1.5, ConnectionError), after(1, ConnectionError)),
    ],
)
async def test_a_call_cancelled_at_any_step_leaves_nothing(script):
    """No permit, no task, no hedge in the budget, and its cancellation is not lost."""
    bound, budget = bounded(5), RetryBudget()
    layer = hedged(1.0, budget=budget)
    for step in cancel_at_every_step():
        ask = provider(*script)
        outcome = await step(Pipeline(layer, Spy(), bound, Spy())(ask)())
        assert "cancelled" == outcome or not step.reached
        assert (0, 0, 0) == (held(bound), ask.in_flight, layer.snapshot().racing)
        assert (0, 0) == (budget.spent, budget.calls)
        assert set() == others()


@pytest.mark.parametrize("script", [(hang(), stream([1, 2], first=0.5)), (stream([1, 2], first=1.2), hang())])
async def test_a_stream_cancelled_at_any_step_leaves_nothing(script):
    """Opening, waiting for the first item, changing streams, reading on."""
    bound, budget = bounded(5), RetryBudget()
    layer = hedged(1.0, budget=budget)

    async def read(ask):
        return [item async for item in await ask()]

    for step in cancel_at_every_step():
        ask = provider(*script)
        outcome = await step(read(Pipeline(layer, Spy(), bound, Spy())(ask)))
        gc.collect()
        await asyncio.sleep(1)
        assert "cancelled" == outcome or not step.reached
        assert (0, 0, 0, 0, 0) == (
            held(bound), ask.in_flight, layer.snapshot().racing, budget.spent, budget.calls
        )  # fmt: skip
        assert set() == others()


# ------------------------------------------------------------------ the budget


async def test_hedges_are_taken_from_the_budget():
    """With none left, slow calls stay slow."""
    layer = hedged(1.0, budget=RetryBudget(minimum=1, ratio=0))
    ask = provider(hang(), hang(), after(1, "hedge"))
    f = layer(ask)
    tasks = [asyncio.create_task(f()) for _ in range(2)]
    await asyncio.sleep(1.5)
    assert (3, 1) == (ask.count, layer.budget.spent)
    assert "hedge" == await tasks[0]
    assert 0 == layer.budget.spent
    tasks[1].cancel()
    await asyncio.wait(tasks)


def test_layers_of_one_pipeline_that_repeat_share_a_budget_unless_given_one():
    """Also where decorators make the pipeline one by one; the outermost counts the calls."""
    retry, hedge = retry_jitter(3), hedged(1.0)
    assert retry.budget is not hedge.budget
    ask = retry(hedge(provider("x")))
    assert retry.budget is hedge.budget
    layers = ask._self_chain.layers
    assert (1, 0) == (retry.counts_calls(layers), hedge.counts_calls(layers))
    mine = RetryBudget()
    retry, hedge = retry_jitter(3, budget=mine), hedged(1.0)
    Pipeline(retry, timed(5), hedge)
    assert retry.budget is hedge.budget is mine
    retry, hedge = retry_jitter(3, budget=False), hedged(1.0)
    Pipeline(retry, hedge)
    assert retry.budget is not hedge.budget
    retry, hedge = retry_jitter(3), hedged(1.0, budget=RetryBudget())
    Pipeline(retry, hedge)
    assert retry.budget is hedge.budget


def test_a_layer_in_two_pipelines_brings_its_budget_with_it():
    """An object is its state: all that stand with it share it."""
    hedge, first, second = hedged(1.0), retry_jitter(3), retry_jitter(3)
    Pipeline(first, hedge)
    Pipeline(second, hedge)
    assert first.budget is second.budget is hedge.budget


async def test_calls_are_counted_once_for_a_shared_budget():
    """By the outermost layer that has it, while they are in flight."""
    retry, hedge = retry_jitter(3), hedged(1.0)
    ask = provider(after(0.5, "x"))
    tasks = [asyncio.create_task(Pipeline(retry, hedge)(ask)()) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert 3 == hedge.budget.calls
    await asyncio.gather(*tasks)
    assert 0 == hedge.budget.calls


# ------------------------------------------------------------------ what is told


async def test_attempts_are_numbered_in_the_whole_call_and_losers_are_told(listen):
    """Both are in the call's record."""
    heard = listen()
    ask = provider(*SLOW_THEN_FAST)
    await hedged(1.0)(Passing()(ask))()
    assert [1, 2] == [event.attempt.number for event in heard(AttemptStarted)]
    assert {1: "cancelled", 2: "ok"} == {e.attempt.number: e.attempt.outcome for e in heard(AttemptFinished)}
    (sent,), (lost,) = heard(HedgeSent), heard(HedgeLost)
    assert (2, 1.0, 1.0) == (sent.attempt.number, sent.delay, sent.at)
    assert (1, "cancelled") == (lost.attempt.number, lost.attempt.outcome)
    assert [1, 2] == [attempt.number for attempt in lost.call.run.attempts]
    assert 2 == lost.call.run.last.number


async def test_a_failed_attempt_is_not_a_lost_one(listen):
    """It was not in vain for another's sake."""
    heard = listen()
    await hedged(1.0)(provider(after(1.5, ConnectionError), after(5, "second")))()
    assert [] == heard(HedgeLost)


async def test_retries_inside_a_hedge_are_numbered_in_the_whole_call_too(listen):
    """Wherever they stand."""
    heard = listen()
    ask = provider(after(1.5, ConnectionError), after(1, ConnectionError), after(0.1, "third"))
    assert "third" == await Pipeline(hedged(1.0), Again(2))(ask)()
    assert [1, 2, 3] == [event.attempt.number for event in heard(AttemptStarted)]


async def test_the_decision_is_reported_where_somebody_wants_such_detail(listen):
    """A phase of no length that says after how long a hedge is due."""
    heard = listen()
    await hedged(1.0)(provider("x"))()
    (phase,) = [event for event in heard(Phase) if event.name == "hedge check"]
    assert {"sluiceway.hedged.after": 1.0} == dict(phase.attributes)


def test_its_repr_and_its_snapshot_say_what_it_does():
    """And it counts as so many attempts."""
    layer = hedged("p99", max=2)
    assert "<hedged('p99', max=2): too little is known, 0 racing, 0 of 0 won>" == repr(layer)
    assert HedgeSnapshot(after=None, samples=0, racing=0, sent=0, won=0) == layer.snapshot()
    assert 3 == layer.attempts


@pytest.mark.parametrize("value", ["p0", "p100", "px", "p", "soon", 0, -1, "0s"])
def test_bad_times_are_refused(value):
    """By name."""
    with pytest.raises(ValueError, match="after="):
        hedged(value)


@pytest.mark.parametrize("settings", [{"max": 0}, {"max": 1.5}, {"budget": 3}, {"budget": True}])
def test_bad_settings_are_refused(settings):
    """By name."""
    with pytest.raises((ValueError, TypeError), match=f"{next(iter(settings))}="):
        hedged(1.0, **settings)


# ------------------------------------------------------------------ what it is for


async def tail(layer, calls=4_000):
    """Return p50, p99 and the attempts a call of a provider with a long tail: 2 % at 20 times the median."""
    rng = Random(11)

    async def ask():
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(20.0 if rng.random() < 0.02 else rng.lognormvariate(0.0, 0.3))

    attempts = 0
    f = layer(ask)
    times = []
    for _ in range(calls):
        began = now()
        await f()
        times.append(now() - began)
    times.sort()
    return times[calls // 2], times[calls * 99 // 100], attempts / calls


async def test_it_halves_the_99th_percentile_of_a_long_tail_for_less_than_6_percent_more_attempts():
    """Log-normal, 2 % of the answers at 20 times the median."""
    _, before, _ = await tail(Passing())
    _, behind, attempts = await tail(hedged())
    assert behind <= before / 2
    assert attempts < 1.06


async def attempts_a_call(outage, *layers):
    """Return how many attempts 2,000 calls, 100 a second, make of a provider that is down."""
    attempts = 0

    async def ask():
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(1.0 if outage == "fails" else 3600)
        raise ConnectionError

    f = Pipeline(*layers, timed(1.5))(ask)
    calls = []
    for _ in range(2_000):
        calls.append(asyncio.create_task(f()))
        await asyncio.sleep(0.01)
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, (ConnectionError, TimedOut)) for end in ends)
    return attempts / len(calls)


@pytest.mark.parametrize("outage", ["fails", "hangs"])
async def test_in_an_outage_retries_and_hedges_together_keep_within_their_budget(outage):
    """Attempts a call stay under 1.25."""
    assert await attempts_a_call(outage, retry_jitter(5, rng=Random(3)), hedged("500ms")) < 1.25


async def test_without_a_budget_retries_make_five_attempts_of_each_call():
    """And hedges would double them."""
    assert 5 == await attempts_a_call("fails", retry_jitter(5, rng=Random(3), budget=False))
