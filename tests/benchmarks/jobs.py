"""Whole jobs against a server that meters: what is refused, what is lost, how much of the limit is used."""

import argparse
import asyncio
import random

from sluiceway import Pipeline, Session, bounded, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.providers.openai import client as make_client
from sluiceway.simulator import spawn

BUCKET = {"rpm": 6_000, "window": "1s", "burst": "1s", "latency": "50ms"}
ROLLING = {"rpm": 6_000, "window": "1s", "metering": "rolling", "latency": "50ms"}
TOKENS = {"tpm": 600_000, "token_window": "1s", "token_burst": "1s", "latency": "50ms", "answer_tokens": 50}


def off_by_30_percent():
    """Estimates that are up to 30 % too low or too high around the true 100 tokens."""
    rng = random.Random(7)
    return lambda _call: round(100 * rng.uniform(0.7, 1.3))


JOBS = {
    "requests": (lambda: rate_limited(rpm=6_000), BUCKET),
    "requests, believed 10 % more, refusals count": (
        lambda: rate_limited(rpm=6_600),
        {**BUCKET, "refusals_count": True},
    ),
    "tokens, estimates 30 % off": (lambda: rate_limited(tpm=600_000, tokens=off_by_30_percent()), TOKENS),
    "exact rolling second": (
        lambda: rate_limited(rpm=6_000, window="1s", algorithm="sliding_window"),
        ROLLING,
    ),
}


async def run_job(limiter, server, calls, **retry):
    """Send *calls* through the five layers and the openai client; return the ledger and how many were lost."""
    async with spawn(**server) as sim, make_client(base_url=sim.base_url, api_key="sim") as client:

        @Pipeline(timed("120s"), retry_jitter(5, **retry), bounded(200), limiter, circuit_breaker())
        async def ask(i):
            text = f"{i:06d} " + "word " * 38  # about 50 tokens by the server's count
            return await client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": text}], max_tokens=50
            )

        async with Session("job") as session:
            outcomes = await session.gather(ask, range(calls), concurrency=200)
        return await sim.ledger(), sum(not outcome.ok for outcome in outcomes)


async def main(calls):
    width = max(map(len, JOBS))
    print(f"\n{calls:,} calls at 100 a second, five layers and openai, against a server that meters one second")
    print(f"{'':{width}} {'offered':>8} {'refused':>8} {'lost':>6} {'of the limit':>13} {'a minute':>9}")
    for name, (limiter, server) in JOBS.items():
        ledger, lost = await run_job(limiter(), server, calls)
        used = ledger.token_utilisation if "tpm" in server else ledger.utilisation
        refused = sum(ledger.refusals.values())
        print(
            f"{name:{width}} {ledger.offered:>8,} {refused:>8,} {lost:>6,} {used:>13.1%} "
            f"{ledger.accepted_per_minute:>9,.0f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_500)
    asyncio.run(main(parser.parse_args().calls))
