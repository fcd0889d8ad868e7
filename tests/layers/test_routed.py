"""`routed`: which deployment gets a call, who is passed over, and what of it is seen."""

from __future__ import annotations

import asyncio
import random
from asyncio import gather, get_running_loop, sleep
from collections import Counter
from math import exp

import pytest

from sluiceway.algorithms.provider_limits import REQUESTS, ProviderLimits
from sluiceway.algorithms.provider_meters import Limit
from sluiceway.call import hints
from sluiceway.errors import BoundExceeded, CircuitOpen, QueueFull, RateLimited
from sluiceway.events import CallRejected, PassedOver, Phase
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.bounded import bounded
from sluiceway.layers.circuit_breaker import circuit_breaker
from sluiceway.layers.deployment import Deployment
from sluiceway.layers.hedged import hedged
from sluiceway.layers.observed import observed
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.layers.retry_jitter import retry_jitter
from sluiceway.layers.routed import routed
from sluiceway.session import Session
from sluiceway.testing.openai_shapes import completion, openai_error
from sluiceway.testing.scripted import ScriptedProvider, after, hang
from sluiceway.testing.scripted_stream import stream
from sluiceway.testing.virtual_time import run

DOWN = openai_error(503)
SECRET = "sk-very-secret"


def now():
    return get_running_loop().time()


class Fleet:
    """Providers by name; a call goes to the one that its `client` names."""

    def __init__(self, **scripts):
        self.providers = {name: ScriptedProvider(*each) for name, each in scripts.items()}
        self.asked = []

    async def ask(self, prompt="p", client=None):
        self.asked.append(client)
        return await self.providers[client](prompt)

    def deployments(self, **layers):
        return [Deployment(name, {"client": name}, layers.get(name, ())) for name in self.providers]

    def routed(self, strategy="room", **layers):
        return routed(*self.deployments(**layers), strategy=strategy)(self.ask)


class Refuses(Layer):
    """Refuses every call, and does not say so before."""

    def __init__(self, error):
        self.error = error

    async def handle(self, call, proceed):
        raise self.error


# ------------------------------------------------------------------ the whole of it


class Endpoint:
    """A provider with a real limit, which refuses what is above it and says when to come again."""

    def __init__(self, per_second):
        self._limits = ProviderLimits({REQUESTS: Limit(per_second * 60, burst=1.0)})
        self.per_second = per_second
        self.answered = self.refused = 0

    async def __call__(self):
        verdict = self._limits.ask(now(), {REQUESTS: 1})
        if not verdict.accepted:
            self.refused += 1
            raise openai_error(429, headers={"retry-after-ms": str(1000 * verdict.retry_after)})
        await sleep(0.2)
        self.answered += 1
        return "v"


async def dead():
    await sleep(0.05)
    raise ConnectionRefusedError


async def saturate(seconds, *layers_of):
    """Offer 400 calls a second for *seconds* to two endpoints, of 100 and 50 a second, and a dead one."""
    full, half = Endpoint(100), Endpoint(50)
    endpoints = {"full": full, "half": half, "dead": dead}

    async def ask(endpoint=None):
        return await endpoints[endpoint]()

    layers = {name: make() for name, make in zip(endpoints, layers_of, strict=True)}
    ask = routed(*(Deployment(name, {"endpoint": name}, layers[name]) for name in endpoints))(ask)
    results = []

    async def caller():
        while now() < seconds:
            results.append((await gather(ask(), return_exceptions=True))[0])

    await gather(*(caller() for _ in range(400)))
    # What the two could have answered: their rates all the time, and the second's worth that their buckets held.
    return results, (full.answered + half.answered) / (150 * (now() + 1)), full, half


async def test_of_three_deployments_one_is_dead_and_one_at_half_its_limit():
    """No call fails, and at least 98 % of the remaining capacity is used."""
    results, used, _, _ = await saturate(
        60,
        lambda: [rate_limited(rps=100), circuit_breaker()],
        lambda: [rate_limited(rps=50), circuit_breaker()],
        lambda: [rate_limited(rps=100), circuit_breaker()],
    )
    assert {"v"} == set(results)
    assert used >= 0.98


async def test_a_dead_one_needs_no_breaker_to_be_left_alone():
    """A failing deployment has all the room there is, and would draw every call: after three failures it is avoided."""
    fleet = Fleet(dead=[ConnectionRefusedError()], alive=[after(0.1, "v")])
    ask = fleet.routed()
    for _ in range(600):
        assert "v" == await ask()
    assert 60 == pytest.approx(now(), abs=1)
    assert 3 <= fleet.asked.count("dead") <= 10


async def test_a_limit_that_we_believe_to_be_twice_what_it_is_fails_no_call():
    """An endpoint degraded to half of what its limiter knows answers 429, and another one the call."""
    results, used, full, half = await saturate(60, *[lambda: [rate_limited(rps=100), circuit_breaker()]] * 3)
    assert {"v"} == set(results)
    assert half.refused > 100 > full.refused
    assert used >= 0.98


async def test_bounds_are_filled_too():
    """Where places are the limit, none stays empty while somebody waits."""
    provider = ScriptedProvider(after(1, "v"))

    async def ask(endpoint=None):
        return await provider()

    ask = routed(*(Deployment(str(n), {"endpoint": n}, [bounded(n)]) for n in (1, 2, 7)))(ask)
    await gather(*(ask() for _ in range(1_000)))
    assert now() <= 100 / 0.98
    assert 10 == provider.peak


# ------------------------------------------------------------------ what a deployment gets


async def test_a_deployment_replaces_arguments_by_name_or_by_position():
    """And leaves the others as the caller gave them."""
    seen = []

    @routed(Deployment("a", {"model": "m", "client": "c"}))
    async def ask(prompt, model="dear", size=1, *, client=None):
        seen.append((prompt, model, size, client))

    await ask("p")
    await ask("p", "x", 5, client="y")
    assert [("p", "m", 1, "c"), ("p", "m", 5, "c")] == seen


async def test_a_deployment_may_have_a_function_of_its_own():
    """Under the same layers as the others."""
    other = ScriptedProvider("other")
    bound = bounded(1)
    ask = Pipeline(routed(Deployment("a", function=other, layers=[bound])))(ScriptedProvider("mine"))
    assert "other" == await ask("p", size=3)
    assert (("p",), {"size": 3}) == (other.calls[0].args, other.calls[0].kwargs)


async def test_layers_inside_are_common_to_all_and_those_of_a_deployment_are_its_own():
    """Its layers stand around the rest of the pipeline."""
    fleet = Fleet(a=[after(1, "v")], b=[after(1, "v")])
    own, common = bounded(1), bounded(1)
    ask = Pipeline(routed(*fleet.deployments(a=[own])), common)(fleet.ask)
    await gather(ask(), ask())
    assert 2.0 == now()


async def test_statistics_count_under_the_model_of_the_deployment():
    """Not under the one that the caller left in its arguments."""

    @routed(Deployment("a", {"model": "m-eu"}))
    async def ask(prompt, model="dear"):
        return completion("v", model=model, prompt_tokens=5, completion_tokens=7)

    async with Session() as session:
        await ask("p", model="dear")
    assert ["m-eu"] == list(session.stats.by_model)


# ------------------------------------------------------------------ strategies


async def test_room_is_filled_evenly_by_share():
    """Of ten and of thirty places, one and three of four calls."""
    fleet = Fleet(a=[after(1, "v")], b=[after(1, "v")])
    ask = fleet.routed(a=[bounded(10)], b=[bounded(30)])
    await gather(*(ask() for _ in range(20)))
    assert {"a": 5, "b": 15} == Counter(fleet.asked)


async def test_without_limits_room_is_who_has_least_to_do():
    """Calls in flight, then calls in all."""
    fleet = Fleet(a=[after(9, "v")], b=[after(1, "v")])
    ask = fleet.routed()
    for _ in range(4):
        asyncio.create_task(ask())  # noqa: RUF006 - they end before the test
        await sleep(2)
    assert ["a", "b", "b", "b"] == fleet.asked
    await sleep(10)


async def test_weights_are_served_smoothly():
    """Five to one and one, and never five in a row; deterministic."""
    fleet = Fleet(a=["v"], b=["v"], c=["v"])
    weights = {"a": 5, "b": 1, "c": 1}
    ask = routed(*(Deployment(n, {"client": n}, weight=w) for n, w in weights.items()), strategy="weight")(fleet.ask)
    for _ in range(14):
        await ask()
    assert "aabacaa" * 2 == "".join(fleet.asked)


async def test_round_robin_takes_turns_whatever_the_weights():
    """And jumps over who is full."""
    fleet = Fleet(a=["v"], b=[hang()], c=["v"])
    ask = fleet.routed("round_robin", b=[bounded(1)])
    tasks = [asyncio.create_task(ask()) for _ in range(7)]
    await sleep(1)
    assert ["a", "b", "c", "a", "c", "a", "c"] == fleet.asked
    tasks[1].cancel()
    await asyncio.wait(tasks)


async def test_latency_prefers_the_fast_and_tries_the_slow_again():
    """What was slow fades in a quiet time; calls in flight count."""
    fleet = Fleet(a=[after(1, "v")], b=[after(4, "v")])
    ask = fleet.routed("latency")
    for _ in range(5):
        await ask()
    assert ["a", "b", "a", "a", "a"] == fleet.asked
    a, b = ask_layer(ask).snapshot()
    assert (1.0, 4.0 * exp(-0.3)) == pytest.approx((a.latency, b.latency), rel=0.01)
    await sleep(60)
    await ask()
    await ask()
    assert "b" in fleet.asked[-2:]


def ask_layer(function):
    from sluiceway.binding import layers_of

    return layers_of(function)[0]


async def test_a_streams_latency_is_that_of_its_first_item():
    """Long answers are not slow ones."""
    fleet = Fleet(a=[stream([1, 2, 3], first=1, gap=50)])
    ask = fleet.routed("latency")
    opened = await ask()
    assert [1, 2, 3] == [item async for item in opened]
    (shot,) = ask_layer(ask).snapshot()
    assert (1.0, 0) == (shot.latency, shot.in_flight)


# ------------------------------------------------------------------ full, refused, broken


async def test_who_is_full_is_not_even_tried(listen):
    """No permit is asked for, and nobody hears of a refusal."""
    heard = listen()
    fleet = Fleet(a=[hang()], b=["v"])
    ask = fleet.routed("weight", a=[bounded(1)])
    task = asyncio.create_task(ask())
    await sleep(1)
    assert ["v"] * 3 == [await ask() for _ in range(3)]
    assert [] == heard(CallRejected) + heard(PassedOver)
    task.cancel()
    await asyncio.wait([task])


async def test_where_none_has_room_the_call_waits_at_the_one_that_is_free_first():
    """By what the layers expect: five seconds here, two there, and behind those who wait already."""
    fleet = Fleet(slow=["v"], fast=["v"])
    layers = {
        "slow": [rate_limited(requests=1, window="5s", burst="1s")],
        "fast": [rate_limited(requests=1, window="2s", burst="1s")],
    }
    ask = fleet.routed(**layers)
    await gather(ask(), ask())
    assert 0.0 == now()
    await gather(*(ask() for _ in range(7)))
    assert {"slow": 3, "fast": 6} == Counter(fleet.asked)
    assert 10.0 == pytest.approx(now(), abs=0.1)


async def test_an_open_circuit_is_passed_over_until_it_may_be_probed():
    """Not tried while it is certain to refuse, then probed by a call that fails nobody."""
    fleet = Fleet(a=[ConnectionResetError()] * 2 + ["v"], b=["v"])
    breaker = circuit_breaker(min_calls=2, open_for=10, close_after=1, ramp=0, rng=random.Random(1))
    ask = fleet.routed(a=[breaker])
    for _ in range(10):
        assert "v" == await ask()
        await sleep(0.1)
    assert 2 == fleet.asked.count("a")
    assert "open" == breaker.state
    await sleep(10)
    await gather(ask(), ask())
    assert "closed" == breaker.state


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        openai_error(429),
        openai_error(429, code="insufficient_quota"),
        openai_error(401),
        openai_error(404),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=repr,
)
async def test_what_a_deployment_fails_goes_on_to_the_next(listen, error):
    """A key without money or rights is the deployment's own; the caller sees an answer, others an event."""
    heard = listen(listening=False)
    fleet = Fleet(a=[error], b=["v"])
    assert "v" == await fleet.routed("round_robin")()
    assert [("routed", "a", error)] == [(e.layer, e.deployment, e.cause) for e in heard(PassedOver)]


@pytest.mark.parametrize("error", [openai_error(400), openai_error(422), ValueError("mine"), asyncio.CancelledError()])
async def test_what_is_the_calls_own_fault_goes_nowhere_else(error):
    """It would fail everywhere, or nobody wants it any more."""
    fleet = Fleet(a=[error], b=["v"])
    with pytest.raises(type(error)):
        await fleet.routed("round_robin")()
    assert ["a"] == fleet.asked


async def test_a_refusal_that_nobody_foresaw_goes_on_as_well():
    """Layers of your own need not say how much room they have."""
    fleet = Fleet(a=["w"], b=["v"])
    assert "v" == await fleet.routed("round_robin", a=[Refuses(RateLimited("no"))])()


async def test_each_is_asked_once_at_the_most():
    """Three that are down make three attempts, and the last error is raised with a note on all."""
    last = openai_error(500)
    fleet = Fleet(a=[after(1, DOWN)], b=[after(2, openai_error(429))], c=[last])
    with pytest.raises(type(last)) as caught:
        await fleet.routed("round_robin")()
    assert last is caught.value
    assert last.__context__ is None
    noted = [
        "sluiceway's routed gave up: no deployment is left",
        "a: InternalServerError 503 after 1 s",
        "b: RateLimitError 429 after 2 s",
        "c: InternalServerError 500 after 0 s",
    ]
    assert ["\n".join(noted)] == last.__notes__


async def test_if_all_refuse_the_one_that_ends_first_is_raised():
    """Whoever waits for it waits no longer than needed; a failure tells more than a refusal."""
    fleet = Fleet(a=["v"], b=["v"], c=[DOWN])
    errors = [QueueFull("full"), RateLimited("soon", retry_after=2.0), CircuitOpen("later", retry_after=9.0)]
    layers = {name: [Refuses(error)] for name, error in zip("abc", errors, strict=True)}
    with pytest.raises(RateLimited, match="soon"):
        await fleet.routed("round_robin", **layers)()
    with pytest.raises(type(DOWN)):
        await fleet.routed("round_robin", a=layers["a"], b=layers["b"])()


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("other", [QueueFull("full"), DOWN], ids=repr)
async def test_a_key_that_is_not_valid_is_raised_only_if_none_is(order, other):
    """Outside it would be taken for a wrong request, from which nobody falls back, though one was only full."""
    revoked = openai_error(401)
    scripts = {"a": [revoked], "b": [other]}
    fleet = Fleet(**{name: scripts[name] for name in order})
    with pytest.raises(type(other)) as caught:
        await fleet.routed("round_robin")()
    assert "AuthenticationError 401" in caught.value.__notes__[-1]
    fleet = Fleet(a=[revoked], b=[last := openai_error(403)])
    with pytest.raises(type(last)):
        await fleet.routed("round_robin")()


async def test_the_latency_is_that_of_the_attempt_which_answered():
    """Not of a hedge that came too late."""
    fleet = Fleet(a=[after(1.0, "v"), hang()])
    router = routed(*fleet.deployments(a=[hedged("0.9s")]))
    assert "v" == await router(fleet.ask)()
    assert (2, 1.0) == (len(fleet.asked), router.snapshot()[0].latency)


async def test_retries_stand_outside_and_begin_again():
    """When all deployments have failed it waits, and asks them anew."""
    fleet = Fleet(a=[DOWN, "v"], b=[DOWN])
    ask = Pipeline(retry_jitter(attempts=2), routed(*fleet.deployments(), strategy="round_robin"))(fleet.ask)
    assert "v" == await ask()
    assert ["a", "b", "a"] == fleet.asked


async def test_what_is_not_idempotent_goes_on_only_if_nothing_was_sent():
    """As with every layer that would repeat it."""
    sent, unsent = Fleet(a=[DOWN], b=["v"]), Fleet(a=[ConnectionRefusedError()], b=["v"])
    with hints(idempotent=False):
        with pytest.raises(type(DOWN)):
            await sent.routed("round_robin")()
        assert "v" == await unsent.routed("round_robin")()


async def test_a_stream_goes_on_before_its_first_item_and_not_after_it():
    """And holds what its deployment's layers hold until it ends."""
    bound = bounded(1)
    fleet = Fleet(a=[stream([1], fail_at=0, error=DOWN)], b=[stream([2, 3], fail_at=1, error=DOWN)])
    opened = await fleet.routed("round_robin", b=[bound])()
    assert 2 == await anext(opened)
    assert 1 == bound.snapshot()[0].in_flight
    with pytest.raises(type(DOWN)) as caught:
        await anext(opened)
    assert "items of the stream are out" in caught.value.__notes__[-1]
    assert (["a", "b"], 0) == (fleet.asked, bound.snapshot()[0].in_flight)


async def test_async_generators_are_routed():
    """The arguments are replaced in each of their calls."""

    @routed(Deployment("a", {"client": "down"}), Deployment("b", {"client": "up"}), strategy="round_robin")
    async def ask(client=None):
        if client == "down":
            raise DOWN
        yield client

    assert ["up"] == [item async for item in ask()]


async def test_cancelling_a_call_gives_everything_back():
    """Whether it waits or runs; nobody is blamed for it."""
    fleet = Fleet(a=[hang()])
    bound = bounded(1)
    ask = fleet.routed(a=[bound])
    tasks = [asyncio.create_task(ask()) for _ in range(2)]
    await sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    (shot,) = ask_layer(ask).snapshot()
    assert (0, 2, 0) == (shot.in_flight, shot.calls, shot.failures)
    assert (0, 0) == (bound.snapshot()[0].in_flight, bound.snapshot()[0].waiting)


async def test_it_says_itself_how_much_room_there_is():
    """That of its best deployment, so that one can be part of another."""
    fleet = Fleet(a=[after(1, "v")], b=["w"])
    inner = routed(*fleet.deployments(a=[bounded(1)], b=[Refuses(BoundExceeded("no"))]))
    outer = routed(Deployment("inner", layers=[inner]), strategy="room")
    ask = outer(fleet.ask)
    assert "v" == await ask()


# ------------------------------------------------------------------ what is seen


async def test_no_value_of_an_argument_is_ever_shown(listen):
    """Keys stand there: only the names of arguments are shown, in errors, events and attributes too."""
    heard = listen()

    async def ask(prompt, api_key=None):
        raise DOWN

    layer = routed(Deployment("eu", {"api_key": SECRET}, [bounded(3)], weight=2, function=ask), strategy="weight")
    with pytest.raises(type(DOWN)) as caught:
        await layer(ask)("p")
    shown = [
        repr(layer),
        repr(layer.deployments),
        repr(layer.settings()),
        repr(layer.snapshot()),
        caught.value.__notes__,
    ]
    assert SECRET not in str(shown + [(event, getattr(event, "attributes", None)) for event in heard(object)])
    text = "Deployment('eu', kwargs=<api_key>, layers=[<bounded(3): 0 in flight, 0 waiting>], weight=2, function="
    assert repr(layer.deployments[0]).startswith(text)


async def test_the_choice_is_a_phase_where_detail_is_wanted(listen):
    """It names the deployment, and how long it expected to wait."""
    heard = listen()
    await Fleet(a=["v"]).routed()()
    (phase,) = heard(Phase)
    assert ("routed", "route to a") == (phase.layer, phase.name)
    told = {"deployment": "a", "strategy": "room", "expected_wait": 0.0}
    assert {f"sluiceway.routed.{name}": value for name, value in told.items()} == phase.attributes


async def test_its_repr_and_its_snapshot_tell_how_each_is_doing():
    """Who is avoided, and for how long."""
    fleet = Fleet(a=[DOWN], b=["v"])
    ask = fleet.routed("round_robin", b=[bounded(2)])
    for _ in range(6):
        await ask()
    layer = ask_layer(ask)
    text = "<routed(2 deployments, strategy='round_robin'): a 0 in flight, avoided for 1 s; b 0 in flight>"
    assert text == repr(layer)
    a, b = layer.snapshot()
    assert (3, 3, 1.0, ()) == (a.calls, a.failures, a.avoided_for, a.layers)
    assert (6, 0, 0.0, 1) == (b.calls, b.failures, b.avoided_for, len(b.layers))
    assert 2 == Pipeline(layer).attempts


# ------------------------------------------------------------------ settings, loops


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (routed, ValueError, "needs a deployment"),
        (lambda: routed("eu"), TypeError, "a str is no Deployment"),
        (lambda: routed(Deployment("a"), Deployment("a")), ValueError, "two deployments are named 'a'"),
        (lambda: routed(Deployment("a"), strategy="best"), ValueError, "strategy='best'"),
        (lambda: Deployment(""), ValueError, "name=''"),
        (lambda: Deployment(5), TypeError, "name=5"),
        (lambda: Deployment("a", kwargs=5), TypeError, "kwargs of deployment 'a'"),
        (lambda: Deployment("a", layers=bounded(3)), TypeError, r"must be a list of layers, such as \[bounded\(30\)\]"),
        (lambda: Deployment("a", layers=iter([bounded(3)])), TypeError, "must be a list of layers"),
        (lambda: Deployment("a", layers=[5]), TypeError, "not of type int"),
        (lambda: Deployment("a", layers=[observed(print)]), ValueError, "deployment 'a' would hear nothing.* outside"),
        (lambda: Deployment("a", weight=0), ValueError, "weight=0"),
        (lambda: Deployment("a", function=5), TypeError, "int object is no function"),
    ],
)
def test_bad_settings_are_refused(make, kind, text):
    """With what was given and what is allowed, when it is made."""
    with pytest.raises(kind, match=text):
        make()


def test_an_argument_that_the_function_does_not_take_is_refused():
    """When it is decorated, by the name of the argument and of the deployment; never by its value."""

    async def ask(prompt):
        """Take no key."""

    async def generate(prompt):
        yield prompt

    with pytest.raises(TypeError, match="ask has no parameter `api_key`, which deployment 'eu' gives it") as caught:
        routed(Deployment("eu", {"api_key": SECRET}))(ask)
    assert SECRET not in str(caught.value)
    with pytest.raises(TypeError, match="must both be async generators, or neither"):
        routed(Deployment("eu", function=generate))(ask)


def test_it_serves_one_loop_after_another():
    """Who was avoided in the old one is not avoided until its hour comes round again."""
    fleet = Fleet(a=[DOWN, DOWN, DOWN, "v"], b=["v"])
    ask = fleet.routed("round_robin")

    async def many(pause):
        await sleep(pause)
        for _ in range(6):
            await ask()
        return ask_layer(ask).snapshot()[0].avoided_for

    assert 1.0 == run(many(1000))
    fleet.asked.clear()

    async def later():
        await ask()
        await sleep(2)
        await ask()
        await ask()

    run(later())
    assert "a" in fleet.asked
