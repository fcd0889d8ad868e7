"""Batches in processes of their own: killed, told to end, beset by faults."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest

from killed_batches import CONCURRENCY, batch, begun, stopped_again_and_again
from sluiceway import Pipeline, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.batch import Paths, read_dead_letters, read_results, run, usual_pipeline
from sluiceway.simulator import Simulator, spawn

pytestmark = pytest.mark.real


async def test_a_killed_batch_loses_no_answer_and_repeats_only_what_was_in_flight(tmp_path):
    """`kill -9` at random moments, resumed each time."""
    story = await stopped_again_and_again(tmp_path, 200, 2, signal.SIGKILL, seed=3, longest=0.8)
    assert Counter({f"r{i}": 1 for i in range(200)}) == story.answers
    assert 0 == story.codes[-1] == story.dead
    assert 0 <= story.repeats <= 2 * CONCURRENCY


async def test_a_batch_that_is_told_to_end_repeats_nothing(tmp_path):
    """SIGTERM at random moments: 143 as documented, calls in flight finish and are saved, the resume does the rest."""
    story = await stopped_again_and_again(tmp_path, 200, 1, signal.SIGTERM, seed=4, longest=0.8)
    assert Counter({f"r{i}": 1 for i in range(200)}) == story.answers
    assert set(story.codes[:-1]) <= {143, -signal.SIGTERM, 0}
    assert (0, 0, 0) == (story.codes[-1], story.repeats, story.ledger.abandoned)


async def test_a_second_signal_ends_it_at_once_and_keeps_what_was_answered(tmp_path):
    """Whatever is in flight is given up, whatever was answered is in the results."""
    (tmp_path / "p.jsonl").write_text("".join(f'"row {i}"\n' for i in range(100)))
    async with Simulator(latency="50ms") as sim:
        process = await batch(tmp_path, sim.base_url)
        await begun(tmp_path, process)
        while sim.ledger.answered < CONCURRENCY:  # noqa: ASYNC110 - a ledger tells nobody
            await asyncio.sleep(0.01)
        sim.set(latency="30s")
        while sim.ledger.in_flight < CONCURRENCY:  # noqa: ASYNC110 - a ledger tells nobody
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), 0.5)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 10)
        answered = sim.ledger.answered
    assert 130 == process.returncode
    assert answered == len(list(read_results(tmp_path / "out.jsonl")))


async def test_all_that_can_be_answered_is_answered_through_faults(tmp_path):
    """5 % of 500s, 2 % resets, 1 % hangs and an outage: rows that the provider refuses for their own sake are dead."""
    weather = {"errors": {500: 0.05, 400: 0.01}, "reset_rate": 0.02, "hang_rate": 0.01, "outages": [(0.5, 2)]}
    pipeline = Pipeline(
        retry_jitter(5, base="50ms"),
        rate_limited(rpm=30_000, in_flight=50),
        circuit_breaker(window="4s", open_for="1s", ramp="1s"),
        timed("1s"),
    )
    async with spawn(latency="10ms..50ms", **weather, seed=1) as sim:
        outcome = await run(
            *("gpt-4o-mini", [f"row {i}" for i in range(600)], tmp_path / "out.jsonl"),
            pipeline=pipeline,
            base_url=sim.base_url,
            api_key="sim",
        )
        ledger = await sim.ledger()
    assert ledger.refusals["outage"] > 0
    assert ledger.hung > 0
    letters = list(read_dead_letters(Paths.of(tmp_path / "out.jsonl").dead))
    assert {("openai.BadRequestError", 400)} == {(letter.error.type, letter.error.status) for letter in letters}
    assert 600 == outcome.answered + outcome.dead
    assert 1 <= outcome.dead <= 30


async def test_a_batch_stays_inside_the_limits_and_uses_them(tmp_path):
    """Tokens bind: every row is answered once, ledger and results agree, and hardly anything is refused."""
    rows = [f"{i:06d} " + "word " * 38 for i in range(500)]
    limits = {"rpm": 12_000, "window": "1s", "burst": "1s", "tpm": 1_000_000, "token_window": "1s", "token_burst": "1s"}
    async with spawn(**limits, latency="50ms", answer_tokens=50) as sim:
        outcome = await run(
            *("gpt-4o-mini", rows, tmp_path / "out.jsonl"),
            pipeline=usual_pipeline(concurrency=200, rpm=12_000, tpm=1_000_000, policy="openai"),
            base_url=sim.base_url,
            api_key="sim",
            parameters={"max_tokens": 50},
        )
        ledger = await sim.ledger()
    answers = list(read_results(tmp_path / "out.jsonl"))
    assert 500 == outcome.answered == ledger.answered == len({row.id for row in answers})
    assert ledger.input_tokens + ledger.output_tokens == sum(row.usage.total for row in answers)
    assert ledger.refused <= 150  # a busy machine sends what was paced in bursts
