"""Functions that meet a time limit in every way there is; for comparing a limit of ours with asyncio's own."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, get_running_loop, sleep


async def quick():
    await sleep(0.001)
    return "v"


async def slow():
    await sleep(1)


async def swallow():
    try:
        await sleep(1)
    except CancelledError:
        return "swallowed"


async def other():
    try:
        await sleep(1)
    except CancelledError:
        raise ValueError("other") from None


async def long_clean_up():
    try:
        await sleep(1)
    finally:
        await sleep(0.03)


async def ready_in_the_tick():
    loop = get_running_loop()
    future = loop.create_future()
    loop.call_at(loop.time() + 0.02, future.set_result, "ready")
    await sleep(0)
    return await future


def by_asyncio(seconds, function):
    async def limited():
        async with asyncio.timeout(seconds):
            return await function()

    return limited
