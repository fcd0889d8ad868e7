"""Functions that open or generate streams through layers, and ways to read them; shared by the tests of streams."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from contextvars import ContextVar

from sluiceway.binding import bind
from sluiceway.layer import Layer
from sluiceway.testing.virtual_time import VirtualTimeLoop
from spies import Stream


def made_by(*layers, streams=None, **shape):
    """Return a bound function that opens streams of *shape*, and the list of those it opened."""
    opened = []

    async def ask():
        stream = streams[len(opened)]() if streams else Stream(**shape)
        opened.append(stream)
        return stream

    return bind(ask, layers), opened


def held(bound):
    return bound.snapshot()[0].in_flight


async def read(stream):
    """Read to the end in whatever task this runs in; return the items and how it ended."""
    got = []
    try:
        async for item in stream:
            got.append(item)  # noqa: PERF401 - what came before the error counts
    except (Exception, CancelledError) as error:  # noqa: BLE001 - the test looks at it
        return got, type(error)
    return got, None


async def some_rounds(count=10):
    for _ in range(count):
        await asyncio.sleep(0)


async def anext_of(stream):
    return await anext(stream)


def counting(*layers, n=3, fail_at=None, error=None, hang_at=None, log=None):
    """Return a bound async generator function of *n* items; *log* hears when it is closed."""

    async def ask():
        try:
            for number in range(1, n + 1):
                if number - 1 == fail_at:
                    raise error
                if number - 1 == hang_at:
                    await asyncio.get_running_loop().create_future()
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            if log is not None:
                log.append("closed")

    return bind(ask, layers)


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


var: ContextVar[str] = ContextVar("var", default="outside")


class Setter(Layer):
    """Holds a contextvar token across `proceed`, as the guide forbids and others will do."""

    async def handle(self, call, proceed):
        token = var.set("inside")
        try:
            return await proceed(call)
        finally:
            var.reset(token)
