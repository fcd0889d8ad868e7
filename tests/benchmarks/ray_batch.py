"""A batch on Ray, one of its two actors killed half-way: what was lost, what was paid twice."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from killed_actors import with_one_killed


async def main(rows, rps):
    with tempfile.TemporaryDirectory() as folder:
        print(await with_one_killed(Path(folder), rows, rps, latency="lognormal(250ms, 0.3)", address="local"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rps", type=int, default=250)
    given = parser.parse_args()
    asyncio.run(main(given.rows, given.rps))
