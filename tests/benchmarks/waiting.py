"""What waiting costs: CPU an acquire of a waiting room, beside a bare task with a future, on virtual time."""

import asyncio
import gc
import random
import statistics
import time

from rounds import pin, ratio

from sluiceway.admission import WaitingRoom
from sluiceway.algorithms.token_buckets import TokenBuckets
from sluiceway.queues import Fifo
from sluiceway.testing import VirtualTimeLoop

ROUNDS = {1_000: 40, 100_000: 5}


async def baseline(n):
    """*n* tasks that each wait for a future of their own."""
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(n)]

    async def wait(i):
        await futures[i]

    tasks = [loop.create_task(wait(i)) for i in range(n)]
    await asyncio.sleep(0)
    for future in futures:
        future.set_result(None)
    await asyncio.wait(tasks)


async def waiting(n, rate, cancelled=()):
    """*n* tasks that each take one request and 100 tokens; *cancelled* of them leave the queue again."""
    loop = asyncio.get_running_loop()
    room = WaitingRoom(TokenBuckets([(rate, 1.0), (rate * 100, 1.0)]), Fifo().open(), slack=0.01)
    order = []

    async def wait(i):
        costs = (1.0, 100.0)
        if not room.try_acquire(costs, loop.time()):
            await room.wait(costs, loop)
        order.append(i)

    tasks = [loop.create_task(wait(i)) for i in range(n)]
    await asyncio.sleep(0)
    for i in cancelled:
        tasks[i].cancel()
    await asyncio.wait(tasks)
    assert order == sorted(order), "somebody was passed"
    assert not room.queue, "somebody was left"


def measure(make, n):
    """Return the CPU microseconds an acquire."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        gc.collect()
        gc.disable()
        started = time.process_time_ns()
        runner.run(make())
        taken = time.process_time_ns() - started
        gc.enable()
    return taken / n / 1e3


def main():
    print("\nWaiting, us CPU an acquire on virtual time (at most 2.2 times a bare task with a future)")
    print(f"{'waiters':>10} {'task + future':>14} {'requests+tokens':>16} {'ratio':>6} {'half cancelled':>15}")
    for n, rate in ((1_000, 200), (100_000, 50_000)):
        half = random.Random(1).sample(range(n), n // 2)
        bare, ours, left = [], [], []
        for _ in range(ROUNDS[n]):
            bare.append(measure(lambda n=n: baseline(n), n))
            ours.append(measure(lambda n=n, rate=rate: waiting(n, rate), n))
            left.append(measure(lambda n=n, rate=rate, half=half: waiting(n, rate, half), n))
        medians = [statistics.median(values) for values in (bare, ours, left)]
        print(f"{n:>10,} {medians[0]:>14.2f} {medians[1]:>16.2f} {ratio(ours, bare):>6.2f} {medians[2]:>15.2f}")


pin()
main()
