"""What a pipeline is made of and what it holds, for people."""

from __future__ import annotations

import asyncio
from dataclasses import FrozenInstanceError

import pytest

from sluiceway import Fifo, PipelineWarning, bounded, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.describe import describe, snapshot
from sluiceway.layer import Layer, Pipeline
from spies import Passing


async def ask():
    await asyncio.sleep(1)


class K:
    @bounded(1)
    async def m(self):
        pass

    @classmethod
    @bounded(1)
    async def c(cls):
        pass


def tenant(call):
    return call.hints.tenant


# ------------------------------------------------------------------ describe


def test_a_description_lists_the_layers_outermost_first_with_every_setting():
    """By name, as given or by default."""
    description = describe(Pipeline(timed("60s"), bounded(30, max_wait=5, by=tenant), name="chat"))
    assert "chat" == description.name
    assert ["timed", "bounded"] == [layer.name for layer in description.layers]
    assert {"limit": "60s", "first_item": None, "idle": None} == dict(description.layers[0].settings)
    assert {"limit": 30, "by": tenant, "max_wait": 5, "max_queue": None, "queue": None, "store": None} == dict(
        description.layers[1].settings
    )


def test_a_description_printed_is_the_pipeline_as_people_read_it():
    """The stack, what is set, how attempts multiply, and what is unwise about it, one line each."""
    with pytest.warns(PipelineWarning):
        pipeline = Pipeline(
            timed("60s"), bounded(30, by=tenant, queue=Fifo()), retry_jitter(attempts=3), Passing(), name="chat"
        )
    lines = str(describe(pipeline)).splitlines()
    assert [
        "chat (outermost first)",
        "  timed(limit='60s')",
        "  bounded(limit=30, by=tenant, queue=Fifo())",
    ] == lines[:3]
    assert lines[3].startswith("  retry_jitter(attempts=3, ")
    assert ["  Passing()", "  at most 3 attempts a call"] == lines[4:6]
    assert lines[6].startswith("  warning: bounded stands outside retry_jitter")
    assert 7 == len(lines)


def test_a_description_of_nothing_says_so():
    """An empty pipeline has no layers and makes one attempt."""
    assert "Pipeline (outermost first)\n  no layers\n  at most 1 attempt a call" == str(describe(Pipeline()))


@pytest.mark.parametrize(
    ("target", "name", "layers"),
    [
        (bounded(1)(ask), "ask", ["bounded"]),
        (Pipeline(timed(5), bounded(1), name="chat")(ask), "chat", ["timed", "bounded"]),
        (K.m, "K.m", ["bounded"]),
        (K().m, "K.m", ["bounded"]),
        (K.c, "K.c", ["bounded"]),
        (K.__dict__["c"], "K.c", ["bounded"]),
        (circuit_breaker(), "circuit_breaker", ["circuit_breaker"]),
    ],
    ids=["function", "named", "method", "bound method", "classmethod", "raw classmethod", "layer"],
)
def test_functions_methods_layers_and_pipelines_are_described_alike(target, name, layers):
    """Whatever has layers, under the name that its calls have."""
    description = describe(target)
    assert (name, layers) == (description.name, [layer.name for layer in description.layers])


def test_a_function_defined_in_another_is_described_by_the_name_of_its_calls():
    """Not `test_x.<locals>.ask`."""

    async def ask():
        pass

    assert "ask" == describe(bounded(1)(ask)).name


def test_a_description_is_frozen():
    """It travels to dashboards; nobody changes it on the way."""
    description = describe(bounded(1))
    with pytest.raises(FrozenInstanceError):
        description.name = "other"
    with pytest.raises(TypeError):
        description.layers[0].settings["limit"] = 5


def test_a_setting_changed_since_is_shown_as_it_is_now():
    """After `resize` the description says the new limit."""
    layer = bounded(10)
    layer.resize(4)
    assert 4 == describe(layer).layers[0].settings["limit"]


@pytest.mark.parametrize("thing", [ask, 5, None, "chat", bounded, K], ids=repr)
def test_what_has_no_layers_is_refused(thing):
    """The error says what has."""
    for asked in (describe, snapshot):
        with pytest.raises(TypeError, match="has no layers: give a pipeline, a layer or a decorated function"):
            asked(thing)


# ------------------------------------------------------------------ snapshot


async def test_a_snapshot_holds_the_state_of_each_layer_by_its_name():
    """Layers without state are left out; a second of one name is told apart."""
    bound = Pipeline(timed(5), bounded(2), bounded(9), rate_limited(rps=10))(ask)
    task = asyncio.create_task(bound())
    await asyncio.sleep(0.5)
    shot = snapshot(bound)
    assert ["bounded", "bounded 2", "rate_limited"] == list(shot)
    assert [(1, 2), (1, 9)] == [(shot[name][0].in_flight, shot[name][0].limit) for name in ("bounded", "bounded 2")]
    await task
    assert 0 == snapshot(bound)["bounded"][0].in_flight
    assert 1 == shot["bounded"][0].in_flight


def test_a_snapshot_of_a_layer_or_a_method_is_the_same():
    """Anything that has layers."""
    layer = bounded(3)
    for target in (layer, layer(ask), Pipeline(layer), layer(K.__dict__["c"])):
        assert 3 == snapshot(target)["bounded"][0].limit


def test_a_layers_own_snapshot_is_shown_whatever_it_is():
    """A layer of one's own shows what it likes; None is nothing."""

    class Own(Layer):
        async def handle(self, call, proceed):
            return await proceed(call)

        def snapshot(self):
            return {"level": 0}

    assert {"Own": {"level": 0}} == snapshot(Pipeline(Own(), Passing()))
