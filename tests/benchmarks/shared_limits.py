"""One limit for many processes through one Redis: what is refused, who gets how much, what a permit costs.

`--part` chooses: `steady`, `exact`, `kills`, `restart`, `slow` (whole jobs against the simulated provider), `permits`
(per second, beside other libraries) and `fleet` (200 workers on virtual time). All of them without it.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from real_redis import RealRedis
from sluiceway import rate_limited
from sluiceway.backends.memory import MemoryServer, MemoryStore
from sluiceway.simulator import spawn
from sluiceway.testing import run as run_virtually

WORKER = Path(__file__).parent / "shared_worker.py"
RATE = 100
TOKENS = 130 * RATE  # a second; calls of about 60 tokens are estimated at about 110 and settled
names = itertools.count()


class Workers:
    """Processes with orders, started together."""

    def __init__(self):
        self.processes = {}

    async def start(self, orders, seconds=None, end=None):
        """Start a process for each of *orders*; once all are ready, let them begin for *seconds*, or until *end*."""
        started = [
            asyncio.create_subprocess_exec(
                *(sys.executable, str(WORKER), json.dumps(order)),
                stdout=asyncio.subprocess.PIPE,
                stdin=asyncio.subprocess.PIPE,
            )
            for order in orders
        ]
        processes = await asyncio.gather(*started)
        for process in processes:
            await process.stdout.readline()
        start = time.time() + 0.5
        when = {"start": start, "from": start + 2, "end": end or start + seconds}
        for order, process in zip(orders, processes, strict=True):
            process.stdin.write(json.dumps(when).encode() + b"\n")
            self.processes[order["name"]] = process
        return when

    def kill(self, name):
        os.kill(self.processes[name].pid, signal.SIGKILL)

    async def results(self):
        found = {}
        for name, process in self.processes.items():
            output, _ = await process.communicate(b"")
            lines = [json.loads(line) for line in output.splitlines()]
            if lines and "ready" not in lines[-1]:
                found[name] = lines[-1]
        return found


class SlowLine:
    """Passes on what goes to a server and comes from it, half of *trip* seconds later each way."""

    def __init__(self, port, trip):
        self._port, self._half = port, trip / 2
        self._server = None
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source, sink):
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                loop.call_later(self._half, sink.write, data)
        loop.call_later(self._half, sink.close)


# ------------------------------------------------------------------ whole jobs


async def job(title, redis, *, seconds, limits=None, server=None, url=None, events=(), workers=8, store=None):
    """Run eight workers against a provider of 100 a second; print what it saw."""
    behaviour = {"rpm": 60 * RATE, "window": "1s", "burst": "1s", "latency": "50ms", "answer_tokens": 10}
    tokens = {"tpm": 60 * TOKENS, "token_window": "1s", "token_burst": "1s", "reserve": "sum"}
    async with spawn(**(behaviour | tokens | (server or {}))) as sim:
        order = {
            "job": "calls", "redis": url or redis.url, "prefix": f"job-{next(names)}", "base_url": sim.base_url,
            "limits": limits or {"rpm": 60 * RATE, "tpm": 60 * TOKENS}, "max_tokens": 40, "concurrency": 40,
            "store": store or {},
        }  # fmt: skip
        crew = Workers()
        when = await crew.start([{**order, "name": f"w{i}"} for i in range(workers)], seconds)
        for at, what in events:
            await asyncio.sleep(max(0.0, when["start"] + at - time.time()))
            await what(crew, order, when)
        found = await crew.results()
        ledger = await sim.ledger()
    counts = sorted(each["answered"] for each in found.values() if each["name"] != "late")
    mean = sum(counts) / len(counts)
    refused = sum(ledger.refusals.values())
    print(
        f"{title:32} {ledger.offered:>7,} {refused:>7,} {ledger.busiest_accepted:>8,} {ledger.utilisation:>7.1%} "
        f"{ledger.token_utilisation or 0.0:>7.1%} {counts[0] / mean - 1:>+7.1%} {counts[-1] / mean - 1:>+6.1%} "
        f"{sum(each['away'] for each in found.values()):>5}",
        flush=True,
    )
    return ledger, found


async def kill_two_add_one(crew, order, when):
    """Kill two workers as a crash would, and start one more."""
    crew.kill("w0")
    crew.kill("w1")
    crew.processes = {name: process for name, process in crew.processes.items() if name not in {"w0", "w1"}}
    await crew.start([{**order, "name": "late"}], end=when["end"])


def header():
    print(f"\n8 processes, one Redis, {RATE} a second at the provider, tokens settled across processes")
    names = {"offered": 7, "refused": 7, "busiest": 8, "of rpm": 7, "of tpm": 7, "least": 7, "most": 6, "away": 5}
    print(f"{'':32} {' '.join(f'{name:>{width}}' for name, width in names.items())}")


async def jobs(part, seconds):
    """Run the jobs that were asked for."""
    with RealRedis() as redis:
        if part in {"all", "steady"}:
            await job("bucket of a second", redis, seconds=seconds)
        if part in {"all", "exact"}:
            exact = {"rpm": 60 * RATE, "window": "10s", "algorithm": "sliding_window", "margin": "100ms"}
            rolling = {"metering": "rolling", "window": "10s", "burst": None, "tpm": None, "token_window": None}
            await job(
                "exact rolling 10 s", redis, seconds=2 * seconds, limits=exact,
                server={**rolling, "token_burst": None},
            )  # fmt: skip
        if part in {"all", "kills"}:
            await job("two killed, one added", redis, seconds=seconds, events=[(seconds / 2, kill_two_add_one)])
        if part in {"all", "restart"}:

            async def stop(*_):
                redis.stop()

            async def again(*_):
                redis.start()

            await job("Redis away for 10 s", redis, seconds=seconds + 10, events=[(5, stop), (15, again)])
        if part in {"all", "slow"}:
            async with SlowLine(redis.port, 0.2) as line:
                longer = 6 * seconds  # of the first twenty seconds one and a half go by until everybody has his part
                await job("Redis answers in 200 ms", redis, seconds=longer, url=line.url, store={"timeout": "3s"})


# ------------------------------------------------------------------ permits a second


async def permits(seconds):
    """Print how many permits a second eight processes get through one Redis."""
    print("\npermits a second through one Redis, 8 processes, 50 callers each, a limit that nobody reaches")
    rows = [("sluiceway, blocks", "100ms"), ("sluiceway, one by one", 0), *[(who, 0) for who in OTHERS]]
    for who, block in rows:
        with RealRedis() as redis:
            order = {
                "job": "permits", "who": who, "redis": redis.url, "prefix": "permits", "block": block,
                "concurrency": 50,
            }  # fmt: skip
            crew = Workers()
            await crew.start([{**order, "name": f"w{i}"} for i in range(8)], seconds)
            found = await crew.results()
        if len(found) == 8:
            print(f"{who:24} {sum(each['taken'] for each in found.values()) / seconds:>10,.0f}", flush=True)
        else:
            print(f"{who:24} {'not there':>10}", flush=True)


OTHERS = ("limits", "throttled-py", "pyrate-limiter")


# ------------------------------------------------------------------ a fleet, on virtual time


class Mortal(MemoryStore):
    """A store of a worker that can die: from then on nothing that it says arrives."""

    dead = False

    async def send(self, line, kind, key, ask):
        if self.dead:
            raise ConnectionError("the worker is dead")
        return await super().send(line, kind, key, ask)


async def fleet(workers, rate, seconds, server, skew):
    """Run *workers* against one limit, with crashes and a server whose clock jumps; print what came of it."""
    loop = asyncio.get_running_loop()
    rng = random.Random(7)
    times, counts, crew = [], {}, {}

    async def worker(name, store):

        @rate_limited(rps=rate, store=store)
        async def ask():
            times.append(loop.time())
            counts[name] = counts.get(name, 0) + 1

        async def caller():
            while True:
                await ask()
                await asyncio.sleep(rng.uniform(0.01, 0.1))

        await asyncio.sleep(rng.uniform(0, 0.5))
        await asyncio.gather(*[caller() for _ in range(8)])

    def begin(name):
        store = Mortal(server, block="100ms")
        crew[name] = asyncio.create_task(worker(name, store)), store

    for i in range(workers):
        begin(f"w{i}")
    crashed = 0
    for second in range(seconds):
        await asyncio.sleep(1)
        if second % 3 == 2:  # some crash, and start again under other names: what they were promised is lost
            for name in rng.sample(sorted(crew), workers // 50):
                task, store = crew.pop(name)
                store.dead = True
                task.cancel()
                crashed += 1
                begin(f"{name}'")
        server.ahead += rng.uniform(-skew, skew)
    for task, _ in crew.values():
        task.cancel()
    await asyncio.gather(*(task for task, _ in crew.values()), return_exceptions=True)
    times.sort()
    busiest, left = 0, 0
    for right, at in enumerate(times):
        while times[left] <= at - 1:
            left += 1
        busiest = max(busiest, right - left + 1)
    steady = [at for at in times if 3 <= at < seconds]
    whole = sorted(count for name, count in counts.items() if "'" not in name and name in crew)
    mean = sum(whole) / len(whole)
    print(
        f"{workers:>5} workers, {rate:>6,} a second, clock +-{skew:g} s a second, {crashed} crashes: "
        f"{len(steady) / (rate * (seconds - 3)):.1%} used, busiest second {busiest / rate:.0%}, each worker "
        f"{whole[0] / mean - 1:+.0%} to {whole[-1] / mean - 1:+.0%}, {server.asked / seconds:,.0f} questions a second",
        flush=True,
    )


def fleets():
    """Run the fleets."""
    print("\na fleet on virtual time, an answer of the store in 5 ms")
    for workers, rate, seconds, skew in (
        (200, 1_000, 20, 0.0),
        (200, 1_000, 20, 0.05),
        (200, 100, 100, 0.0),
        (1_000, 167, 60, 0.0),
    ):
        run_virtually(fleet(workers, rate, seconds, MemoryServer("5ms"), skew))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whole = ["steady", "exact", "kills", "restart", "slow"]
    parser.add_argument("--part", choices=["all", *whole, "permits", "fleet"], default="all")
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    if given.part in {"all", *whole}:
        header()
        asyncio.run(jobs(given.part, given.seconds))
    if given.part in {"all", "permits"}:
        asyncio.run(permits(min(given.seconds, 5)))
    if given.part in {"all", "fleet"}:
        fleets()
