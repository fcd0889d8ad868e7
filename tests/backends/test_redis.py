"""RedisStore against a real Redis: processes that die, a server that dies, hangs and comes back."""

import asyncio
import contextlib
import json
import signal
import sys
import textwrap
import time

import pytest

from real_redis import RealRedis, needs_redis
from sluiceway.backends.redis import RedisStore
from sluiceway.errors import MissingExtra
from sluiceway.layers.bounded import bounded
from sluiceway.layers.budgeted import budgeted
from sluiceway.layers.circuit_breaker import circuit_breaker
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.testing import ScriptedProvider, completion

pytestmark = [pytest.mark.real, needs_redis]


class Processes:
    """Python processes that run a piece of code with a store, and print what they did, line by line."""

    def __init__(self, url):
        self.url = url
        self.running = []

    async def start(self, code, **names):
        program = f"import asyncio, json, sys, time\nfrom sluiceway import *\n{textwrap.dedent(code)}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, json.dumps({"url": self.url, **names}),
            stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.running.append(process)
        return process

    async def end(self):
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


@pytest.fixture
async def processes(redis_server):
    found = Processes(redis_server.url)
    yield found
    await found.end()


WORKER = """
    from sluiceway.backends.redis import RedisStore
    given = json.loads(sys.argv[1])
    async def main():
        store = RedisStore(given["url"], prefix=given["prefix"])
        times = []
        @rate_limited(rps=given["rps"], tpm=60_000, tokens=lambda call: 200, store=store)
        async def ask():
            times.append(time.time())
        async def one():
            while time.time() < given["end"]:
                await ask()
        async with store:
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            given["end"] = time.time() + given["seconds"]
            tasks = [asyncio.create_task(one()) for _ in range(10)]
            await asyncio.sleep(given["seconds"])
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        print(json.dumps(times), flush=True)
    asyncio.run(main())
"""


async def test_processes_share_one_limit_and_a_kill_costs_the_others_nothing(processes):
    """Four of them, one is killed; requests and tokens together stay inside the limit, and it is used."""
    prefix = f"kill-{time.time()}"
    crew = [await processes.start(WORKER, prefix=prefix, rps=50, seconds=4) for _ in range(4)]
    for process in crew:
        await process.stdout.readline()
    for process in crew:
        process.stdin.write(b"go\n")
    await asyncio.sleep(1.5)
    crew[0].send_signal(signal.SIGKILL)
    times = []
    for process in crew[1:]:
        times += json.loads((await process.communicate())[0].splitlines()[-1])
    times.sort()
    most = max(sum(at <= other < at + 1 for other in times) for at in times)
    # 1,000 tokens a second are five calls, and what the bucket holds is less than another five.
    assert most <= 5 + 4 + 2
    assert len([at for at in times if at > times[-1] - 2]) >= 2 * 5 * 0.6


async def test_a_server_that_is_gone_or_hangs_holds_up_no_call(redis_server):
    """Every operation has its time limit; afterwards the process goes on with its share, and then with the server."""
    with RealRedis() as server:
        store = RedisStore(server.url, prefix="away", timeout="300ms", lease="5s")
        limiter = rate_limited(rps=200, store=store)
        ask = limiter(ScriptedProvider(1))
        await ask()
        server.freeze()
        began = time.monotonic()
        for _ in range(60):
            await ask()
        assert time.monotonic() - began < 10.0  # without its time limit, for ever
        assert limiter.snapshot()[0].shared.store == "away: no answer within 0.3 s"
        server.thaw()
        server.stop()
        for _ in range(20):
            await ask()
        server.start()
        async with asyncio.timeout(10):
            while limiter.snapshot()[0].shared.store != "connected":
                await ask()
        await store.aclose()


async def test_a_dead_process_frees_its_places(processes):
    """When its lease is over."""
    prefix = f"places-{time.time()}"
    holder = await processes.start(
        """
        from sluiceway.backends.redis import RedisStore
        given = json.loads(sys.argv[1])
        async def main():
            store = RedisStore(given["url"], prefix=given["prefix"], lease="1.5s", timeout="500ms")
            @bounded(2, store=store)
            async def hold():
                print("inside", flush=True)
                await asyncio.sleep(60)
            await asyncio.gather(hold(), hold())
        asyncio.run(main())
        """,
        prefix=prefix,
    )
    await holder.stdout.readline()
    await holder.stdout.readline()
    store = RedisStore(processes.url, prefix=prefix, lease="1.5s", timeout="500ms")
    ask = bounded(2, store=store)(ScriptedProvider(1))
    waiting = asyncio.create_task(ask())
    await asyncio.sleep(0.5)
    assert not waiting.done()
    holder.kill()
    async with asyncio.timeout(5):
        await waiting
    await store.aclose()


async def test_all_layers_work_with_it_and_leave_nothing_without_an_expiry(redis_server):
    """Keys are the prefix's, and none stays for ever."""
    from redis.asyncio import Redis

    prefix = f"all-{time.time()}"
    async with RedisStore(redis_server.url, prefix=prefix) as store:
        answer = ScriptedProvider(completion(prompt_tokens=60, completion_tokens=40))
        for layer in (
            rate_limited(rps=50, in_flight=3, store=store),
            rate_limited(rps=50, algorithm="sliding_window", store=store),
            bounded(3, store=store),
            budgeted(tokens=5_000, count=lambda call: 100, store=store),
            circuit_breaker(store=store),
        ):
            await asyncio.gather(*[layer(answer)() for _ in range(5)])
    async with Redis.from_url(redis_server.url) as client:
        keys = [key async for key in client.scan_iter(match=f"*{prefix}*")]
        assert keys
        assert all([await client.ttl(key) > 0 for key in keys])


async def test_what_is_counted_for_a_day_outlives_a_layer_that_counts_for_less(redis_server):
    """Both are under one name: the shorter one does not have the longer one forgotten."""
    from redis.asyncio import Redis

    prefix = f"day-{time.time()}"
    async with RedisStore(redis_server.url, prefix=prefix) as store:
        for limits in ({"rps": 50, "rpd": 1_000}, {"rps": 50}):
            await rate_limited(**limits, store=store)(ScriptedProvider(1))()
    async with Redis.from_url(redis_server.url) as client:
        assert await client.ttl(f"{{{prefix}:}}:rate") > 86_400


def test_one_object_serves_one_loop_after_the_other_and_leaves_no_connection(redis_server):
    """Each `asyncio.run` has its own; warnings about what was left open would fail this test."""
    limiter = rate_limited(rps=500, store=RedisStore(redis_server.url, prefix=f"loops-{time.time()}"))

    async def some():
        await asyncio.gather(*[limiter(ScriptedProvider(1))() for _ in range(10)])

    for _ in range(3):
        asyncio.run(some())


def test_a_second_loop_at_the_same_time_is_refused(redis_server):
    """In words that say what to do: state of one loop cannot be woken from another."""
    limiter = rate_limited(rps=500, store=RedisStore(redis_server.url, prefix="threads"))

    async def outer():
        await limiter(ScriptedProvider(1))()
        with pytest.raises(RuntimeError, match="used by two event loops at the same time: make one for each loop"):
            await asyncio.to_thread(asyncio.run, limiter(ScriptedProvider(1))())
        await limiter(ScriptedProvider(1))()

    asyncio.run(outer())


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [(7, TypeError, "url must be a str"), ("http://x", ValueError, "url must begin with redis://")],
)
def test_addresses_that_are_none_are_refused(url, error, message):
    """Without showing what they hold: it may be a password."""
    with pytest.raises(error, match=message):
        RedisStore(url)


@pytest.mark.parametrize(
    "address",
    [
        "redis://:topsecret@h:port",
        "redis://:top#secret@localhost",
        "redis://:top/secret@h",
        "redis://:topsecret@h/0?db=x",
        "redis://:topsecret@h?no=1",
    ],
)
def test_an_address_that_leads_nowhere_is_refused_when_the_store_is_made(address):
    """Each process went on alone with the whole limit, as if Redis were away, and told parts of the password."""
    with pytest.raises(ValueError, match="url cannot be used") as caught:
        RedisStore(address)
    assert "top" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_option_that_redis_does_not_have_is_refused_by_its_name():
    """As above: it was found at the first call, in the background."""
    with pytest.raises(ValueError, match="unexpected keyword argument 'sockt_timeout'"):
        RedisStore("redis://localhost", sockt_timeout=3)
    with pytest.raises(ValueError, match="protocol"):
        RedisStore("redis://localhost", protocol=7)


async def test_what_the_server_says_is_told(redis_server):
    """Not only of which kind the error is."""
    store = RedisStore(f"{redis_server.url}/99", prefix="refused")
    limiter = rate_limited(rps=500, store=store)
    await limiter(ScriptedProvider(1))()
    assert "away: ResponseError('DB index is out of range')" == limiter.snapshot()[0].shared.store
    await store.aclose()


def test_its_repr_shows_no_password():
    """Only the prefix."""
    assert "RedisStore(prefix='p')" == repr(RedisStore("redis://:secret@localhost", prefix="p"))


def test_a_missing_library_is_named(monkeypatch):
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sluiceway\[redis\]'"):
        RedisStore("redis://localhost")
