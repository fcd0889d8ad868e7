"""Rehearsing a batch: the very pipeline on virtual time against the embedded provider's limits."""

import asyncio
import json

import pytest

from sluiceway import Pipeline, bounded, rate_limited, retry_jitter
from sluiceway.batch import run, usual_pipeline
from sluiceway.batch.plan import Asking, SimulatedProvider, plan, rehearse, requests_in
from sluiceway.batch.sources import open_source
from sluiceway.simulator import spawn
from sluiceway.simulator.behaviour import Behaviour


def rehearsal(rows, pipeline, **behaviour):
    """Rehearse so many rows; prompts are counted by characters."""
    prompts = [f"{n:040d}" for n in range(rows)]
    requests = requests_in(open_source(prompts), Asking(model="m", parameters={"max_tokens": 100}), None)
    settings = {"burst": "1s", "seed": 1, "latency": "1s", "answer_tokens": 50} | behaviour
    return rehearse(pipeline, SimulatedProvider(Behaviour.of(**settings)), requests)


def test_an_hour_takes_seconds():
    """1,200 rows at 20 a minute are an hour, less the burst and with the last answer."""
    found = rehearsal(1200, Pipeline(retry_jitter(5), rate_limited(rpm=20)), rpm=20, burst=None)
    assert 3600 == pytest.approx(found.seconds, rel=0.001)
    assert (1200, {}, 0) == (found.answered, found.failed, found.ledger.refused)
    assert found.real_seconds < 60
    assert 1199 == found.waits["rate_limited"].calls
    assert 950 < found.waits["rate_limited"].deepest < 1000


def test_tokens_bind_as_the_provider_counts_them():
    """67 tokens a row, as their usage turns out, though 117 were reserved."""
    found = rehearsal(1000, Pipeline(rate_limited(rpm=100_000, tpm=33_500)), tpm=33_500)
    assert 120 == pytest.approx(found.seconds, rel=0.03)
    assert 67 * 1000 == found.ledger.metered_tokens


def test_embeddings_have_no_output():
    """Whatever the model is called: they were answered with 500 tokens each, and took ten times as long as planned."""
    rows = ["x" * 4000] * 100
    for model in ("text-embedding-3-small", "bge-m3"):
        requests = requests_in(open_source(rows), Asking(model=model, endpoint="embeddings"), None)
        provider = SimulatedProvider(Behaviour.of(tpm=600_000, seed=1, latency="1s"))
        found = rehearse(Pipeline(rate_limited(tpm=60_000)), provider, requests)
        assert (100, 100_000) == (found.answered, found.ledger.metered_tokens)
    asking = Asking("bge-m3", endpoint="embeddings", parameters={"max_tokens": 50})
    told = plan(None, [{"url": "/v1/embeddings", "custom_id": "a", "body": {"input": "x", "model": "bge-m3"}}])
    assert ("embeddings", {"input": "x", "model": "bge-m3"}) == asking.request("x")
    assert 0 == told.demands.output_tokens


def test_a_bound_binds():
    """Ten at a time, a second each."""
    found = rehearsal(100, Pipeline(bounded(10)))
    assert (10.0, 10) == (pytest.approx(found.seconds), found.ledger.peak_in_flight)


def test_a_provider_that_allows_less_refuses_and_the_pipeline_learns():
    """A limit above the provider's collects refusals; nothing is lost as long as there are attempts."""
    found = rehearsal(300, Pipeline(retry_jitter(20), rate_limited(rpm=1200)), rpm=600)
    assert 300 == found.answered + sum(found.failed.values())
    assert found.ledger.refused > 0
    assert found.seconds > 25


def test_faults_are_met_and_what_fails_is_told_by_name():
    """What cannot be repeated is a dead letter; the rest is asked again, as in a real run."""
    found = rehearsal(200, Pipeline(bounded(50)), errors={500: 0.2, 400: 0.1}, reset_rate=0.1)
    assert {"BadRequestError"} == set(found.failed)
    assert 200 == found.answered + found.failed["BadRequestError"]
    assert found.ledger.failed > 40


def test_the_same_seed_gives_the_same_rehearsal():
    """Answers of any length and time."""

    def once():
        return rehearsal(200, Pipeline(bounded(20)), latency="lognormal(1s, 0.5)", answer_tokens="20..80")

    first, again = once(), once()
    assert (first.seconds, first.ledger.output_tokens) == (again.seconds, again.ledger.output_tokens)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"insufficient_quota": True}, "the quota is used up"),
        ({"outage": True, "outage_as": "reset"}, "nothing was answered for 30 min"),
    ],
)
def test_a_provider_that_refuses_all_is_rehearsed_too(settings, why):
    """No money, or no provider: the batch would end early."""
    found = rehearsal(20, Pipeline(bounded(5)), **settings)
    assert (0, {}) == (found.answered, found.failed)
    assert why in found.stopped


def test_a_request_that_the_provider_cannot_read_is_refused_as_there():
    """With characters counted in the provider's own way, the whole request is read in its way."""
    requests = requests_in(
        open_source([{"messages": [{"role": "user", "content": "x" * 40}]}]),
        Asking(model="m", parameters={"n": 0}),
        None,
    )
    provider = SimulatedProvider(Behaviour.of(), per_character=True)
    assert {"BadRequestError": 1} == rehearse(Pipeline(bounded(1)), provider, requests).failed


@pytest.mark.real
async def test_a_rehearsal_takes_as_long_as_the_batch_will(tmp_path):
    """Tokens binding, against the embedded provider in its own process; a busy machine may take longer."""
    settings = {"tpm": 120_000, "burst": "1s", "latency": "100ms..300ms", "answer_tokens": 50, "seed": 1}
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n:0200d}"}) + "\n" for n in range(160)))
    parameters = {"max_tokens": 50}
    requests = requests_in(open_source(path), Asking(model="m", parameters=parameters), None)
    provider = SimulatedProvider(Behaviour.of(**settings), per_character=True)
    found = await asyncio.to_thread(rehearse, usual_pipeline(tpm=120_000), provider, requests)
    async with spawn(**settings) as sim:
        where = {"base_url": sim.base_url, "api_key": "sim", "parameters": parameters}
        real = await run("m", path, tmp_path / "answers.jsonl", pipeline=usual_pipeline(tpm=120_000), **where)
    assert (160, 160) == (found.answered, real.answered)
    assert 0.95 * found.seconds <= real.elapsed <= 1.5 * found.seconds  # on a quiet one 5 %: tests/benchmarks/plan.py
