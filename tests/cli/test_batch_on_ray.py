"""`sluiceway batch --engine ray`: what it hands over. The runs themselves are tested where Ray is."""

from __future__ import annotations

import functools
import pickle

import pytest
from click.testing import CliRunner

from sluiceway import bounded, rate_limited, timed
from sluiceway.backends.memory import MemoryStore
from sluiceway.binding import layers_of
from sluiceway.cli.batch import batch_command
from sluiceway.errors import SluicewayError

CONFIG = """
[pipelines.nightly]
layers = [{ use = "timed", limit = "5s" }, { use = "bounded", limit = 7 }]
"""


@pytest.fixture
def handed(monkeypatch):
    """Run the command, and return what it hands to `run`, or its complaint."""

    def invoke(*options):
        result = CliRunner().invoke(batch_command, ["p.jsonl", "-o", "a.jsonl", "--model", "m", *options])
        return given[0] if given else result.output

    def run(**what):
        given.append(what)
        raise SluicewayError("not run")

    given = []
    monkeypatch.setattr("sluiceway.backends.ray.run", run)
    return invoke


async def ask(prompt):
    return prompt


def test_limits_of_the_command_are_those_of_all_actors_together(handed):
    """The layers are made in each actor, with the store that they share."""
    given = handed("--engine", "ray", "--actors", "3", "--rpm", "600", "--concurrency", "20", "--store", "redis://r")
    store = MemoryStore()
    layers = pickle.loads(pickle.dumps(given["pipeline"]))(store)
    (limit,) = [layer for layer in layers_of(layers(ask)) if isinstance(layer, rate_limited)]
    settings = limit.settings()
    assert (600, 20, "sluiceway:batch") == (settings["rpm"], settings["in_flight"], settings["store"].prefix)
    assert (3, "redis://r") == (given["actors"], given["store"])
    assert ("m", "p.jsonl", "a.jsonl") == (given["ask"], given["source"], given["results"])


def test_without_limits_the_concurrency_is_shared(handed):
    """As a bound."""
    layers = handed("--engine", "ray", "--concurrency", "20")["pipeline"](MemoryStore())
    (bound,) = [layer for layer in layers_of(layers(ask)) if isinstance(layer, bounded)]
    assert (20, "sluiceway:batch") == (bound.settings()["limit"], bound.settings()["store"].prefix)


def test_a_config_travels_as_its_text(handed, tmp_path, monkeypatch):
    """With the variables that change it, since actors may be where neither the file nor these are."""
    path = tmp_path / "pipeline.toml"
    path.write_text(CONFIG)
    monkeypatch.setenv("SLUICEWAY_PIPELINES__NIGHTLY__BOUNDED__LIMIT", "9")
    pipeline = handed("--engine", "ray", "--config", str(path))["pipeline"]
    assert isinstance(pipeline, functools.partial)
    monkeypatch.delenv("SLUICEWAY_PIPELINES__NIGHTLY__BOUNDED__LIMIT")
    path.unlink()
    first, second = layers_of(pipeline(MemoryStore())(ask))
    assert (timed, bounded) == (type(first), type(second))
    assert 9 == second.settings()["limit"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--actors", "2"), "--actors is about actors: it needs --engine ray"),
        (("--engine", "ray", "--via", "batch-api"), "--engine ray makes calls"),
        (("--engine", "ray", "--actors", "0"), "0 is not in the range x>=1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(handed, options, complaint):
    """With what is wrong."""
    assert complaint in handed(*options)
