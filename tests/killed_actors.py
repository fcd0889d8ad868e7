"""A batch on Ray with two actors, one of which is killed on the way."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sluiceway import Pipeline, rate_limited, retry_jitter, timed
from sluiceway.backends import ray
from sluiceway.batch import BatchRun, read_results
from sluiceway.simulator import Ledger, spawn

IN_FLIGHT = 100


def layers(folder, rps, in_flight, store):
    """Return an actor's layers, and leave its process's number in *folder*."""
    Path(folder, str(os.getpid())).touch()
    return Pipeline(
        retry_jitter(5),
        rate_limited(rps=rps, in_flight=in_flight, store=store.named("killed")),
        timed("60s"),
        name="killed",
    )


@dataclass
class Story:
    """What happened.

    Attributes:
        outcome: of the run.
        answers: lines of the results by id.
        in_flight: calls of both actors that the provider had accepted and not answered just before the kill.
        written: rows in the results at that time.
        actors: processes that were actors in the end.
        ledger: the provider's.
    """

    outcome: BatchRun
    answers: Counter
    in_flight: int
    written: int
    actors: int
    ledger: Ledger

    @property
    def repeats(self):
        """Requests beyond one for each row."""
        return self.ledger.accepted - len(self.answers)

    def __str__(self):
        once = sum(count == 1 for count in self.answers.values())
        return (
            f"{self.outcome}\n"
            f"one of two actors, or its node, killed at {self.written:,} rows; {self.actors} processes were actors\n"
            f"answered exactly once {once:,}, more often {len(self.answers) - once:,}\n"
            f"requests at the provider {self.ledger.accepted:,}: {self.repeats:,} repeats, "
            f"{self.ledger.answered_twice:,} of them answered twice; in flight before the kill {self.in_flight:,}\n"
            f"refused by the provider {self.ledger.offered - self.ledger.accepted:,}"
        )


def kill_one(actors):
    """Kill one of the processes *actors*."""
    os.kill(min(actors), signal.SIGKILL)


async def with_one_killed(folder, rows, rps, latency, address=None, kill=kill_one):
    """Run a batch of *rows* in *folder*, *kill* an actor when half of them are answered, and return the story."""
    source, results, pids = folder / "prompts.jsonl", folder / "answers.jsonl", folder / "pids"
    pids.mkdir()
    source.write_text("".join(json.dumps({"id": f"r{i}", "prompt": f"Say {i}."}) + "\n" for i in range(rows)))
    async with spawn(rpm=60 * rps, latency=latency) as provider:
        run = asyncio.create_task(
            ray.run(
                "simulated",
                source,
                results,
                base_url=provider.base_url,
                api_key="none",
                pipeline=functools.partial(layers, str(pids), 0.9 * rps, IN_FLIGHT),
                address=address,
                rows_under_way=2 * IN_FLIGHT,
                pack=20,
            )
        )
        before, written = await _killed_half_way(run, provider, results, pids, rows, kill)
        outcome = await run
        ledger = await provider.ledger()
    answers = Counter(row.id for row in read_results(results))
    return Story(outcome, answers, before.in_flight, written, len(_actors(pids)), ledger)


async def _killed_half_way(run, provider, results, pids, rows, kill):
    while not results.exists() or results.read_bytes().count(b"\n") < rows // 2:
        await asyncio.wait([run], timeout=0.2)
        if run.done():
            run.result()
            raise AssertionError("the run was over before half of its rows were answered")
    ledger = await provider.ledger()
    written = results.read_bytes().count(b"\n")
    await asyncio.to_thread(kill, _actors(pids))
    return ledger, written


def _actors(pids):
    """Return the numbers of the processes that made layers, but for this one, which does so to look at them."""
    return {int(path.name) for path in pids.iterdir()} - {os.getpid()}
