"""Batches in processes of their own that are killed or told to end, again and again, and resumed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field

from sluiceway.batch import Paths, read_dead_letters, read_results
from sluiceway.simulator import spawn

CONCURRENCY = 20


@dataclass
class Story:
    """What happened.

    Attributes:
        rows: of the source.
        codes: exit codes of all runs, the last one included.
        in_flight: calls that the provider had accepted and not answered when each run was stopped.
        answers: lines of the results by id.
        dead: dead letters.
        ledger: the provider's.
    """

    rows: int
    codes: list[int] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    answers: Counter = field(default_factory=Counter)
    dead: int = 0
    ledger: object = None

    @property
    def repeats(self):
        """Requests beyond one for each row."""
        return self.ledger.offered - self.rows

    def __str__(self):
        codes = ", ".join(f"{code} x{count}" for code, count in Counter(self.codes).items())
        once = sum(count == 1 for count in self.answers.values())
        return (
            f"{self.rows:,} rows, {len(self.codes)} runs, exit codes {codes}\n"
            f"answered exactly once {once:,}, more often {len(self.answers) - once:,}, dead letters {self.dead:,}\n"
            f"requests at the provider {self.ledger.offered:,}: {self.repeats:,} repeats; in flight when the runs were "
            f"stopped {sum(self.in_flight):,} as the provider saw it, at most {CONCURRENCY * len(self.in_flight):,}\n"
            f"answers given twice {self.ledger.answered_twice:,}, calls abandoned {self.ledger.abandoned:,}"
        )


async def batch(folder, base_url, *options):
    """Start `sluiceway batch` in a process."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OTEL_"))}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sluiceway", "batch", str(folder / "p.jsonl"), "-o", str(folder / "out.jsonl")),
        *("--model", "gpt-4o-mini", "--concurrency", str(CONCURRENCY), "--quiet", *options),
        env={**env, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sim"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


async def stopped_again_and_again(folder, rows, rounds, number, seed, longest=1.5):
    """Run a batch of *rows*, stop it with signal *number* at *rounds* random moments, and let the last run finish."""
    (folder / "p.jsonl").write_text(
        "".join(json.dumps({"id": f"r{i}", "prompt": f"row {i}"}) + "\n" for i in range(rows))
    )
    rng = random.Random(seed)
    story = Story(rows)
    async with spawn(latency="30ms..150ms", seed=seed) as sim:
        for _ in range(rounds):
            (folder / "out.lock").unlink(missing_ok=True)  # of the one that was killed, so that the new one's is seen
            process = await batch(folder, sim.base_url)
            await begun(folder, process)
            await asyncio.sleep(rng.uniform(0, longest))
            if process.returncode is None:
                if number == signal.SIGKILL:
                    process.send_signal(signal.SIGSTOP)
                    story.in_flight.append((await sim.ledger()).in_flight)
                process.send_signal(number)
            await process.communicate()
            story.codes.append(process.returncode)
        process = await batch(folder, sim.base_url)
        await process.communicate()
        story.codes.append(process.returncode)
        story.ledger = await sim.ledger()
    paths = Paths.of(folder / "out.jsonl")
    story.answers = Counter(row.id for row in read_results(paths.results))
    story.dead = len(list(read_dead_letters(paths.dead)))
    return story


async def begun(folder, process):
    """Wait until the process holds the batch: before, it does nothing that could be lost."""
    while process.returncode is None and not (folder / "out.lock").exists():  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.02)
