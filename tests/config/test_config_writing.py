"""A pipeline written back: a file that loads to the same one."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config_files import DATA
from sluiceway import (
    ConfigError,
    Deployment,
    Layer,
    Pipeline,
    Session,
    bounded,
    cached,
    chaos,
    circuit_breaker,
    describe,
    fallback,
    rate_limited,
    retry_jitter,
    routed,
    shed,
    timed,
)
from sluiceway.config import Registry, load

FORMS = ["toml", "yaml", "json"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", list(DATA["pipelines"]))
def test_what_was_loaded_is_written_and_loads_to_the_same(form, name):
    """Each pipeline of the file with everything in it, by each format."""
    handle = load(DATA).pipelines[name]
    text = describe(handle).to_config(form)
    again = load(text=text, format=form).pipelines[name]
    assert describe(handle) == describe(again)
    assert text == describe(again).to_config(form)


def test_equal_queues_are_written_in_their_own_words():
    """What another file says of an equal queue, in other words, is not what this one said."""
    made = []
    for aging in ("10s", 10.0, "10000ms"):
        layer = {"use": "bounded", "limit": 1, "queue": {"use": "priority", "aging": aging}}
        made.append((aging, load({"pipelines": {"p": {"layers": [layer]}}}).pipelines["p"]))
    for aging, handle in made:
        (layer,) = json.loads(describe(handle).to_config("json"))["pipelines"]["p"]["layers"]
        assert aging == layer["queue"]["aging"]


DELTAS = st.timedeltas(timedelta(1), timedelta(9))
DURATIONS = st.one_of(st.floats(0.1, 1e6), st.integers(1, 10_000), st.sampled_from(["250ms", "1h30m"]), DELTAS)
RATES = st.one_of(st.integers(1, 10**9), st.floats(0.5, 1e12))
JITTER = st.sampled_from(["full", "none"])
OPTIONAL = st.one_of(st.none(), DURATIONS)
LAYERS = st.one_of(
    st.builds(timed, OPTIONAL, first_item=OPTIONAL),
    st.builds(bounded, st.integers(1, 99), max_wait=OPTIONAL, max_queue=st.one_of(st.none(), st.integers(0, 9))),
    st.builds(rate_limited, rpm=RATES, burst=st.one_of(DURATIONS, st.just("learn"))),
    st.builds(retry_jitter, st.integers(1, 9), jitter=JITTER, budget=st.sampled_from([None, False])),
    st.builds(circuit_breaker, failure_ratio=st.floats(0.01, 1), slow_call=OPTIONAL),
    st.builds(chaos, errors=st.just({429: 0.1, ValueError: 0.2}), headers=st.dictionaries(st.text(), st.text())),
    st.builds(cached, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::sluiceway.PipelineWarning")
@pytest.mark.parametrize("form", FORMS)
@given(layers=st.lists(LAYERS, max_size=4))
@settings(max_examples=25, deadline=timedelta(seconds=5))
def test_any_settings_survive_the_way_there_and_back(form, layers):
    """Whatever numbers, durations and texts there are."""
    pipeline = Pipeline(*layers, name="chat")
    text = describe(pipeline).to_config(form)
    again = describe(load(text=text, format=form, environ={}).pipelines["chat"])
    assert text == again.to_config(form)
    assert said(describe(pipeline)) == said(again)


def said(description):
    """Return what a description says, a timedelta in the seconds that it comes back as."""
    plain = {timedelta: timedelta.total_seconds}
    return [
        (layer.name, {name: plain.get(type(value), lambda v: v)(value) for name, value in layer.settings.items()})
        for layer in description.layers
    ]


def test_what_is_by_default_is_left_out():
    """A file says what somebody decided."""
    text = describe(Pipeline(timed("60s"), bounded(3, max_wait=None), name="chat")).to_config()
    lines = ["version = 1", "", "[pipelines.chat]", "layers = [", '  { use = "timed", limit = "60s" },']
    assert "\n".join([*lines, '  { use = "bounded", limit = 3 },', "]", ""]) == text


def test_a_decorated_function_and_a_layer_are_written_too():
    """Under a name that a pipeline may have."""

    @timed("3s")
    async def ask(): ...

    assert ["ask"] == list(load(text=describe(ask).to_config("json"), format="json").pipelines)
    assert ["bounded"] == list(load(text=describe(bounded(3)).to_config("json"), format="json").pipelines)


async def answer(prompt): ...


class Nowhere:
    """A store of answers that keeps none."""

    def get(self, key): ...

    def put(self, key, entry): ...


NOWHERE = Nowhere()
NAMED = Registry({"answer": answer, "nowhere": NOWHERE})


@pytest.mark.parametrize("form", FORMS)
def test_a_function_where_a_text_is_something_else_comes_back_as_the_function(form):
    """It came back as a model of its name, and a store as a file of its name."""
    pipeline = Pipeline(cached(NOWHERE), fallback("gpt-4o", answer), name="chat")
    text = describe(pipeline).to_config(form, registry=NAMED)
    again = load(text=text, format=form, registry=NAMED).pipelines["chat"]
    assert describe(pipeline) == describe(again)


@pytest.mark.parametrize(
    ("layer", "path"),
    [
        (lambda: shed(max_queue=5, target=None), r"layers\[0\]\.target"),
        (lambda: routed(Deployment("eu", kwargs={"stop": ["a", None]})), r"deployments\[0\]\.kwargs\.stop\[1\]"),
        (lambda: routed(Deployment("eu", kwargs={"stop": None})), r"deployments\[0\]\.kwargs\.stop"),
    ],
)
def test_none_that_is_no_default_is_written_where_that_can_be_said(layer, path):
    """TOML cannot: it came back as the default, or made a file that is none."""
    pipeline = Pipeline(layer(), name="chat")
    for form in ("json", "yaml"):
        again = load(text=describe(pipeline).to_config(form), format=form).pipelines["chat"]
        assert describe(pipeline) == describe(again)
    with pytest.raises(ConfigError, match=rf"{path}: null cannot be written in TOML"):
        describe(pipeline).to_config("toml")


class foreign(Layer):
    """A layer that nobody registered."""

    async def handle(self, call, proceed):
        return await proceed(call)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: bounded(3, by=lambda call: 1), r"layers\[0\]\.by: .*<lambda> cannot be written; give registry="),
        (lambda: retry_jitter(rng=random.Random(3)), r"layers\[0\]\.rng: a Random cannot be written; leave it out"),
        (
            lambda: routed(Deployment("eu", kwargs={"api_key": "sk-1"})),
            r"'api_key' may be a secret: give it as",
        ),
        (lambda: routed(Deployment("eu", kwargs={"client": Session()})), r"client: a Session cannot be written"),
        (
            lambda: routed(Deployment("eu", kwargs={"extra_headers": {"Authorization": "Bearer sk-1"}})),
            r"kwargs\.extra_headers\.Authorization: 'Authorization' may be a secret: give it as",
        ),
        (
            lambda: routed(Deployment("eu", kwargs={"on_token": answer})),
            r"kwargs\.on_token: answer cannot be written: a text in this place is no name",
        ),
        (foreign, r"layers\[0\]: foreign is a layer without a name"),
    ],
)
def test_what_cannot_be_written_is_told_by_its_place(layer, expected):
    """And no secret is written, nor shown."""
    with pytest.raises(ConfigError, match=expected) as raised:
        describe(Pipeline(layer())).to_config(registry=NAMED)
    assert "sk-1" not in str(raised.value)


def test_an_unknown_format_is_refused():
    """There are three."""
    with pytest.raises(ValueError, match="format='ini' must be one of"):
        describe(Pipeline()).to_config("ini")
