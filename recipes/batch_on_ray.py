"""A batch on Ray: many actors, one limit, one results file.

One process is not enough for your prompts, or you have a cluster. The provider's limit belongs to the key, so all
actors must share it; and machines die, so what they have answered must be safe elsewhere. Each actor makes the layers
for itself with the store that all share; the driver's machine writes, and either engine goes on where one ended.

Prints::

    on a cluster of one machine that ends with the run, or on the one that RAY_ADDRESS names
    200 answered, each once: True
    asked by 2 actors, within one limit of 100 a second: True
    again, in this process alone: 200 were settled before, 0 asked
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sluiceway import Pipeline, rate_limited, retry_jitter, timed
from sluiceway.backends import ray
from sluiceway.batch import read_results, run
from sluiceway.simulator import spawn

if TYPE_CHECKING:
    from sluiceway.sharing.store import SharedStore


def layers(store: SharedStore) -> Pipeline:
    """Run in every actor."""
    return Pipeline(retry_jitter(5), rate_limited(rps=100, in_flight=50, store=store), timed("60s"), name="on_ray")


async def main(folder: Path) -> None:
    prompts, answers = folder / "prompts.jsonl", folder / "answers.jsonl"
    prompts.write_text("".join(json.dumps({"id": i, "prompt": f"Name river {i}."}) + "\n" for i in range(200)))
    print("on a cluster of one machine that ends with the run, or on the one that RAY_ADDRESS names")
    async with spawn(rpm=6_600, latency="200ms") as provider:
        where = {"base_url": provider.base_url, "api_key": "none"}
        first = await ray.run("gpt-4o-mini", prompts, answers, actors=2, pipeline=layers, **where)
        again = await run("gpt-4o-mini", prompts, answers, **where)
        ledger = await provider.ledger()
    print(f"{first.answered} answered, each once: {len({row.id for row in read_results(answers)}) == 200}")
    print(f"asked by 2 actors, within one limit of 100 a second: {ledger.offered == ledger.accepted == 200}")
    print(f"again, in this process alone: {again.before} were settled before, {again.stats.attempts} asked")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(Path(directory)))
