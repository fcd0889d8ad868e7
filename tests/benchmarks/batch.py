"""Whole batches: inside the limits, in constant memory, through faults, and what they cost in CPU."""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sluiceway import Pipeline, bounded, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.batch import Paths, read_dead_letters, read_results, run, usual_pipeline
from sluiceway.providers.openai import client as make_client
from sluiceway.simulator import spawn

LIMITS = {"rpm": 12_000, "window": "1s", "burst": "1s", "tpm": 1_000_000, "token_window": "1s", "token_burst": "1s"}
WORDS = "word " * 38  # with its number about 50 tokens by the server's count
ANSWER = 50
PARAMETERS = {"max_tokens": ANSWER}


def source(folder, rows):
    """Write a file of prompts."""
    path = Path(folder) / "p.jsonl"
    with path.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"id": f"r{number}", "prompt": f"{number:06d} {WORDS}"}) + "\n")
    return path


def verdict(outcome, rows, ledger):
    """Return in words whether results and ledger agree that every row was answered once."""
    answers = Counter(row.id for row in read_results(outcome.paths.results))
    tokens = sum(row.usage.total for row in read_results(outcome.paths.results))
    once = len(answers) == rows and set(answers.values()) == {1}
    agree = ledger.answered == rows and tokens == ledger.input_tokens + ledger.output_tokens
    return f"each row answered once: {once}; answers and tokens agree with the provider's ledger: {agree}"


async def limits(rows):
    """Run *rows* at 12,000 requests a minute and a million tokens, of which the tokens bind."""
    with tempfile.TemporaryDirectory() as folder:
        async with spawn(**LIMITS, latency="200ms..600ms", answer_tokens=ANSWER) as sim:
            pipeline = usual_pipeline(
                concurrency=300, rpm=LIMITS["rpm"], tpm=LIMITS["tpm"], timeout="60s", policy="openai"
            )
            outcome = await run(
                *("gpt-4o-mini", source(folder, rows), Path(folder) / "out.jsonl"),
                pipeline=pipeline,
                base_url=sim.base_url,
                api_key="sim",
                parameters=PARAMETERS,
            )
            ledger = await sim.ledger()
        print(f"\n{rows:,} rows at 12,000 requests and 1,000,000 tokens a minute, 100 tokens each")
        print(f"  {outcome}")
        print(f"  {verdict(outcome, rows, ledger)}")
        print(f"  tokens: {ledger.token_utilisation:.2%} of the limit; {ledger.accepted_per_minute:,.0f} rows a minute")
        print(f"  refused with 429: {ledger.refused:,} of {ledger.offered:,} ({ledger.refused / ledger.offered:.3%})")


async def faults(rows):
    """Run *rows* through 5 % of 500s, 2 % resets, 1 % hangs, and an outage of 20 s."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(
            retry_jitter(5),
            rate_limited(rpm=12_000, in_flight=100),
            circuit_breaker(window="20s", open_for="5s", ramp="5s"),
            timed("3s"),
        )
        weather = {"errors": {500: 0.05}, "reset_rate": 0.02, "hang_rate": 0.01, "outages": [(10, 30)]}
        async with spawn(latency="50ms..200ms", **weather, seed=1) as sim:
            outcome = await run(
                *("gpt-4o-mini", source(folder, rows), Path(folder) / "out.jsonl"),
                pipeline=pipeline,
                base_url=sim.base_url,
                api_key="sim",
            )
            ledger = await sim.ledger()
        reasons = Counter(letter.error.type for letter in read_dead_letters(Paths.of(outcome.paths.results).dead))
        print(f"\n{rows:,} rows through 5 % of 500s, 2 % resets, 1 % hangs, an outage from second 10 to 30")
        print(f"  {outcome}")
        print(f"  dead letters: {dict(reasons) or 'none'}; attempts {outcome.stats.attempts:,}, {ledger.refusals}")


async def cpu(rows):
    """Compare the CPU of a call with a bare gather and semaphore, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        path = source(folder, rows)
        async with spawn(latency="20ms") as sim:
            spent = {"bare": [], "batch": []}
            for turn in range(2):
                began = time.process_time()
                await bare(rows, sim)
                spent["bare"].append(time.process_time() - began)
                began = time.process_time()
                outcome = await run(
                    *("gpt-4o-mini", path, Path(folder) / f"out{turn}.jsonl"),
                    pipeline=usual_pipeline(concurrency=100, rpm=10_000_000, tpm=10_000_000_000),
                    base_url=sim.base_url,
                    api_key="sim",
                    parameters=PARAMETERS,
                )
                assert outcome.answered == rows
                spent["batch"].append(time.process_time() - began)
    bare_us, batch_us = (1e6 * min(spent[name]) / rows for name in ("bare", "batch"))
    print(
        f"\n{rows:,} calls, CPU a call: openai with gather and semaphore {bare_us:,.0f} us, a batch {batch_us:,.0f} us"
    )
    print(f"  {batch_us / bare_us - 1:+.1%}: five layers, file read, journal, manifest, session included")


async def bare(rows, sim):
    """Ask with nothing but the client, keeping the answers in memory."""
    places = asyncio.Semaphore(100)
    async with make_client(base_url=sim.base_url, api_key="sim") as client:

        async def ask(number):
            async with places:
                message = {"role": "user", "content": f"{number:06d} {WORDS}"}
                return await client.chat.completions.create(model="gpt-4o-mini", messages=[message], **PARAMETERS)

        await asyncio.gather(*(ask(number) for number in range(rows)))


async def generated(rows):
    """Run generated rows against a provider that answers at once, and print the peak of the memory."""

    async def ask(_prompt):
        return "an answer of some words"

    def items():
        for number in range(rows):
            yield {"id": f"row-{number}", "prompt": f"prompt {number}"}
        yield {"id": "row-0", "prompt": "an id that was there before"}

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        outcome = await run(ask, items(), Path(folder) / "out.jsonl", pipeline=Pipeline(bounded(100)))
        pace = rows / (time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows:>9,} rows: peak {peak:.0f} MB, {pace:,.0f} rows a second, duplicates found {outcome.dead}")


def memory():
    """Compare the memory of 1,000,000 rows with that of 1,000, in processes of their own."""
    print("\ngenerated rows, an instant provider in the same process")
    for rows in (1_000, 1_000_000):
        subprocess.run([sys.executable, __file__, "--generated", str(rows)], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="of the first part")
    parser.add_argument("--calls", type=int, default=20_000, help="of the comparison of CPU")
    parser.add_argument("--only", choices=["limits", "memory", "faults", "cpu"])
    parser.add_argument("--generated", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.generated:
        asyncio.run(generated(given.generated))
        sys.exit()
    if given.only in (None, "memory"):
        memory()
    if given.only in (None, "cpu"):
        asyncio.run(cpu(given.calls))
    if given.only in (None, "faults"):
        asyncio.run(faults(10_000))
    if given.only in (None, "limits"):
        asyncio.run(limits(given.rows))
