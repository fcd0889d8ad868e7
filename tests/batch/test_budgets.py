"""Batches whose layers hold a budget."""

from __future__ import annotations

import asyncio

import pytest

from sluiceway import Pipeline, bounded, budgeted, rate_limited
from sluiceway.batch import run
from sluiceway.testing import completion


class Provider:
    """Answers in 1 s, and knows how many calls were inside at a time."""

    def __init__(self):
        self.inside = self.most = 0

    async def ask(self, prompt):
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(1.0)
        self.inside -= 1
        return completion("yes")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


async def test_a_budget_that_is_reserved_by_rows_in_flight_is_waited_for(out):
    """Each row reserves a quarter of the budget and takes next to nothing: four at a time, to the end."""
    provider = Provider()
    budget = budgeted(tokens=100_000, count=lambda call: (0, 24_000))
    outcome = await run(provider.ask, range(40), out, pipeline=Pipeline(budget, bounded(100)))
    assert (40, True) == (outcome.answered, outcome.ok)
    assert 4 == provider.most
    assert 10.0 == outcome.elapsed


async def test_what_waits_for_a_budget_is_no_failed_call(out):
    """Nothing failed, and the alert of --alert-exit said that most calls did; a row that dies of its size is one."""
    provider, heard = Provider(), []
    budget = budgeted(tokens=100_000, count=lambda call: (0, 24_000))
    outcome = await run(provider.ask, range(200), out, pipeline=Pipeline(budget, bounded(100)), on_alert=heard.append)
    assert (200, 0, []) == (outcome.answered, outcome.alerts, heard)
    assert outcome.stats.rejected > 100
    assert 0.0 == outcome.stats.error_rate

    small = Pipeline(rate_limited(tpm=100, tokens=lambda call: 1000 if int(call.args[0]) % 4 == 0 else 0))
    outcome = await run(provider.ask, range(100), out.with_name("b.jsonl"), pipeline=small, rows_under_way=1)
    assert (25, 1) == (outcome.dead, outcome.alerts)


async def test_a_budget_that_is_spent_ends_the_batch(out):
    """Though rows that are in flight may still give something back."""
    provider = Provider()
    budget = budgeted(tokens=100, count=lambda call: (0, 40))
    outcome = await run(provider.ask, range(40), out, pipeline=Pipeline(budget, bounded(100)))
    assert "budget" == outcome.stopped.kind
    assert 60 < budget.snapshot()[0].spent["tokens"] <= 100
    assert 0 == outcome.dead
