"""What a file comes to: the same pipelines as in code, in every format."""

from __future__ import annotations

import asyncio
import json
import warnings
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config_files import DATA, SMALL, TEXTS
from sluiceway import (
    Deployment,
    Fair,
    MissingExtra,
    Pipeline,
    PipelineWarning,
    Priority,
    RetryBudget,
    Session,
    adaptive_bound,
    adaptive_rate,
    bounded,
    budgeted,
    cached,
    chaos,
    circuit_breaker,
    coalesced,
    describe,
    fallback,
    hedged,
    observed,
    rate_limited,
    retry_jitter,
    routed,
    shed,
    timed,
)
from sluiceway import testing as sluiceway_testing
from sluiceway.backends.memory import MemoryStore
from sluiceway.config import Registry, load
from sluiceway.config.registry import model
from sluiceway.queues.fair import tenant


def in_code():
    """Return the pipelines of the file, by name, built in code."""
    queue = Priority(aging="10s", within=Fair(tenant, weights={"acme": 3}))

    def chat(limit, *, nightly):
        last = (timed(first_item="30s", idle=30),)
        faults = () if nightly else (chaos(errors={429: 0.1}, slow=0.1, slow_by=(1, 2), cut_after=(1, 3)),)
        return Pipeline(
            observed(detail="compact"),
            cached("answers.db", ttl="7d"),
            fallback("gpt-4o-mini", "gpt-4o"),
            timed("60s"),
            budgeted(usd=5, per=("tenant", "day"), unknown="ignore"),
            retry_jitter(5, cap="30s", on=(TimeoutError, ConnectionError)),
            *(() if nightly else (hedged("p95", budget=RetryBudget(3, 0.2)),)),
            shed(max_wait="20s"),
            bounded(40, by=model),
            bounded(limit),
            rate_limited(rpm=500, tpm=200_000, queue=queue),
            circuit_breaker(failure_ratio=0.5, window="2m"),
            *last,
            *faults,
            name="nightly" if nightly else "chat",
        )

    spread = Pipeline(
        coalesced(streams=True),
        routed(
            Deployment("eu", kwargs={"model": "gpt-4o"}, layers=[rate_limited(rpm=60)]),
            Deployment("us", weight=2, layers=[adaptive_bound(4, max=9)]),
            strategy="weight",
        ),
        adaptive_rate(5, law="aimd"),
        name="spread",
    )
    return {"chat": chat(30, nightly=False), "nightly": chat(100, nightly=True), "spread": spread}


@pytest.mark.parametrize("form", ["toml", "yaml", "json", "mapping"])
def test_the_same_pipeline_from_code_and_from_a_file_has_the_same_description(form):
    """Every layer of the package, in each format."""
    config = load(DATA) if form == "mapping" else load(text=TEXTS[form], format=form)
    for name, pipeline in in_code().items():
        assert describe(pipeline) == describe(config.pipelines[name])
        assert describe(pipeline).amplification == describe(config.pipelines[name]).amplification


def test_every_layer_of_the_package_stands_in_that_file():
    """A new layer is to be shown there, in code and in the file."""
    from sluiceway import layers

    used = {layer["use"] for table in DATA["pipelines"].values() for layer in table.get("layers", ()) if "use" in layer}
    used |= {layer["use"] for layer in DATA["limits"].values()}
    used |= {
        each["use"]
        for each in (
            table for one in DATA["pipelines"]["spread"]["layers"][1]["deployments"] for table in one["layers"]
        )
    }
    assert set(layers.__all__) == used


TRACE = st.lists(
    st.tuples(st.floats(0, 3), st.floats(0, 2), st.sampled_from([None, 429, 500, 400])), min_size=1, max_size=12
)


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
@given(trace=TRACE)
@settings(max_examples=25, deadline=timedelta(seconds=5))
def test_the_same_pipeline_behaves_the_same_on_the_same_trace(form, trace):
    """Calls come, last and fail alike: each ends at the same time in the same way, wherever the pipeline is from."""
    said = {
        "pipelines": {
            "chat": {
                "layers": [
                    {"use": "timed", "limit": "4s"},
                    {"use": "retry_jitter", "attempts": 3, "rng": 7},
                    {"use": "bounded", "limit": 2, "max_wait": "3s"},
                    {"use": "rate_limited", "rpm": 90, "burst": "2s"},
                    {"use": "circuit_breaker", "min_calls": 3, "open_for": "2s", "rng": 7},
                ]
            }
        }
    }
    text = written(said, form)
    import random

    code = Pipeline(
        timed("4s"),
        retry_jitter(3, rng=random.Random(7)),
        bounded(2, max_wait="3s"),
        rate_limited(rpm=90, burst="2s"),
        circuit_breaker(min_calls=3, open_for="2s", rng=random.Random(7)),
        name="chat",
    )
    assert played(code, trace) == played(load(text=text, format=form).pipelines["chat"], trace)


def written(said, form):
    """Return *said* in a format; TOML by way of a pipeline written back, since nothing writes TOML."""
    import yaml

    if form == "yaml":
        return yaml.safe_dump(said)
    if form == "json":
        return json.dumps(said)
    lines = [
        f"{{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in layer.items())} }}"
        for layer in said["pipelines"]["chat"]["layers"]
    ]
    return f"[pipelines.chat]\nlayers = [\n  {', '.join(lines)}\n]\n"


def played(pipeline, trace):
    """Return when and how each call of *trace* ended: (when it comes, how long it takes, what it fails with)."""

    async def main():
        async def ask(length, status):
            await asyncio.sleep(length)
            if status is not None:
                raise sluiceway_testing.openai_error(status)

        bound = pipeline(ask)
        loop = asyncio.get_running_loop()

        async def one(at, length, status):
            await asyncio.sleep(at)
            try:
                await bound(length, status)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
                return loop.time(), type(error).__name__
            return loop.time(), "ok"

        return await asyncio.gather(*(one(*each) for each in trace))

    return sluiceway_testing.run(main())


def test_a_file_is_read_by_its_path_and_ending(tmp_path):
    """TOML, YAML by two endings, and JSON; format= says it where the name does not."""
    for name, form in [("a.toml", "toml"), ("a.yaml", "yaml"), ("a.yml", "yaml"), ("a.json", "json")]:
        (tmp_path / name).write_text(TEXTS[form], encoding="utf-8")
        assert ["chat", "nightly", "spread"] == list(load(tmp_path / name).pipelines)
        assert load(str(tmp_path / name)).source == str(tmp_path / name)
    (tmp_path / "pipelines.conf").write_text(SMALL)
    assert ["chat"] == list(load(tmp_path / "pipelines.conf", format="toml").pipelines)


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((), {}, "give either the path of a file, or a mapping, or text="),
        (({},), {"text": "", "format": "toml"}, "give either"),
        ((), {"text": ""}, "text= needs its format="),
        ((), {"text": b"", "format": "toml"}, "must be a str"),
        ((), {"text": "", "format": "ini"}, "format='ini' must be one of"),
    ],
)
def test_arguments_that_do_not_fit_together_are_errors_of_the_program(args, kwargs, error):
    """And no `ConfigError`: the file is not to blame."""
    with pytest.raises((TypeError, ValueError), match=error):
        load(*args, **kwargs)


def test_a_shared_limit_is_one_object_and_a_layer_of_its_own_is_not():
    """By name two pipelines share it; what `extends` takes over it makes anew, but for what is shared."""
    config = load(DATA)
    chat, nightly = config.pipelines["chat"].layers, config.pipelines["nightly"].layers
    assert config.limits["openai"] in chat
    assert config.limits["openai"] in nightly
    assert {"rate_limited", "bounded"} == {layer.name for layer in set(chat) & set(nightly)}
    assert load(DATA).limits["openai"] is not config.limits["openai"]


def test_the_session_s_settings_make_sessions():
    """As many as are asked for, with arguments that win."""
    config = load(DATA)
    session = config.session()
    assert isinstance(session, Session)
    assert "nightly" == session.name
    assert "other" == config.session(name="other").name
    assert config.session() is not session


def test_the_order_is_checked_as_in_code():
    """A `PipelineWarning` that names the pipeline, where `load` was called."""
    file = {"pipelines": {"chat": {"layers": [{"use": "bounded", "limit": 3}, {"use": "retry_jitter"}]}}}
    with pytest.warns(PipelineWarning, match=r"pipelines\.chat: bounded stands outside retry_jitter") as caught:
        config = load(file)
    assert __file__ == caught[0].filename
    assert 1 == len(config.warnings)


def test_a_limit_that_nobody_names_is_told():
    """It may be a mistake: its pipeline would have no limit."""
    with pytest.warns(PipelineWarning, match=r"limits\.spare is used by no pipeline"):
        load({"limits": {"spare": {"use": "bounded", "limit": 3}}, "pipelines": {"chat": {"layers": []}}})


def test_what_a_mapping_says_may_be_python_s_own():
    """Durations and functions as in code; the mapping itself is not kept."""
    data = {
        "pipelines": {
            "chat": {
                "layers": [
                    {"use": "timed", "limit": timedelta(seconds=5)},
                    {"use": "bounded", "limit": 2, "by": tenant},
                ]
            }
        }
    }
    config = load(data)
    data["pipelines"].clear()
    assert describe(Pipeline(timed(timedelta(seconds=5)), bounded(2, by=tenant), name="chat")) == describe(
        config.pipelines["chat"]
    )


def test_yaml_s_words_for_true_are_words():
    """`on` is a setting, and no is a country."""
    text = (
        "pipelines:\n  no:\n    layers:\n      - use: retry_jitter\n        on: [TimeoutError]\n        budget: false\n"
    )
    config = load(text=text, format="yaml")
    assert describe(Pipeline(retry_jitter(on=(TimeoutError,), budget=False), name="no")) == describe(
        config.pipelines["no"]
    )


def test_replace_takes_a_whole_layer_or_leaves_one_out():
    """With `use` or `ref` another stands there; with false, none."""
    file = {
        "limits": {"l": {"use": "rate_limited", "rpm": 5}},
        "pipelines": {
            "chat": {"layers": [{"use": "timed", "limit": 5}, {"use": "bounded", "limit": 3, "id": "places"}]},
            "a": {"extends": "chat", "replace": {"places": {"ref": "limits.l"}, "timed": False}},
            "b": {"extends": "a", "replace": {"l": {"use": "circuit_breaker"}}},
            "c": {"extends": "chat", "replace": {"places": {"use": "adaptive_bound", "initial": 4}}},
            "d": {"extends": "c", "replace": {"places": {"max": 9}}},
        },
    }
    config = load(file)
    names = {name: [layer.name for layer in handle.layers] for name, handle in config.pipelines.items()}
    assert ["rate_limited"] == names["a"]
    assert ["circuit_breaker"] == names["b"]
    assert ["timed", "adaptive_bound"] == names["c"]
    assert 9 == config.pipelines["d"].layers[1].settings()["max"]


def test_tables_in_settings_are_merged_where_they_are_replaced():
    """One weight of a queue may be changed alone; another `use` begins anew."""
    queue = {"use": "fair", "weights": {"acme": 3}, "default_weight": 2}
    file = {
        "pipelines": {
            "chat": {"layers": [{"use": "bounded", "limit": 3, "queue": queue}]},
            "a": {"extends": "chat", "replace": {"bounded": {"queue": {"default_weight": 4}}}},
            "b": {"extends": "chat", "replace": {"bounded": {"queue": {"use": "fifo"}}}},
        }
    }
    config = load(file)
    assert Fair(weights={"acme": 3}, default_weight=4) == config.pipelines["a"].layers[0].settings()["queue"]
    assert "Fifo()" == repr(config.pipelines["b"].layers[0].settings()["queue"])


@pytest.mark.parametrize(
    ("queue", "made"),
    [
        ("fifo", "Fifo()"),
        ("priority", "Priority()"),
        ("fair", "Fair()"),
        ({"use": "priority", "within": "fair"}, "Priority(within=Fair())"),
    ],
)
def test_a_queue_without_settings_is_its_name(queue, made):
    """`queue = "fifo"` is `queue = { use = "fifo" }`, also where a queue stands in another."""
    config = load({"pipelines": {"chat": {"layers": [{"use": "bounded", "limit": 3, "queue": queue}]}}})
    handle = config.pipelines["chat"]
    assert made == repr(handle.layers[0].settings()["queue"])
    again = load(text=describe(handle).to_config("json"), format="json")
    assert handle.layers[0].settings() == again.pipelines["chat"].layers[0].settings()


def test_a_store_may_have_a_name():
    """One that the application made and registered."""
    store = MemoryStore()
    file = {"pipelines": {"chat": {"layers": [{"use": "bounded", "limit": 3, "store": "ours"}]}}}
    config = load(file, registry=Registry({"ours": store}))
    assert store is config.pipelines["chat"].layers[0].settings()["store"]


def test_nothing_is_warned_of_where_nothing_is_unwise():
    """The file with everything in it is in the recommended order."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert () == load(DATA).warnings


def test_a_layer_of_the_application_is_used_by_its_name():
    """Registered, or named by its module where that is allowed."""
    registry = Registry({"mine": timed}, modules=["sluiceway"])
    file = {"pipelines": {"chat": {"layers": [{"use": "mine", "limit": 3}, {"use": "sluiceway:bounded", "limit": 4}]}}}
    assert [timed, bounded] == [type(layer) for layer in load(file, registry=registry).pipelines["chat"].layers]


def test_yaml_needs_an_extra_and_the_others_do_not(monkeypatch):
    """The error says how to install it."""
    import sys

    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtra, match=r"sluiceway\[yaml\]"):
        load(text=TEXTS["yaml"], format="yaml")
    with pytest.raises(MissingExtra, match=r"sluiceway\[yaml\]"):
        describe(load(text=TEXTS["json"], format="json").pipelines["chat"]).to_config("yaml")
