"""`budgeted`: what is reserved, what is settled, what is refused before it is spent."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from asyncio import gather, get_running_loop, sleep

import pytest

from sluiceway.call import hints
from sluiceway.errors import BudgetExceeded, CircuitOpen
from sluiceway.events import BudgetSpent, CallRejected, Phase
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.budgeted import budgeted
from sluiceway.layers.fallback import fallback
from sluiceway.layers.retry_jitter import retry_jitter
from sluiceway.providers.usage import Usage
from sluiceway.session import Session
from sluiceway.telemetry.statistics import Statistics
from sluiceway.testing.openai_shapes import chunks, completion, openai_error
from sluiceway.testing.scripted import ScriptedProvider, after, hang
from sluiceway.testing.scripted_stream import stream
from sluiceway.testing.virtual_time import run

PRICES = {"dear": {"input": 10.0, "output": 100.0}, "cheap": {"input": 1.0, "output": 1.0}}
"""A million tokens; so a call of 100,000 and 10,000 costs 2 USD of the dear, and 0.11 of the cheap."""


def answered(given=100_000, made=10_000, model="dear"):
    return completion("v", prompt_tokens=given, completion_tokens=made, model=model)


def budget(usd=10.0, **settings):
    """Return a budget of 10 USD for calls that are all estimated at 100,000 and 10,000 tokens."""
    return budgeted(usd=usd, **{"prices": PRICES, "count": lambda call: (100_000, 10_000), "model": "dear", **settings})


def shot(layer, key=None):
    return next(each for each in layer.snapshot() if each.key == key)


def usd(layer, key=None):
    """Return what is spent, reserved and left, in USD."""
    each = shot(layer, key)
    return tuple(round(amounts["usd"], 9) for amounts in (each.spent, each.reserved, each.left))


async def ended(*awaitables):
    return await gather(*awaitables, return_exceptions=True)


# ------------------------------------------------------------------ reserving


async def test_a_call_that_may_cost_more_than_is_left_is_refused_before_it_is_sent():
    """Five calls of 2 USD fit into 10; the sixth never reaches the provider, and is told the numbers."""
    layer, provider = budget(), ScriptedProvider(answered())
    ask = layer(provider)
    for _ in range(5):
        await ask()
    with pytest.raises(BudgetExceeded, match=r"may cost 2 usd, but 0 of 10 are left \(10 spent\)") as caught:
        await ask()
    assert 5 == provider.count
    error = caught.value
    told = (error.layer, error.unit, error.cost, error.limit, error.spent, error.reserved, error.retry_after)
    assert ("budgeted", "usd", 2.0, 10.0, 10.0, 0.0, None) == told


async def test_calls_reserve_before_any_of_them_settles():
    """A hundred at once: five go, though nothing is spent yet when the last one asks."""
    layer, provider = budget(), ScriptedProvider(after(1, answered()))
    results = await ended(*(layer(provider)() for _ in range(100)))
    assert 95 == sum(isinstance(result, BudgetExceeded) for result in results)
    assert (5, (10.0, 0.0, 0.0)) == (provider.count, usd(layer))
    assert "10 reserved by 5 calls in flight" in str(results[-1])


async def test_it_passes_its_limit_by_no_more_than_the_estimates_were_too_low():
    """Answers of three times the estimate: those in flight are paid, nobody after them goes."""
    layer, provider = budget(), ScriptedProvider(after(1, answered(300_000, 30_000)))
    await ended(*(layer(provider)() for _ in range(100)))
    assert (5, (30.0, 0.0, -20.0)) == (provider.count, usd(layer))
    with pytest.raises(BudgetExceeded):
        await layer(provider)()


async def test_what_was_not_used_comes_back():
    """Estimates may be high: the rest is there again when the call is over."""
    layer = budget()
    await layer(ScriptedProvider(answered(10_000, 1_000)))()
    assert (0.2, 0.0, 9.8) == usd(layer)


async def test_tokens_are_a_budget_too():
    """Input and output together; with both kinds, the first that is short refuses."""
    layer = budgeted(tokens=250_000, count=lambda call: (100_000, 10_000))
    await layer(ScriptedProvider(answered()))()
    await layer(ScriptedProvider(answered()))()
    with pytest.raises(BudgetExceeded, match=r"may cost 1.1e\+05 tokens, but 3e\+04 of 250000 are left") as caught:
        await layer(ScriptedProvider(answered()))()
    assert "tokens" == caught.value.unit
    both = budget(usd=100, tokens=100_000)
    with pytest.raises(BudgetExceeded, match="tokens"):
        await both(ScriptedProvider(answered()))()
    assert (0.0, 0.0, 100.0) == usd(both)


async def test_what_arguments_say_is_what_is_estimated():
    """The prompt by its length, the answer by `max_tokens`, else the mean of those that came; hints win."""
    layer = budgeted(tokens=1_000, counter="characters")
    ask = layer(ScriptedProvider(after(1, completion("v", prompt_tokens=100, completion_tokens=10))))
    task = asyncio.create_task(ask("x" * 400, max_tokens=50))
    await sleep(0.5)
    assert 150 == shot(layer).reserved["tokens"]
    await task
    with hints(expected_tokens=77):
        task = asyncio.create_task(ask("x" * 400))
        await sleep(0.5)
    assert 77 == shot(layer).reserved["tokens"]
    await task
    task = asyncio.create_task(ask("x" * 400))
    await sleep(0.5)
    assert 110 == shot(layer).reserved["tokens"]
    await task


# ------------------------------------------------------------------ settling


@pytest.mark.parametrize(
    ("step", "spent", "basis"),
    [
        (answered(50_000, 0), 0.5, "usage"),
        (completion("v", usage=False), 2.0, "estimate"),
        ("just text", 2.0, "estimate"),
        (openai_error(500), 2.0, "possibly billed"),
        (TimeoutError(), 2.0, "possibly billed"),
        (asyncio.CancelledError(), 2.0, "possibly billed"),
        (openai_error(429), 0.0, "refused"),
        (openai_error(400), 0.0, "refused"),
        (ConnectionRefusedError(), 0.0, "refund"),
    ],
)
async def test_every_end_settles_as_a_rate_limit_does(listen, step, spent, basis):
    """Usage if known, else the estimate of what may have been billed; what was not is given back."""
    heard = listen()
    layer = budget()
    await ended(layer(ScriptedProvider(step))())
    assert (spent, 0.0, 10 - spent) == usd(layer)
    (event,) = heard(BudgetSpent)
    told = (event.layer, event.basis, event.spent["usd"], event.reserved["usd"], event.limit["usd"])
    assert ("budgeted", basis, spent, 0.0, 10.0) == told


async def test_a_refusal_inside_costs_nothing():
    """No attempt was made."""

    class Refuses(Layer):
        async def handle(self, call, proceed):
            raise CircuitOpen("open")

    layer = budget()
    await ended(Pipeline(layer, Refuses())(ScriptedProvider(answered()))())
    assert (0.0, 0.0, 10.0) == usd(layer)


async def test_outside_retries_all_attempts_are_paid():
    """Two that may have been billed, one that was too fast, and the answer."""
    layer = budget()
    errors = (openai_error(500), openai_error(429), openai_error(503))
    ask = Pipeline(layer, retry_jitter(attempts=4))(ScriptedProvider(*errors, answered()))
    await ask()
    assert (6.0, 0.0, 4.0) == usd(layer)


async def test_inside_retries_every_attempt_asks():
    """The attempt that finds too little left is refused, and that is not repeated."""
    layer, provider = budget(usd=5), ScriptedProvider(openai_error(500))
    with pytest.raises(BudgetExceeded):
        await Pipeline(retry_jitter(attempts=4), layer)(provider)()
    assert (2, (4.0, 0.0, 1.0)) == (provider.count, usd(layer))


async def test_a_stream_holds_its_reservation_to_its_end():
    """Its usage comes with its last chunk."""
    script = stream(chunks("a b", model="dear", prompt_tokens=50_000, completion_tokens=0), gap=1)
    layer = budget()
    opened = await layer(ScriptedProvider(script))()
    await anext(opened)
    assert (0.0, 2.0, 8.0) == usd(layer)
    assert [item async for item in opened]
    assert (0.5, 0.0, 9.5) == usd(layer)


async def test_a_stream_that_is_left_keeps_its_estimate():
    """What was read of it was billed, and nobody said how much."""
    layer = budget()
    opened = await layer(ScriptedProvider(stream([1, 2, 3])))()
    await anext(opened)
    await opened.aclose()
    assert (2.0, 0.0, 8.0) == usd(layer)


async def test_cancelling_a_call_leaves_nothing_reserved():
    """It may have been billed."""
    layer = budget()
    task = asyncio.create_task(layer(ScriptedProvider(hang()))())
    await sleep(1)
    task.cancel()
    await ended(task)
    assert (2.0, 0.0, 8.0) == usd(layer)


# ------------------------------------------------------------------ prices


async def test_the_model_is_that_of_the_call():
    """By name, by position, or the default of its parameter; `model=` is for functions that have none."""

    async def ask(prompt, model="cheap"):
        return answered(model=model)

    layer = budget()
    bound = layer(ask)
    await bound("p")
    assert 0.11 == usd(layer)[0]
    await bound("p", "dear")
    assert 2.11 == usd(layer)[0]
    await bound("p", model="cheap")
    assert 2.22 == usd(layer)[0]


async def test_a_model_without_a_price_is_refused_with_the_remedy():
    """Rather than guessed: the message names the model and the settings."""
    provider = ScriptedProvider(answered(model="mine"))
    with pytest.raises(BudgetExceeded, match=r"price of 'mine': give prices=, or unknown='ignore'") as caught:
        await budget()(provider)(model="mine")
    assert math.isnan(caught.value.cost)
    with pytest.raises(BudgetExceeded, match=r"not known before it is sent: give budgeted\(model=...\)"):
        await budget(model=None)(provider)()
    assert 0 == provider.count


async def test_where_it_is_ignored_the_price_of_the_answering_model_counts():
    """If it has one; and it is the guess for calls that follow."""
    layer = budget(model=None, unknown="ignore")
    ask = layer(ScriptedProvider(after(1, answered()), after(1, answered()), answered(model="mine")))
    await ask()
    assert (2.0, 0.0, 8.0) == usd(layer)
    task = asyncio.create_task(ask())
    await sleep(0.5)
    assert (2.0, 2.0, 6.0) == usd(layer)
    await task
    await ask(model="mine")
    assert ((4.0, 0.0, 6.0), 1) == (usd(layer), shot(layer).unpriced)


async def test_the_sessions_prices_count_where_it_has_none_of_its_own():
    """So that the budget and the statistics agree."""
    layer = budget(prices=None)
    async with Session(prices={"dear": {"input": 20.0, "output": 0.0}}) as session:
        await layer(ScriptedProvider(answered()))()
    assert (2.0, 2.0) == (usd(layer)[0], session.stats.cost)


async def test_the_list_is_the_last_resort():
    """What genai-prices knows needs no table."""
    layer = budgeted(usd=1)
    await layer(ScriptedProvider(completion("v", prompt_tokens=1000, completion_tokens=1000)))("p", model="gpt-4o-mini")
    assert 0.00075 == usd(layer)[0]


async def test_a_cheaper_model_may_still_fit():
    """Outside, a fallback asks the model that is left money for."""
    layer = budget(usd=3)

    async def ask(prompt, model="dear"):
        return answered(model=model)

    bound = Pipeline(fallback("cheap"), layer)(ask)
    assert ["dear", "cheap", "cheap"] == [(await bound("p")).model for _ in range(3)]


# ------------------------------------------------------------------ whose


async def test_each_tenant_has_a_budget_and_those_without_a_name_share_one():
    """One who has spent his refuses nobody else."""
    layer = budget(usd=2, per="tenant")
    ask = layer(ScriptedProvider(answered()))
    with hints(tenant="acme"):
        await ask()
        with pytest.raises(BudgetExceeded, match="budgeted for 'acme': "):
            await ask()
    await ask()
    assert {"acme", None} == {each.key for each in layer.snapshot()}


async def test_what_a_key_has_spent_is_never_forgotten():
    """Not even when thousands came after it."""
    layer = budget(usd=2, per="tenant")
    ask = layer(ScriptedProvider(answered()))
    for number in range(1_500):
        with hints(tenant=f"t{number}"):
            await ask()
    with hints(tenant="t0"), pytest.raises(BudgetExceeded):
        await ask()


async def test_each_session_has_a_budget():
    """The innermost one counts; a gathering is its session's; outside there is one for all."""
    layer = budget(usd=4, per="session")
    ask = layer(ScriptedProvider(answered()))

    async def item(_):
        return await ask()

    async with Session("outer") as outer:
        await ask()
        async with Session("inner"):
            await ask()
            await ask()
            with pytest.raises(BudgetExceeded):
                await ask()
        outcomes = await outer.gather(item, range(3))
    assert [True, False, False] == [outcome.ok for outcome in outcomes]
    await ask()
    assert (4.0, 2.0) == (usd(layer, outer.id)[0], usd(layer, None)[0])


async def test_a_session_that_is_gone_is_forgotten():
    """A server that opens one for each request does not grow for ever."""
    layer = budget(usd=4, per="session")
    ask = layer(ScriptedProvider(answered()))
    for _ in range(1_100):
        async with Session():
            await ask()
    gc.collect()
    for _ in range(100):
        async with Session():
            await ask()
    assert len(layer.snapshot()) <= 1_100


async def test_a_process_session_counts_where_there_is_no_other():
    """It is around every call."""
    layer = budget(usd=4, per="session")
    async with Session(scope="process") as session:
        await layer(ScriptedProvider(answered()))()
    assert 2.0 == usd(layer, session.id)[0]


async def test_a_day_is_a_calendar_day_in_utc(monkeypatch):
    """At midnight there is a new budget, and the refusal says when that will be."""
    clock = [1_700_000_000.0]  # 2023-11-14, 22:13:20 UTC
    monkeypatch.setattr(time, "time", lambda: clock[0])
    layer = budget(usd=2, per="day")
    ask = layer(ScriptedProvider(answered()))
    await ask()
    with pytest.raises(BudgetExceeded) as caught:
        await ask()
    assert 6_400.0 == caught.value.retry_after
    clock[0] += 6_400.0
    await ask()
    assert ["2023-11-14", "2023-11-15"] == [each.key for each in layer.snapshot()]


async def test_a_call_counts_on_the_day_on_which_it_came(monkeypatch):
    """Midnight passes while it runs."""
    clock = [1_700_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    layer = budget(per="day")
    task = asyncio.create_task(layer(ScriptedProvider(after(1, answered())))())
    await sleep(0.5)
    clock[0] += 86_400
    await task
    assert (2.0, 0.0, 8.0) == usd(layer, "2023-11-14")


async def test_no_other_day_helps_what_is_too_dear_for_any():
    """A call that costs more than the whole budget is not told to come back."""
    with pytest.raises(BudgetExceeded) as caught:
        await budget(usd=1, per="day")(ScriptedProvider(answered()))()
    assert caught.value.retry_after is None


async def test_parts_can_be_put_together():
    """A tenant's day; a function of the call is a part as well."""
    layer = budget(per=("tenant", lambda call: call.kwargs.get("team")))
    with hints(tenant="acme"):
        await layer(ScriptedProvider(answered()))(team="blue")
    assert [("acme", "blue")] == [each.key for each in layer.snapshot()]
    layer = budget(per=lambda call: call.args[0])
    await layer(ScriptedProvider(answered()))("me")
    assert ["me"] == [each.key for each in layer.snapshot()]


# ------------------------------------------------------------------ what it tells


async def test_a_refusal_is_reported(listen):
    """Also where nobody listens to all: it is worth a line in the log."""
    heard = listen(listening=False)
    await ended(budget(usd=1)(ScriptedProvider(answered()))())
    (event,) = heard(CallRejected)
    assert ("budgeted", "usd") == (event.layer, event.error.unit)


async def test_a_check_is_a_phase_where_detail_is_wanted(listen):
    """With what it reserved and what was left then."""
    heard = listen()
    await budget()(ScriptedProvider(answered()))()
    (phase,) = heard(Phase)
    assert ("budgeted", "budget check") == (phase.layer, phase.name)
    assert {"sluiceway.budget.usd.reserved": 2.0, "sluiceway.budget.usd.left": 8.0} == phase.attributes


async def test_its_repr_tells_what_is_left():
    """Of the one budget, or how many there are."""
    layer = budgeted(usd=10, prices=PRICES, count=lambda call: (100_000, 10_000), model="dear")
    task = asyncio.create_task(layer(ScriptedProvider(after(1, answered())))())
    await sleep(0.5)
    assert repr(layer).endswith(": 8 of 10 usd left, 1 calls in flight>")
    await task
    assert repr(budget(per="tenant")).endswith(": 0 budgets>")
    assert (False, True) == (layer.keyed, budget(per="day").keyed)


def test_statistics_and_budgets_price_alike():
    """They ask the same source."""
    assert "price" in Statistics.__init__.__kwdefaults__
    assert 2.0 == Session(prices=PRICES).pricing("dear", Usage(100_000, 10_000))


# ------------------------------------------------------------------ settings, loops


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({}, ValueError, "needs a budget"),
        ({"usd": 0}, ValueError, "usd=0"),
        ({"tokens": -5}, ValueError, "tokens=-5"),
        ({"usd": "5"}, TypeError, "usd='5'"),
        ({"usd": 5, "per": "week"}, ValueError, "per='week'"),
        ({"usd": 5, "per": 7}, TypeError, "per=7"),
        ({"usd": 5, "per": ()}, ValueError, r"per=\(\)"),
        ({"usd": 5, "unknown": "guess"}, ValueError, "unknown='guess'"),
        ({"usd": 5, "model": 4}, TypeError, "model=4"),
        ({"usd": 5, "count": 4}, TypeError, "count=4"),
        ({"usd": 5, "counter": "guess"}, ValueError, "counter='guess'"),
        ({"usd": 5, "prices": 4}, TypeError, "prices=4"),
    ],
)
def test_bad_settings_are_refused(settings, kind, text):
    """With what was given and what is allowed, when it is made."""
    with pytest.raises(kind, match=text):
        budgeted(**settings)


def test_what_is_spent_stays_spent_in_another_loop():
    """It is money, not time."""
    layer = budget(usd=2)
    ask = layer(ScriptedProvider(answered()))
    run(ask())

    async def again():
        return get_running_loop().time(), *(await ended(ask()))

    at, error = run(again())
    assert (0.0, BudgetExceeded) == (at, type(error))
