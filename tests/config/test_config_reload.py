"""A file that changes while its pipelines are in use."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections import Counter

import pytest

from config_files import SMALL
from sluiceway import CircuitOpen, ConfigError, Layer, Pipeline, bounded, describe, retry_jitter, timed
from sluiceway.config import load
from sluiceway.testing import openai_error

pytestmark = pytest.mark.virtual_time


def pipelines(*layers, **sections):
    """Return the tables of a file with one pipeline, `chat`."""
    return {"pipelines": {"chat": {"layers": list(layers)}}, **sections}


class Provider:
    """Answers after a while; knows when each call came, and how often one came in beyond the `limit` of the moment."""

    def __init__(self, seconds=1.0, limit=0):
        self.seconds = seconds
        self.limit = limit
        self.inside = self.beyond = 0
        self.arrivals = []

    async def ask(self, number):
        self.arrivals.append(asyncio.get_running_loop().time())
        self.inside += 1
        self.beyond += self.inside > self.limit
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.inside -= 1
        return number


@pytest.mark.parametrize("start", [100, 1_000])
async def test_a_bound_is_halved_and_doubled_under_load_and_no_call_is_lost(start):
    """Whoever is inside stays, whoever waits keeps its place, and nobody enters beyond the limit of the moment."""
    provider = Provider(limit=start)
    config = load(pipelines({"use": "bounded", "limit": start}))
    ask = config.pipelines["chat"](provider.ask)
    order = []

    async def call(number):
        order.append(await ask(number))

    calls = [asyncio.create_task(call(i)) for i in range(10 * start)]
    (layer,) = config.pipelines["chat"].layers
    for limit in (start // 2, 2 * start, start // 4, start):
        await asyncio.sleep(1.7)
        provider.limit = limit
        config.reload(pipelines({"use": "bounded", "limit": limit}))
        assert start < layer.snapshot()[0].waiting
    await asyncio.gather(*calls)
    assert list(range(10 * start)) == order  # nobody was lost, nobody passed another
    assert 0 == provider.beyond
    assert (layer,) == config.pipelines["chat"].layers
    assert 0 == layer.snapshot()[0].in_flight == layer.snapshot()[0].waiting


async def test_a_rate_is_halved_and_doubled_under_a_thousand_calls_and_never_exceeded():
    """The bucket's level goes on: between two changes no more leave than the rate of that time and one burst allow."""
    limit = {"use": "rate_limited", "rpm": 6_000, "burst": "0.5s"}
    config = load(pipelines({"ref": "limits.openai"}, limits={"openai": limit}))
    provider = Provider(seconds=5.0)
    ask = config.pipelines["chat"](provider.ask)
    calls = [asyncio.create_task(ask(i)) for i in range(1_000)]
    changes = [(0.0, 6_000)]
    for rpm in (3_000, 6_000, 12_000, 6_000):
        await asyncio.sleep(1.0)
        config.reload(pipelines({"ref": "limits.openai"}, limits={"openai": limit | {"rpm": rpm}}))
        changes.append((asyncio.get_running_loop().time(), rpm))
    began = asyncio.get_running_loop().time() - 4.0
    assert list(range(1_000)) == await asyncio.gather(*calls)
    ends = [at for at, _ in changes[1:]] + [began + 1e9]
    for (start, rpm), end in zip(changes, ends, strict=True):
        came = [at for at in provider.arrivals if start <= at < end]
        if len(came) > 1:
            rate = rpm / 60
            first = rate * 0.5 if start == 0.0 else 1  # only the first burst finds a full bucket
            assert len(came) <= first + rate * (came[-1] - max(start, began)) + 2


async def test_no_state_is_reset_when_only_numbers_change():
    """An empty bucket stays empty, a circuit open, a budget spent, and a latency known."""
    layers = [
        {"use": "budgeted", "tokens": 100_000},
        {"use": "hedged", "after": "p95"},
        {"use": "rate_limited", "rpm": 60, "burst": "10s", "in_flight": 5},
        {"use": "circuit_breaker", "min_calls": 2, "open_for": "100s"},
    ]
    config = load(pipelines(*layers))
    budgeted, hedged, rate, breaker = config.pipelines["chat"].layers

    async def fail(prompt):
        raise openai_error(500)

    ask = config.pipelines["chat"](fail)
    for _ in range(3):
        with pytest.raises(Exception):  # noqa: B017, PT011 - a provider's error, then the circuit's
            await ask("a prompt of some tokens")
    spent = budgeted.snapshot()[0].spent
    level = rate.snapshot()[0].available["rpm"]
    changed = [
        layers[0] | {"tokens": 200_000},
        layers[1] | {"max": 2},
        layers[2] | {"rpm": 120, "in_flight": 9},
        layers[3] | {"open_for": "50s", "window": "30s", "min_calls": 3},
    ]
    assert ("chat",) == config.reload(pipelines(*changed))
    assert (budgeted, hedged, rate, breaker) == config.pipelines["chat"].layers
    assert spent == budgeted.snapshot()[0].spent
    assert 200_000 == budgeted.snapshot()[0].limit["tokens"]
    assert level == pytest.approx(rate.snapshot()[0].available["rpm"])
    assert 120 == rate.snapshot()[0].limit["rpm"]
    assert "open" == breaker.state
    assert 2 == breaker.snapshot()[0].failures
    with pytest.raises(CircuitOpen):
        await ask("again")
    assert {"open_for": "50s", "window": "30s"}.items() <= describe(ask).layers[3].settings.items()


@pytest.mark.parametrize("algorithm", ["token_bucket", "gcra", "sliding_window"])
async def test_a_level_outlives_a_change_of_the_limit_for_every_algorithm(algorithm):
    """What was taken stays taken: a limit that is doubled gives nothing for the past."""
    table = {"use": "rate_limited", "requests": 100, "window": "10s", "burst": "10s", "algorithm": algorithm}
    config = load(pipelines(table))
    provider = Provider(seconds=0.0)
    ask = config.pipelines["chat"](provider.ask)
    await asyncio.gather(*(ask(i) for i in range(40)))
    (layer,) = config.pipelines["chat"].layers
    before = layer.snapshot()[0].available["requests"]
    config.reload(pipelines(table | {"requests": 200}))
    after = layer.snapshot()[0].available["requests"]
    assert before + (100 if algorithm == "sliding_window" else 0) == pytest.approx(after)  # a log counts what it saw
    config.reload(pipelines(table | {"requests": 50}))
    assert layer.snapshot()[0].available["requests"] <= 50


async def test_waiters_are_served_at_the_new_rate_at_once():
    """Whoever waits for a slow limit does not sit out the old one."""
    config = load(pipelines({"use": "rate_limited", "rpm": 1}))
    ask = config.pipelines["chat"](Provider(seconds=0.0).ask)
    await ask(0)
    waiting = [asyncio.create_task(ask(i)) for i in range(1, 5)]
    await asyncio.sleep(1.0)
    config.reload(pipelines({"use": "rate_limited", "rpm": 6_000}))
    before = asyncio.get_running_loop().time()
    assert [1, 2, 3, 4] == await asyncio.gather(*waiting)
    assert asyncio.get_running_loop().time() - before < 1.0


async def test_calls_in_flight_finish_with_the_layers_that_they_began_with():
    """A retry that is under way is made as often as it was to be; the next call has the new number."""
    tries = Counter()

    async def fail(name):
        tries[name] += 1
        await asyncio.sleep(1.0)
        raise openai_error(500)

    config = load(pipelines({"use": "retry_jitter", "attempts": 3, "budget": False}))
    ask = config.pipelines["chat"](fail)
    old = asyncio.create_task(ask("old"))
    await asyncio.sleep(0.5)
    config.reload(pipelines({"use": "retry_jitter", "attempts": 1}))
    for task in (old, asyncio.create_task(ask("new"))):
        with pytest.raises(Exception, match="500"):
            await task
    assert {"old": 3, "new": 1} == tries


async def test_a_stream_is_read_to_its_end_under_the_layers_that_it_was_opened_with():
    """Its permit goes back to the bound that gave it."""
    config = load(pipelines({"use": "bounded", "limit": 1}))

    async def count():
        for i in range(3):
            yield i

    stream = config.pipelines["chat"](count)()
    assert 0 == await anext(stream)
    (before,) = config.pipelines["chat"].layers
    config.reload(pipelines({"use": "bounded", "limit": 1, "by": "model"}))
    assert 1 == before.snapshot()[0].in_flight
    assert [1, 2] == [item async for item in stream]
    assert 0 == before.snapshot()[0].in_flight


async def test_a_file_that_is_wrong_changes_nothing():
    """Also where the problem stands behind changes that are right."""
    config = load(text=SMALL, format="toml")
    said = describe(config.pipelines["chat"])
    layers = config.pipelines["chat"].layers
    with pytest.raises(ConfigError, match="did you mean 'bounded'"):
        config.reload(text=SMALL.replace("rpm = 600", "rpm = 1").replace('"bounded"', '"bonded"'), format="toml")
    assert said == describe(config.pipelines["chat"])
    assert layers == config.pipelines["chat"].layers


async def test_what_changed_is_told_by_name():
    """Pipelines that name a shared limit change with it; those that are new or gone count, too."""
    two = SMALL + '\n[pipelines.other]\nlayers = [{ use = "bounded", limit = 3 }]\n'
    config = load(text=two, format="toml")
    assert () == config.reload(text=two, format="toml")
    assert ("chat",) == config.reload(text=two.replace("600", "700"), format="toml")
    old = config.pipelines["other"]
    assert ("chat", "other") == tuple(sorted(config.reload(text=SMALL, format="toml")))
    assert ["chat"] == list(config.pipelines)
    assert 3 == old.layers[0].limit  # for who holds on to it
    assert ("other",) == config.reload(text=two.replace("600", "600"), format="toml")


async def test_a_pipeline_that_comes_back_is_the_same_object_with_the_same_state():
    """Also the limits that it shares: who held on to it would be beside it otherwise, and both would fill the limit."""
    two = SMALL + '\n[pipelines.other]\nlayers = [{ use = "bounded", limit = 3 }]\n'
    other = '[pipelines.other]\nlayers = [{ use = "bounded", limit = 3 }]\n'
    config = load(text=two, format="toml")
    chat = config.pipelines["chat"]
    layers = chat.layers
    config.reload(text=other, format="toml")
    config.reload(text=other.replace("3", "4"), format="toml")
    assert ["other"] == list(config.pipelines)
    assert ("chat",) == config.reload(text=two.replace("limit = 3 ", "limit = 4 "), format="toml")
    assert chat is config.pipelines["chat"]
    assert layers == chat.layers


async def test_a_pipeline_with_functions_cannot_go():
    """It would be half a file; without them it may."""
    two = SMALL + '\n[pipelines.other]\nlayers = [{ use = "bounded", limit = 3 }]\n'
    config = load(text=two, format="toml")
    ask = config.pipelines["other"](Provider().ask)
    with pytest.raises(ConfigError, match=r"pipelines\.other: it is in use and not in the file"):
        config.reload(text=SMALL.replace("600", "700"), format="toml")
    assert 600 == config.limits["openai"].settings()["rpm"]
    assert ["chat", "other"] == list(config.pipelines)
    assert ask is not None


async def test_a_layer_is_another_object_when_more_than_numbers_changed():
    """Another key or order of the queue begins anew; the rest of the pipeline stays as it is."""
    config = load(pipelines({"use": "bounded", "limit": 3}, {"use": "circuit_breaker"}))
    bound, breaker = config.pipelines["chat"].layers
    config.reload(pipelines({"use": "bounded", "limit": 3, "queue": {"use": "priority"}}, {"use": "circuit_breaker"}))
    assert bound is not config.pipelines["chat"].layers[0]
    assert breaker is config.pipelines["chat"].layers[1]


async def test_layers_are_recognized_by_name_and_id_when_their_places_change():
    """A layer that moves, or gets a neighbour, stays the same object."""
    config = load(pipelines({"use": "bounded", "limit": 3}, {"use": "timed", "id": "attempt", "limit": 5}))
    bound, attempt = config.pipelines["chat"].layers
    same = {"use": "bounded", "limit": 3}, {"use": "timed", "id": "attempt", "limit": 5}
    config.reload(pipelines({"use": "timed", "limit": 9}, *same))
    assert (bound, attempt) == config.pipelines["chat"].layers[1:]


async def test_a_deployment_s_limit_keeps_its_state():
    """Layers inside of a routed one are retuned as others are, and what is known of deployments stays."""

    def file(rpm):
        layers = [{"use": "rate_limited", "rpm": rpm}]
        return pipelines({"use": "routed", "deployments": [{"name": "eu", "layers": layers}, {"name": "us"}]})

    config = load(file(60))
    ask = config.pipelines["chat"](Provider(seconds=1.0).ask)
    await asyncio.gather(*(ask(i) for i in range(4)))
    (routed,) = config.pipelines["chat"].layers
    calls = [shot.calls for shot in routed.snapshot()]
    config.reload(file(120))
    (after,) = config.pipelines["chat"].layers
    assert routed.deployments[0].layers[0] is after.deployments[0].layers[0]
    assert calls == [shot.calls for shot in after.snapshot()]
    assert 120 == after.deployments[0].layers[0].snapshot()[0].limit["rpm"]


def spread(*names, before=()):
    """Return a file with a `routed` over deployments of these names, each with a limit of its own."""
    deployments = [{"name": name, "layers": [{"use": "rate_limited", "rpm": 60}]} for name in names]
    return pipelines(*before, {"use": "routed", "deployments": deployments})


@pytest.mark.parametrize(
    "after",
    [spread("asia", "eu", "us"), spread("us", "eu"), spread("eu", "us", before=[{"use": "timed", "limit": 60}])],
    ids=["one more in front", "in another order", "a layer in front"],
)
async def test_a_deployment_keeps_its_own_limit_wherever_it_stands(after):
    """By its name: by its place it got its neighbour's bucket, or a full one, and went beyond its limit."""
    config = load(spread("eu", "us"))
    before = {each.name: each.layers[0] for each in config.pipelines["chat"].layers[-1].deployments}
    config.reload(after)
    now = {each.name: each.layers[0] for each in config.pipelines["chat"].layers[-1].deployments}
    assert before == {name: now[name] for name in before}


async def test_a_shared_limit_of_a_deployment_has_one_name_wherever_it_stands():
    """Workers that read the file before and after a change would fill the limit twice otherwise."""
    store = {"use": "redis", "url": "redis://localhost"}
    limits = [{"use": "bounded", "limit": 3, "store": store}, {"use": "rate_limited", "rpm": 60, "store": store}]

    def prefixes(*names):
        deployments = [{"name": name, "layers": limits} for name in names]
        file = pipelines({"use": "routed", "deployments": deployments})
        (routed,) = load(file).pipelines["chat"].layers
        return {each.name: [layer.settings()["store"].prefix for layer in each.layers] for each in routed.deployments}

    before, after = prefixes("eu", "us"), prefixes("asia", "us", "eu")
    assert before == {name: after[name] for name in before}
    assert 6 == len({prefix for each in after.values() for prefix in each})


# ------------------------------------------------------------------ the handle


async def test_whatever_was_made_of_a_handle_goes_on_with_the_new_layers():
    """Decorators above and below, pipelines around it, methods and wrapped functions read it when a call starts."""
    config = load(pipelines({"use": "retry_jitter", "attempts": 1}))
    chat = config.pipelines["chat"]

    async def raw():
        pass

    class Client:
        @chat
        async def ask(self):
            pass

    above = timed("9s")(chat(raw))
    below = chat(timed("9s")(raw))
    around = Pipeline(timed("9s"), chat, name="around")
    deeper = Pipeline(around, bounded(3))
    bound = around(raw)
    config.reload(pipelines({"use": "retry_jitter", "attempts": 4}, {"use": "bounded", "limit": 2}))
    names = ["retry_jitter", "bounded"]
    assert ["timed", *names] == [layer.name for layer in describe(above).layers]
    assert [*names, "timed"] == [layer.name for layer in describe(below).layers]
    assert names == [layer.name for layer in describe(Client.ask).layers]
    for each in (around, bound):
        assert ["timed", *names] == [layer.name for layer in describe(each).layers]
        assert 4 == describe(each).amplification
    assert ["timed", *names, "bounded"] == [layer.name for layer in describe(deeper).layers]
    await asyncio.gather(above(), below(), Client().ask(), bound(), chat.call(raw), around.call(raw))


@pytest.mark.parametrize("made", ["of two pipelines", "with the limit itself"])
async def test_a_limit_cannot_come_to_stand_twice_in_what_was_made_of_a_handle(made):
    """A call would wait for the place that it holds itself: each did, for ever, from the reload on."""
    file = {
        "limits": {"one": {"use": "bounded", "limit": 1}},
        "pipelines": {
            "chat": {"layers": [{"use": "bounded", "id": "own", "limit": 3}]},
            "other": {"layers": [{"ref": "limits.one"}]},
        },
    }
    config = load(file)
    beside = config.pipelines["other"] if made == "of two pipelines" else config.limits["one"]
    ask = config.pipelines["chat"](beside(Provider().ask))
    file["pipelines"]["chat"]["layers"] = [{"use": "bounded", "id": "own", "limit": 4}, {"ref": "limits.one"}]
    with pytest.raises(ConfigError, match=r"pipelines\.chat: with what .* in code, the same bounded object"):
        config.reload(file)
    assert [3, 1] == [layer.settings["limit"] for layer in describe(ask).layers]
    assert 1 == await ask(1)


async def test_the_layers_around_a_handle_hear_of_its_new_layers():
    """Those that repeat share one budget again, also across the exchange."""
    config = load(pipelines({"use": "retry_jitter", "attempts": 2}))

    @config.pipelines["chat"]
    @retry_jitter(2)
    async def ask():
        pass

    config.reload(pipelines({"use": "retry_jitter", "attempts": 3}))
    outer, inner = ask._self_chain.layers
    assert outer.budget is inner.budget


async def test_a_session_that_is_attached_to_a_handle_counts_on():
    """Though the outermost layer, by which it is known, is another object now."""
    from sluiceway import Session

    config = load(pipelines({"use": "timed", "limit": 5}))
    ask = config.pipelines["chat"](Provider(seconds=0.0).ask)
    async with Session() as session, Session():
        session.attach(config.pipelines["chat"])
        await asyncio.create_task(ask(1))
        config.reload(pipelines({"use": "timed", "limit": 6}))
        await asyncio.create_task(ask(2))
        assert 2 == session.stats.calls


async def test_a_session_hears_on_when_another_one_s_pipeline_comes_to_begin_with_the_same_limit():
    """The other session took its place, and it counted no call any more."""
    from sluiceway import Session

    file = {
        "limits": {"places": {"use": "bounded", "limit": 3}},
        "pipelines": {
            "chat": {"layers": [{"use": "timed", "limit": 5}]},
            "other": {"layers": [{"ref": "limits.places"}]},
        },
    }
    config = load(file)
    ask = config.pipelines["other"](Provider(seconds=0.0).ask)
    async with Session() as one, Session() as other:
        one.attach(config.pipelines["chat"])
        other.attach(config.pipelines["other"])
        file["pipelines"]["chat"]["layers"] = [{"ref": "limits.places"}]
        config.reload(file)
        await asyncio.create_task(ask(1), context=contextvars.Context())
        assert 1 == other.stats.calls


async def test_what_a_file_made_before_is_kept_no_longer_than_it_is_used():
    """Each reload held on to the one before it, and by that to all that were ever read: 9 kB each."""
    config = load(pipelines({"use": "bounded", "limit": 3, "by": "tenant"}))
    config.reload(pipelines({"use": "bounded", "limit": 3, "by": "model"}))
    before = [weakref.ref(config.pipelines["chat"].layers[0]), weakref.ref(config._now.maker)]
    config.reload(pipelines({"use": "bounded", "limit": 3, "by": "priority"}))
    gc.collect()
    assert [None, None] == [each() for each in before]


async def test_a_layer_of_somebody_else_s_decides_what_it_keeps():
    """By its method `renewed`; without one it begins anew."""
    from sluiceway.config import Registry

    class counting(Layer):
        def __init__(self, step=1):
            self.step, self.count = step, 0

        async def handle(self, call, proceed):
            self.count += self.step
            return await proceed(call)

        def renewed(self, fresh):
            fresh.count = self.count
            return fresh

    config = load(pipelines({"use": "counting"}), registry=Registry({"counting": counting}))
    ask = config.pipelines["chat"](Provider(seconds=0.0).ask)
    await ask(1)
    config.reload(pipelines({"use": "counting", "step": 10}))
    await ask(2)
    assert 11 == config.pipelines["chat"].layers[0].count


class difficult(Layer):
    """A layer of somebody else's, which fails where it is told to."""

    def __init__(self, fails=""):
        self.fails = fails

    def stand_among(self, layers):
        if self.fails == "stand_among":
            raise RuntimeError("not here")

    def renewed(self, fresh):
        raise RuntimeError("cannot")

    async def handle(self, call, proceed):
        return await proceed(call)


async def test_a_layer_of_somebody_else_s_cannot_leave_half_a_reload():
    """One that cannot stand there is found before anything is exchanged; one that cannot go on begins anew."""
    from sluiceway.config import Registry

    def file(limit, fails):
        return pipelines({"use": "bounded", "limit": limit}, {"use": "difficult", "fails": fails})

    config = load(file(3, ""), registry=Registry({"difficult": difficult}))
    bound, before = config.pipelines["chat"].layers
    with pytest.raises(ConfigError, match="cannot be put together: RuntimeError: not here"):
        config.reload(file(4, "stand_among"))
    assert (3, before) == (bound.limit, config.pipelines["chat"].layers[1])
    config.reload(file(5, "later"))
    assert (5, "later") == (bound.limit, config.pipelines["chat"].layers[1].fails)
    assert any("begins anew: its renewed() failed with RuntimeError: cannot" in each for each in config.warnings)


async def test_a_pipeline_that_is_not_there_is_told_with_those_that_are():
    """A `KeyError`, as of any mapping."""
    with pytest.raises(KeyError, match="no pipeline is called 'chta': did you mean 'chat'"):
        _ = load(text=SMALL, format="toml").pipelines["chta"]
