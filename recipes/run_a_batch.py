"""Answer a file of prompts, and pay for none of them twice.

Two hundred prompts, or two million, should run over night inside the provider's limits. The process may die, the
provider may be down for minutes, and some rows are broken; in the morning every answer that was paid for should be
there, and the same command should do the rest. `batch.run` reads rows as there is room and writes answers as they come.

Prints::

    100 answered in ... s; done
    99 answered, 100 were settled before, 1 dead letters in ... s; done
    answer to r0: '...', 1 attempt, $0.0000...
    dead: row 151 of the file, no prompt: missing column
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from sluiceway import Pipeline, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.batch import read_dead_letters, read_results, run
from sluiceway.simulator import real_or_simulated

PIPELINE = Pipeline(
    retry_jitter(attempts=5, base="50ms"),
    rate_limited(rpm=6_000, tpm=1_000_000, in_flight=50),
    circuit_breaker(),
    timed("30s"),
)


def write(path: Path, number: int) -> None:
    rows: list[dict[str, str]] = [{"id": f"r{i}", "prompt": f"Name river number {i}."} for i in range(number)]
    if number > 150:
        rows[150] = {"id": "r150", "text": "a column that nobody asked for"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


async def main(folder: Path) -> None:
    prompts, results = folder / "prompts.jsonl", folder / "answers.jsonl"
    async with real_or_simulated(latency="20ms..80ms", errors={503: 0.02}, seed=1) as client:
        for number in (100, 200):  # the second run finds a longer file, and asks only what is missing
            write(prompts, number)
            outcome = await run(
                "gpt-4o-mini", prompts, results, client=client, pipeline=PIPELINE, parameters={"max_tokens": 20}
            )
            print(outcome)
    row = next(row for row in read_results(results) if row.id == "r0")
    print(f"answer to {row.id}: {row.output[:20]!r}, {row.attempts} attempt, ${row.cost_usd:.6f}")
    for letter in read_dead_letters(outcome.paths.dead):
        print(f"dead: row {letter.line} of the file, no prompt: {letter.error.type}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
