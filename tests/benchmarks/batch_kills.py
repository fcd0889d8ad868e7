"""A batch killed or told to end at random moments and resumed each time: what was lost, what was paid twice."""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from killed_batches import stopped_again_and_again


async def main(rounds, rows, seed):
    for number in (signal.SIGKILL, signal.SIGTERM):
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n{number.name} at {rounds} random moments")
            print(await stopped_again_and_again(Path(folder), rows, rounds, number, seed), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.rows, given.seed))
