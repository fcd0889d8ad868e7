"""What a plan predicts for a batch that binds on tokens, and what the batch then takes."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from batch import ANSWER, LIMITS, PARAMETERS, source
from sluiceway.batch import run, usual_pipeline
from sluiceway.batch.plan import Answers, Asking, SimulatedProvider, demands_of, forecast, limits_of, rehearse
from sluiceway.batch.plan.demand import requests_in
from sluiceway.batch.sources import open_source
from sluiceway.simulator import Behaviour, spawn
from sluiceway.telemetry.pricing import Pricing

BEHAVIOUR = {**LIMITS, "latency": "200ms..600ms", "answer_tokens": ANSWER}
MODEL = "gpt-4o-mini"


def pipeline():
    """Return the pipeline of the batch."""
    return usual_pipeline(concurrency=300, rpm=LIMITS["rpm"], tpm=LIMITS["tpm"], timeout="60s")


def requests(path):
    """Return the requests in *path*, counted by characters as the embedded provider counts them."""
    return requests_in(open_source(path), Asking(MODEL, parameters=PARAMETERS), None)


async def real(path, folder):
    """Run the batch against the embedded provider in its own process."""
    async with spawn(**BEHAVIOUR) as sim:
        return await run(
            *(MODEL, path, Path(folder) / "out.jsonl"),
            pipeline=pipeline(),
            base_url=sim.base_url,
            api_key="sim",
            parameters=PARAMETERS,
        )


def main(rows):
    """Plan, rehearse, run, and print all three."""
    with tempfile.TemporaryDirectory() as folder:
        path = source(folder, rows)
        answers, limits = Answers.told(ANSWER, BEHAVIOUR["latency"]), limits_of(pipeline())
        demands = asyncio.run(demands_of(requests(path), answers, limits.charges, counted=False))
        told = forecast(demands, answers, limits, Pricing())
        provider = SimulatedProvider(Behaviour.of(**BEHAVIOUR), per_character=True)
        rehearsed = rehearse(pipeline(), provider, requests(path))
        outcome = asyncio.run(real(path, folder))
    print(f"{rows:,} rows at 12,000 requests and 1,000,000 tokens a minute")
    print(f"  forecast   {told.shortest:7.1f} s at least, by {told.binding.name}")
    refused = rehearsed.ledger.refused
    print(f"  simulated  {rehearsed.seconds:7.1f} s, refused {refused}, in {rehearsed.real_seconds:.1f} s")
    print(f"  real       {outcome.elapsed:7.1f} s, {outcome}")
    print(f"  simulated against real: {rehearsed.seconds / outcome.elapsed - 1:+.1%}")
    return rehearsed.seconds, outcome.elapsed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    main(parser.parse_args().rows)
