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

MODEL = "gpt-4o-mini"


def behaviour(pace):
    """Return the provider of the benchmark of batches, at *pace* times its limits."""
    limits = LIMITS | {name: LIMITS[name] * pace for name in ("rpm", "tpm")}
    return {**limits, "latency": "200ms..600ms", "answer_tokens": ANSWER}


def pipeline(provider):
    """Return the pipeline of the batch."""
    return usual_pipeline(concurrency=300, rpm=provider["rpm"], tpm=provider["tpm"], timeout="60s")


def requests(path):
    """Return the requests in *path*, counted by characters as the embedded provider counts them."""
    return requests_in(open_source(path), Asking(MODEL, parameters=PARAMETERS), None)


async def real(provider, path, folder):
    """Run the batch against the embedded provider in its own process."""
    async with spawn(**provider) as sim:
        return await run(
            *(MODEL, path, Path(folder) / "out.jsonl"),
            pipeline=pipeline(provider),
            base_url=sim.base_url,
            api_key="sim",
            parameters=PARAMETERS,
        )


def main(rows, pace):
    """Plan, rehearse, run, and print all three."""
    provider = behaviour(pace)
    with tempfile.TemporaryDirectory() as folder:
        path = source(folder, rows)
        answers, limits = Answers.told(ANSWER, provider["latency"]), limits_of(pipeline(provider))
        demands = asyncio.run(demands_of(requests(path), answers, limits.charges, counted=False))
        told = forecast(demands, answers, limits, Pricing())
        simulated = SimulatedProvider(Behaviour.of(**provider), per_character=True)
        rehearsed = rehearse(pipeline(provider), simulated, requests(path))
        outcome = asyncio.run(real(provider, path, folder))
    print(f"{rows:,} rows at {provider['rpm']:,.0f} requests and {provider['tpm']:,.0f} tokens a minute")
    print(f"  forecast   {told.shortest:7.1f} s at least, by {told.binding.name}")
    refused = rehearsed.ledger.refused
    print(f"  simulated  {rehearsed.seconds:7.1f} s, refused {refused}, in {rehearsed.real_seconds:.1f} s")
    print(f"  real       {outcome.elapsed:7.1f} s, {outcome}")
    print(f"  simulated against real: {rehearsed.seconds / outcome.elapsed - 1:+.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--pace", type=float, default=1.0, help="of the limits, for a machine that is busy or slow")
    given = parser.parse_args()
    main(given.rows, given.pace)
