"""What an order costs: CPU an acquire with 1,000 and 100,000 waiters, in each order, on virtual time.

The waiters' own tasks and futures are in it; they are what the first line is.
"""

import asyncio
import gc
import random
import statistics
import time
from types import SimpleNamespace

from rounds import pin

from sluiceway import Fair, Fifo, Priority
from sluiceway.admission import WaitingRoom
from sluiceway.algorithms.token_buckets import TokenBuckets
from sluiceway.call import Hints
from sluiceway.testing import VirtualTimeLoop

ROUNDS = 3
SIZES = (1_000, 100_000)
TENANTS = 1_000
ORDERS = {
    "Fifo()": Fifo(),
    "Priority()": Priority(),
    "Priority(aging=10)": Priority(aging=10),
    "Fair()": Fair(),
    "Priority(within=Fair())": Priority(within=Fair()),
}


def call(tenant, priority):
    """Return as much of a call as a room and a queue look at."""
    return SimpleNamespace(hints=Hints(priority, tenant), attempt=1, run=SimpleNamespace(impatient=False))


async def waiting(order, n, cancelled=()):
    """*n* tasks of a thousand tenants and three classes that each take one; *cancelled* leave the queue again."""
    loop = asyncio.get_running_loop()
    room = WaitingRoom(TokenBuckets([(n / 2, 1.0)]), order.open(), slack=0.02)
    rng = random.Random(1)
    calls = [call(str(rng.randrange(TENANTS)), rng.randrange(3)) for _ in range(n)]

    async def wait(i):
        if not room.try_acquire((1.0,), loop.time(), calls[i]):
            await room.wait((1.0,), loop, calls[i])

    tasks = [loop.create_task(wait(i)) for i in range(n)]
    await asyncio.sleep(0)
    for i in cancelled:
        tasks[i].cancel()
    await asyncio.wait(tasks)
    assert not room.queue, "somebody was left"


def measure(order, n, cancelled=()):
    """Return the median CPU microseconds an acquire over some rounds."""
    values = []
    for _ in range(ROUNDS):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            gc.collect()
            gc.disable()
            started = time.process_time_ns()
            runner.run(waiting(order, n, cancelled))
            values.append((time.process_time_ns() - started) / n / 1e3)
            gc.enable()
    return statistics.median(values)


def main():
    print("\nOrders, us CPU an acquire on virtual time (100,000 waiters at most 3 times as dear as 1,000)")
    print(f"{'':>26} {'all served':>24} {'half cancelled':>24}")
    print(f"{'order':>26}" + 2 * f"{'1,000':>9} {'100,000':>8} {'ratio':>6}")
    half = {n: random.Random(1).sample(range(n), n // 2) for n in SIZES}
    for name, order in ORDERS.items():
        few, many = (measure(order, n) for n in SIZES)
        left, gone = (measure(order, n, half[n]) for n in SIZES)
        row = "".join(f"{a:>9.2f} {b:>8.2f} {b / a:>6.2f}" for a, b in ((few, many), (left, gone)))
        print(f"{name:>26}{row}")


pin()
main()
