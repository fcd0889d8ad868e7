"""Batches on a real Ray of one machine."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from killed_actors import with_one_killed
from sluiceway import Pipeline, bounded
from sluiceway.backends import ray as on_ray
from sluiceway.batch import read_dead_letters, read_results

RECIPE = Path(__file__).parents[3] / "recipes" / "batch_on_ray.py"

pytestmark = pytest.mark.real


async def test_an_actor_that_is_killed_half_way_loses_nothing(cluster, tmp_path):
    """`kill -9` of one of two: every row is answered once, and what is asked again was in flight."""
    story = await with_one_killed(tmp_path, rows=400, rps=100, latency="lognormal(250ms, 0.3)")
    assert {1} == set(story.answers.values())
    assert (400, True) == (len(story.answers), story.outcome.complete)
    assert 0 < story.repeats <= story.in_flight + 3  # a few may have begun between our look and the kill
    assert 3 == story.actors
    assert 400 == story.outcome.answered


async def test_a_dataset_of_ray_is_asked_too_and_resumed(cluster, tmp_path):
    """Each row by its id; a row without one is a dead letter; the function is one that only this test knows."""
    import ray.data

    async def ask(prompt):
        return f"{prompt} in {os.getpid()}"

    rows = [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(40)] + [{"id": None, "prompt": "nobody"}]
    dataset = ray.data.from_items(rows)
    results = tmp_path / "answers.jsonl"
    pipeline = lambda store: Pipeline(bounded(3, store=store))  # noqa: E731 - as a user would write it
    first = await on_ray.run(ask, dataset, results, pipeline=pipeline, pack=4)
    assert (40, 1, 41, True) == (first.answered, first.dead, first.rows, first.complete)
    found = {row.id: row.output for row in read_results(results)}
    assert {f"r{i}": f"p{i}" for i in range(40)} == {id_: output.partition(" ")[0] for id_, output in found.items()}
    assert str(os.getpid()) not in {output.rpartition(" ")[2] for output in found.values()}
    assert ["no id"] == [letter.error.type for letter in read_dead_letters(tmp_path / "answers.dead.jsonl")]


async def test_the_recipe_prints_what_it_says(cluster):
    """On the cluster that the environment names, without a warning of Python's; Ray itself may say something."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(RECIPE)),
        env={**os.environ, "RAY_ADDRESS": cluster},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    promised = RECIPE.read_text().partition("Prints::\n\n")[2].partition('"""')[0]
    assert [line.strip() for line in promised.strip().splitlines()] == output.decode().splitlines()
    assert 0 == process.returncode
