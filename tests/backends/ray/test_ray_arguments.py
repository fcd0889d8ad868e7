"""What `run` is given is looked at before anything is started."""

from __future__ import annotations

import sys

import pytest

from sluiceway import Pipeline, bounded
from sluiceway.backends import ray as on_ray
from sluiceway.backends.ray.ray_batch import RayBatch
from sluiceway.batch import BatchError
from sluiceway.errors import MissingExtra
from sluiceway.order import PipelineWarning

pytest.importorskip("ray", reason="ray is not installed: pip install 'sluiceway[ray]'")


async def ask(prompt):
    return prompt


async def run(tmp_path, **changed):
    given = {"ask": ask, "source": ["a"], "results": tmp_path / "answers.jsonl", **changed}
    return await on_ray.run(**given)


WRONG = [
    ({"actors": 0}, ValueError, "actors=0 must be at least 1"),
    ({"actors": 1.5}, TypeError, "actors=1.5 must be an int"),
    ({"cpus": -1}, ValueError, "cpus=-1 must be a number of CPUs"),
    ({"cpus": "1"}, TypeError, "cpus='1' must be a number of CPUs"),
    ({"pack": 0}, ValueError, "pack=0 must be at least 1"),
    ({"source": iter([])}, TypeError, "source must be a path, a list or a dataset of Ray Data, not list_iterator"),
    ({"pipeline": 7}, TypeError, "pipeline must be a function of a store that returns layers"),
    ({"pipeline": lambda _: 7}, TypeError, "pipeline must return a Pipeline or another layer, not int"),
    ({"base_url": "http://x"}, TypeError, "base_url= is for a model's name"),
    ({"source": "not there"}, BatchError, "not there cannot be read"),
    ({"drain": "soon"}, ValueError, "drain='soon'"),
]


@pytest.mark.parametrize(("changed", "kind", "message"), WRONG, ids=[next(iter(each[0])) for each in WRONG])
async def test_what_is_wrong_is_said_before_ray_starts(tmp_path, changed, kind, message):
    """With the value and what is allowed; nothing is written."""
    with pytest.raises(kind, match=message):
        await run(tmp_path, **changed)
    assert [] == list(tmp_path.iterdir())


async def test_a_pipeline_itself_cannot_be_shared_between_processes(tmp_path):
    """Each actor makes its own, so a function is wanted."""
    with pytest.raises(TypeError, match="pipeline must be a function of a store"):
        await run(tmp_path, pipeline=Pipeline(bounded(3)))


async def test_a_function_decorated_in_a_script_cannot_be_found_by_actors(tmp_path, monkeypatch):
    """They import it by its name, and a script has none; the error says what to do."""

    async def own(prompt):
        return prompt

    monkeypatch.setattr(own, "__module__", "__main__")
    with pytest.raises(BatchError, match="decorated in the script itself"):
        await run(tmp_path, ask=bounded(3)(own))


async def test_without_ray_the_error_says_what_to_install(tmp_path, monkeypatch):
    """And it is said before anything else is done."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sluiceway\[ray\]'"):
        await run(tmp_path)


async def test_a_limit_that_actors_do_not_share_is_warned_of(tmp_path, monkeypatch):
    """It would be the limit of each, so of all together as many times more; with the store, or alone, it is well."""

    async def not_started(self, *, resume):
        return "not started"

    monkeypatch.setattr(RayBatch, "run", not_started)
    with pytest.warns(PipelineWarning, match="bounded has no store: each of the 2 actors"):
        await run(tmp_path, pipeline=lambda _: Pipeline(bounded(3)))
    assert "not started" == await run(tmp_path, pipeline=lambda _: Pipeline(bounded(3)), actors=1)
    assert "not started" == await run(tmp_path, pipeline=lambda store: Pipeline(bounded(3, store=store)))
    assert "not started" == await run(tmp_path)
