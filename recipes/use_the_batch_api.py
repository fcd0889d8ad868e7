"""Answer a file of prompts for half the price, by the provider's Batch API.

What has time until tomorrow costs half as much when the provider may choose when. But a batch there must be split by
its limits, uploaded, polled and merged by ids that are not in order, and a script that dies while it waits pays twice.
Here it is one call, or `sluiceway batch in.jsonl -o answers.jsonl --via batch-api`: whatever ends it, the same command
again takes up the batches under way. What failed there is asked directly afterwards, by `retry_dead`.

Prints::

    0 of 3 parts merged, 0 not begun; part 1 validating, part 2 validating, part 3 validating, 0 requests done
    ...
    3 of 3 parts merged, 0 not begun
    batch api: ... answered, ... dead letters in ... s; done
    cost: $0.000..., half of the list price
    directly:  ... answered... in ... s; done
    30 rows, 30 answers
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from sluiceway.batch import PartLimits, read_results, retry_dead, run_over_batch_api
from sluiceway.simulator import real_or_simulated

MODEL = "gpt-4o-mini"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        prompts, answers = Path(folder) / "prompts.jsonl", Path(folder) / "answers.jsonl"
        prompts.write_text("".join(json.dumps({"id": f"r{n}", "prompt": f"Name river {n}."}) + "\n" for n in range(30)))
        async with real_or_simulated(batch_time="1s", batch_expired=0.2, seed=1) as client:
            ten_each = PartLimits(requests=10)  # 50,000 by default; small ones show the splitting
            done = await run_over_batch_api(
                MODEL, prompts, answers, client=client, limits=ten_each, poll="300ms", hear=print
            )
            print("batch api:", done)
            print(f"cost: ${done.stats.cost:.6f}, half of the list price")
            if done.dead_in_all:
                print("directly: ", await retry_dead(MODEL, answers, client=client))
        print(f"30 rows, {len(list(read_results(answers)))} answers")


if __name__ == "__main__":
    asyncio.run(main())
