"""`fallback`: whom it asks instead, after which errors, and what is told of it."""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop, sleep

import pytest

from sluiceway.call import current, hints
from sluiceway.describe import describe
from sluiceway.errors import BudgetExceeded, CircuitOpen, QueueFull, RateLimited, SessionClosed, TimedOut
from sluiceway.events import AttemptStarted, FellBack
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.bounded import bounded
from sluiceway.layers.fallback import fallback
from sluiceway.layers.retry_jitter import retry_jitter
from sluiceway.layers.timed import timed
from sluiceway.order import Role
from sluiceway.session import Session
from sluiceway.testing.openai_shapes import chunks, completion, openai_error
from sluiceway.testing.scripted import ScriptedProvider, after, hang
from sluiceway.testing.scripted_stream import stream
from sluiceway.testing.virtual_time import run

DOWN = openai_error(503)
OURS = openai_error(400)


class MyError(Exception):
    """An exception of the user's own code."""


class Models:
    """A provider of several models, each with its own script; remembers who was asked."""

    def __init__(self, **scripts):
        self.asked = []
        self._providers = {name: ScriptedProvider(*each) for name, each in scripts.items()}

    async def ask(self, prompt, model="dear"):
        self.asked.append(model)
        return await self._providers[model](prompt)


def bound(models, *alternatives, **settings):
    """Return the models' `ask` as a plain function under a fallback."""

    async def ask(prompt, model="dear"):
        return await models.ask(prompt, model)

    return fallback(*alternatives, **settings)(ask)


# ------------------------------------------------------------------ whom it asks


async def test_the_first_answer_counts():
    """While the model that was asked answers, nobody else is."""
    models = Models(dear=["v"], cheap=["w"])
    assert "v" == await bound(models, "cheap")("p")
    assert ["dear"] == models.asked


async def test_models_are_asked_in_their_order():
    """Each is asked once, until one answers."""
    models = Models(dear=[DOWN], second=[DOWN], third=["v"], fourth=["w"])
    assert "v" == await bound(models, "second", "third", "fourth")("p")
    assert ["dear", "second", "third"] == models.asked


@pytest.mark.parametrize("how", ["left out", "by position", "by name"])
async def test_a_model_takes_the_place_of_the_one_that_was_asked(how):
    """However the caller gave it: nothing is given twice."""
    models = Models(dear=[DOWN], cheap=["v"])
    ask = bound(models, "cheap")
    args, kwargs = {"left out": ((), {}), "by position": (("dear",), {}), "by name": ((), {"model": "dear"})}[how]
    assert "v" == await ask("p", *args, **kwargs)
    assert ["dear", "cheap"] == models.asked


async def test_a_method_keeps_its_instance():
    """Of a method too the argument by position is the right one."""

    class Client:
        def __init__(self):
            self.asked = []

        @fallback("cheap")
        async def ask(self, prompt, model):
            self.asked.append((prompt, model))
            if model != "cheap":
                raise DOWN
            return "v"

    client = Client()
    assert "v" == await client.ask("p", "dear")
    assert [("p", "dear"), ("p", "cheap")] == client.asked


async def test_functions_get_the_calls_own_arguments():
    """A function stands for the whole rest of the pipeline: layers inside are not run for it."""
    other = ScriptedProvider("v")
    ask = Pipeline(fallback(other), retry_jitter(attempts=1), bounded(1, max_wait=0))(ScriptedProvider(DOWN))
    assert "v" == await ask("p", model="dear", size=3)
    assert (("p",), {"model": "dear", "size": 3}) == (other.calls[0].args, other.calls[0].kwargs)


async def test_methods_of_the_same_class_get_the_instance():
    """So the class can name its own methods; a function from elsewhere gets the arguments alone."""
    elsewhere = ScriptedProvider(DOWN)

    class Client:
        name = "me"

        @bounded(5)
        async def ask_small(self, prompt):
            return f"{self.name}: {prompt}"

        @fallback(elsewhere, ask_small)
        async def ask(self, prompt):
            raise DOWN

    Client.ask_small.__qualname__ = "Client.ask_small"  # as at the top of a module
    Client.ask.__qualname__ = "Client.ask"
    assert "me: p" == await Client().ask("p")
    assert ("p",) == elsewhere.calls[0].args


async def test_a_decorated_function_is_a_nested_call():
    """Its call has this one as its parent, inherits what it should, and runs under its own layers."""
    seen = []

    @bounded(1)
    async def other(prompt):
        call = current.get()
        seen.append((call.name.rpartition(".")[2], call.run.parent.run.name.rpartition(".")[2], call.hints.tenant))
        return "v"

    @fallback(other)
    async def ask(prompt):
        raise DOWN

    with hints(tenant="acme"):
        assert "v" == await ask("p")
    assert [("other", "ask", "acme")] == seen


# ------------------------------------------------------------------ after which errors


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        openai_error(500),
        openai_error(429),
        openai_error(429, code="insufficient_quota"),
        ConnectionResetError(),
        TimeoutError(),
        TimedOut("an attempt's"),
        CircuitOpen("open"),
        RateLimited("too long"),
        QueueFull("full"),
        BudgetExceeded("too dear"),
    ],
    ids=repr,
)
async def test_what_another_may_do_better(error):
    """Whatever says nothing about others: the provider's failures, no money here, our own refusals."""
    assert "v" == await bound(Models(dear=[error], cheap=["v"]), "cheap")("p")


@pytest.mark.parametrize(
    "error",
    [OURS, openai_error(401), openai_error(422), MyError("no JSON"), SessionClosed("over"), asyncio.CancelledError()],
    ids=repr,
)
async def test_what_nobody_will_do_better(error):
    """A wrong request is wrong for all, one's own bug too, and a cancellation is none of our business."""
    models = Models(dear=[error], cheap=["v"])
    with pytest.raises(type(error)):
        await bound(models, "cheap")("p")
    assert ["dear"] == models.asked


@pytest.mark.parametrize(
    ("on", "error", "asked"),
    [
        (MyError, MyError(), 2),
        (MyError, DOWN, 1),
        ((MyError, TimeoutError), TimeoutError(), 2),
        (lambda error: isinstance(error, MyError) or None, MyError(), 2),
        (lambda error: isinstance(error, MyError) or None, DOWN, 2),
        (lambda error: False, DOWN, 1),
        (lambda error: getattr(error, "status_code", None) == 400 or None, OURS, 2),
    ],
)
async def test_on_says_after_what(on, error, asked):
    """Types are these and no others; a function decides, or leaves it to the kind; so even wrong requests go on."""
    models = Models(dear=[error], cheap=["v"])
    await asyncio.gather(bound(models, "cheap", on=on)("p"), return_exceptions=True)
    assert asked == len(models.asked)


async def test_an_answer_of_on_that_is_none_is_refused():
    """What `on` may say is True, False or None."""
    with pytest.raises(TypeError, match="on= returned 'yes'"):
        await bound(Models(dear=[DOWN]), "cheap", on=lambda error: "yes")("p")


async def test_a_deadline_that_has_passed_asks_nobody():
    """A nested call's deadline is the caller's own: there is no time left for an alternative."""
    models = Models(cheap=["v"])
    inner = timed()(ScriptedProvider(hang()))

    @fallback("cheap")
    async def ask(prompt, model="dear"):
        return await (models.ask(prompt, model) if model == "cheap" else inner())

    with hints(deadline=1), pytest.raises(TimedOut):
        await ask("p")
    assert [] == models.asked


async def test_what_must_not_be_repeated_goes_on_only_if_nothing_was_sent():
    """`hints(idempotent=False)`: a failure after sending is the end, a refusal before it is not."""
    sent, unsent = Models(dear=[DOWN], cheap=["v"]), Models(dear=[CircuitOpen("open")], cheap=["v"])
    with hints(idempotent=False):
        with pytest.raises(type(DOWN)) as caught:
            await bound(sent, "cheap")("p")
        assert "v" == await bound(unsent, "cheap")("p")
    assert "the call is not idempotent" in caught.value.__notes__[-1]


async def test_a_timeout_of_the_attempt_leads_to_an_alternative_one_of_the_total_does_not():
    """Inside it is a failure, outside it is a cancellation."""
    slow = Models(dear=[hang()], cheap=["v"])
    inside = Pipeline(fallback("cheap"), timed(1))(slow.ask)
    assert "v" == await inside("p", "dear")
    outside = Pipeline(timed(1), fallback("cheap"))(slow.ask)
    with pytest.raises(TimedOut):
        await outside("p", "dear")
    assert ["dear", "cheap", "dear"] == slow.asked


# ------------------------------------------------------------------ streams


async def test_a_stream_falls_back_before_its_first_item():
    """The reader holds the same stream and reads the alternative's items."""
    models = Models(dear=[stream([1, 2], fail_at=0, error=DOWN)], cheap=[stream([3, 4])])
    opened = await bound(models, "cheap")("p")
    assert [3, 4] == [item async for item in opened]


async def test_a_stream_does_not_fall_back_after_it():
    """Nobody reads an item twice, nor half of two answers."""
    models = Models(dear=[stream([1, 2], fail_at=1, error=DOWN)], cheap=[stream([3, 4])])
    opened = await bound(models, "cheap")("p")
    assert 1 == await anext(opened)
    with pytest.raises(type(DOWN)) as caught:
        await anext(opened)
    assert ["dear"] == models.asked
    assert "items of the stream are out" in caught.value.__notes__[-1]


async def test_generators_fall_back_to_generators_and_to_functions_that_return_streams():
    """All forms of streams stand for one another."""
    asked = []

    async def other(prompt):
        asked.append("other")
        raise DOWN
        yield

    @fallback(other, ScriptedProvider(stream(["a", "b"])))
    async def ask(prompt):
        asked.append("ask")
        raise DOWN
        yield

    assert ["a", "b"] == [item async for item in ask("p")]
    assert ["ask", "other"] == asked


# ------------------------------------------------------------------ what is raised and told


async def test_the_last_alternatives_own_error_is_raised_with_a_note_on_all():
    """As it was raised, without the others in its context; the note says whom was asked and for how long."""
    last = openai_error(500)
    models = Models(dear=[after(2, DOWN)], second=[after(1, openai_error(429))], third=[last])
    with pytest.raises(type(last)) as caught:
        await bound(models, "second", "third")("p")
    assert last is caught.value
    assert last.__context__ is None
    noted = [
        "sluiceway's fallback gave up: no alternative is left",
        "dear: InternalServerError 503 after 2 s",
        "second: RateLimitError 429 after 1 s",
        "third: InternalServerError 500 after 0 s",
    ]
    assert ["\n".join(noted)] == last.__notes__


async def test_an_alternative_that_refuses_the_request_is_the_end():
    """Its error is raised at once, with the note, and nobody after it is asked."""
    models = Models(dear=[DOWN], second=[openai_error(400)], third=["v"])
    with pytest.raises(Exception, match="400") as caught:
        await bound(models, "second", "third")("p")
    assert ["dear", "second"] == models.asked
    assert "nobody else could help after ours to fix" in caught.value.__notes__[-1]


async def test_each_change_is_an_event_also_where_nobody_listens(listen):
    """It names who failed and who is asked next, by model or by function."""
    heard = listen(listening=False)
    other = ScriptedProvider("v", name="other")
    await bound(Models(dear=[DOWN], cheap=[DOWN]), "cheap", other)("p")
    told = [(event.layer, event.failed, event.to, event.cause) for event in heard(FellBack)]
    assert [("fallback", "dear", "cheap", DOWN), ("fallback", "cheap", "other", DOWN)] == told


async def test_a_function_without_a_model_is_named_by_its_name(listen):
    """And a decorated alternative by the name of its pipeline."""
    heard = listen()
    other = Pipeline(name="the other")(ScriptedProvider("v"))
    await fallback(other)(ScriptedProvider(DOWN, name="ask"))("p")
    assert [("ask", "the other")] == [(event.failed, event.to) for event in heard(FellBack)]


async def test_an_alternatives_attempts_are_further_ones_of_the_call(listen):
    """They are numbered on, and rank in queues as what they are: a call that came earlier."""
    heard = listen()

    seen = []

    class Numbers(Layer):
        async def handle(self, call, proceed):
            seen.append(call.attempt)
            return await proceed(call)

    models = Models(dear=[DOWN], cheap=[DOWN, "v"])
    await Pipeline(fallback("cheap"), retry_jitter(attempts=2, base=0), Numbers())(models.ask)("p", "dear")
    assert [1, 2, 3, 4] == seen
    assert [1, 2, 3, 4] == [event.attempt.number for event in heard(AttemptStarted)]


@pytest.mark.parametrize("on_event", [None, lambda event: None])
async def test_statistics_count_each_attempt_under_the_model_that_it_asked(on_event):
    """The call is the model's that answered; the failed attempt is the other's."""
    models = Models(dear=[DOWN], cheap=[completion("v", model="cheap", prompt_tokens=5, completion_tokens=7)])
    async with Session(on_event=on_event) as session:
        await bound(models, "cheap")("p", model="dear")
    by_model = session.stats.by_model
    assert (1, 1, 12) == (by_model["cheap"].calls, by_model["cheap"].attempts, by_model["cheap"].tokens.total)
    assert (0, 1, 0) == (by_model["dear"].calls, by_model["dear"].attempts, by_model["dear"].tokens.total)


async def test_usage_of_a_nested_alternative_counts_once():
    """By the innermost call."""
    answer = completion("v", model="cheap", prompt_tokens=5, completion_tokens=7)
    other = bounded(1)(ScriptedProvider(answer))
    async with Session() as session:
        await fallback(other)(ScriptedProvider(DOWN))("p")
    assert 12 == session.stats.tokens.total


async def test_streams_count_under_the_model_that_was_read():
    """The chunks of the alternative."""
    models = Models(
        dear=[stream([1], fail_at=0, error=DOWN)],
        cheap=[stream(chunks("a b", model="cheap", prompt_tokens=5, completion_tokens=7))],
    )
    async with Session() as session:
        opened = await bound(models, "cheap")("p", model="dear")
        assert [item async for item in opened]
    assert 12 == session.stats.by_model["cheap"].tokens.total


# ------------------------------------------------------------------ what is refused


def test_a_model_needs_a_parameter_to_be_told_by():
    """When the function is decorated, not when its first call fails."""

    async def ask(prompt):
        """Know one model."""

    with pytest.raises(TypeError, match=r"ask has no parameter `model`, so that fallback\('cheap'\) could not tell"):
        fallback("cheap")(ask)
    fallback(ask)(ask)


def test_any_keyword_will_do():
    """``**kwargs`` may hold a model, whatever becomes of it."""

    async def ask(prompt, **kwargs):
        """Know all models."""

    fallback("cheap")(ask)


def plain():
    """Be synchronous."""


@pytest.mark.parametrize(
    ("alternatives", "kind", "text"),
    [
        ((), ValueError, "needs an alternative"),
        (("",), ValueError, "alternative=''"),
        ((5,), TypeError, "alternative=5"),
        ((plain,), TypeError, "async"),
        ((lambda: None, "m", None), TypeError, "alternative=None"),
    ],
)
def test_what_is_no_alternative_is_refused(alternatives, kind, text):
    """With what was given, when it is made."""
    with pytest.raises(kind, match=text):
        fallback(*alternatives)


def test_a_cancellation_is_no_error_to_act_upon():
    """As with retries."""
    with pytest.raises(TypeError, match="cancellation"):
        fallback("m", on=asyncio.CancelledError)


def test_it_stands_outside_retries():
    """Inside, every attempt would go through all alternatives: the pipeline warns."""
    assert Role.REPLACE is fallback.role
    with pytest.warns(UserWarning, match="fallback stands inside retry_jitter"):
        Pipeline(retry_jitter(), fallback("cheap"))


async def test_cancelling_it_cancels_whom_it_asks():
    """At the first and at the alternatives, and nobody else is asked."""
    models = Models(dear=[hang()], cheap=[hang()])
    task = asyncio.create_task(bound(models, "cheap")("p"))
    await sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ["dear"] == models.asked


def test_it_serves_one_loop_after_another():
    """It keeps nothing between calls."""
    ask = bound(Models(dear=[DOWN], cheap=["v"]), "cheap")

    async def once():
        return await ask("p"), get_running_loop().time()

    assert ("v", 0.0) == run(once()) == run(once())


# ------------------------------------------------------------------ what it shows


@pytest.mark.parametrize(
    ("layers", "attempts"),
    [
        (lambda spare, _: [fallback(spare)], 2),
        (lambda *_: [fallback("b", "c"), retry_jitter(2, base=0)], 6),
        (lambda _, stubborn: [fallback(stubborn, "b")], 7),
        (lambda _, stubborn: [fallback(stubborn), retry_jitter(2, base=0)], 7),
    ],
    ids=["a function", "models repeat what is inside", "a function repeats by itself", "both"],
)
async def test_a_description_says_how_many_attempts_there_can_be(layers, attempts):
    """As many as are made while everybody is down: those of an alternative's own layers come on top."""
    asked = []

    async def ask(prompt, model="a"):
        asked.append(model)
        raise DOWN

    stubborn = retry_jitter(5, base=0, budget=False)(ask)
    around = Pipeline(*layers(ask, stubborn))(ask)
    assert attempts == describe(around).amplification
    with pytest.raises(type(DOWN)):
        await around("p")
    assert attempts == len(asked)


def test_a_description_names_functions():
    """Not where they are in memory."""

    async def spare(prompt):
        """Not called."""

    assert "fallback('b', test_a_description_names_functions.<locals>.spare)" == repr(fallback("b", spare))
