"""One worker of `shared_limits.py`, in a process of its own: reads its orders from argv, prints one line of JSON."""

import asyncio
import json
import sys
import time

from sluiceway import rate_limited
from sluiceway.backends.redis import RedisStore
from sluiceway.events import StoreChanged
from sluiceway.providers.openai import client as make_client
from sluiceway.telemetry.hub import listen

PROMPT = "word " * 38  # about 50 tokens by the server's count


async def ready(order):
    """Say so, hear when to start and to end, and wait for the start."""
    print(json.dumps({"ready": True}), flush=True)
    order.update(json.loads(await asyncio.to_thread(sys.stdin.readline)))
    await asyncio.sleep(max(0.0, order["start"] - time.time()))


async def calls(order):
    """Keep so many calls going until the end; return how many were answered."""
    store = RedisStore(order["redis"], prefix=order["prefix"], **order.get("store", {}))
    limiter = rate_limited(**order["limits"], store=store)
    answered = failed = away = 0

    def hear(event):
        nonlocal away
        away += type(event) is StoreChanged and event.state == "away"

    listen(hear)
    async with store, make_client(base_url=order["base_url"], api_key="sim") as client:

        @limiter
        async def ask(text):
            return await client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": text}], max_tokens=order["max_tokens"]
            )

        async def one(number):
            nonlocal answered, failed
            turn = 0
            while time.time() < order["end"]:
                turn += 1
                try:
                    await ask(f"{order['name']} {number} {turn} {PROMPT}")
                    answered += order["from"] <= time.time() < order["end"]
                except Exception:  # noqa: BLE001 - counted
                    failed += 1

        await ready(order)
        tasks = [asyncio.create_task(one(number)) for number in range(order["concurrency"])]
        await asyncio.sleep(order["end"] - time.time())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"name": order["name"], "answered": answered, "failed": failed, "away": away}


async def ours(order):
    """Return a function that takes a permit of ours, and what ends it."""
    store = RedisStore(order["redis"], prefix=order["prefix"], block=order["block"])

    @rate_limited(rps=1e6, slack=0, store=store)
    async def take():
        pass

    return take, store.aclose


async def of_limits(order):
    """Return the same of `limits`."""
    from limits import RateLimitItemPerSecond
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import FixedWindowRateLimiter

    storage = RedisStorage(order["redis"].replace("redis://", "async+redis://"), implementation="redispy")
    limiter, item = FixedWindowRateLimiter(storage), RateLimitItemPerSecond(1_000_000)

    async def take():
        assert await limiter.hit(item, "key")

    return take, None


async def of_throttled(order):
    """Return the same of `throttled-py`."""
    from throttled.asyncio import RedisStore as Theirs
    from throttled.asyncio import Throttled, per_sec

    limiter = Throttled(key="key", using="token_bucket", quota=per_sec(1_000_000), store=Theirs(order["redis"]))

    async def take():
        assert not (await limiter.limit()).limited

    return take, None


async def of_pyrate(order):
    """Return the same of `pyrate-limiter`."""
    from pyrate_limiter import Limiter, Rate, RedisBucket
    from redis.asyncio import Redis

    bucket = await RedisBucket.init([Rate(1_000_000, 1_000)], Redis.from_url(order["redis"]), "pyrate")
    limiter = Limiter(bucket)

    async def take():
        assert await limiter.try_acquire_async("key", blocking=False)

    return take, None


async def permits(order):
    """Take permits as fast as they come; return how many."""
    make = {"limits": of_limits, "throttled-py": of_throttled, "pyrate-limiter": of_pyrate}.get(order["who"], ours)
    take, close = await make(order)
    await take()
    await ready(order)
    taken = 0

    async def one():
        nonlocal taken
        while time.time() < order["end"]:
            await take()
            taken += 1

    await asyncio.gather(*[one() for _ in range(order["concurrency"])])
    if close is not None:
        await close()
    return {"taken": taken}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run({"calls": calls, "permits": permits}[given["job"]](given))), flush=True)
