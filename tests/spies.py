"""Stand-ins that see what a layer, a reader and a provider see; shared by the tests of the core."""

from __future__ import annotations

import asyncio
from collections import Counter

from sluiceway.layer import Layer
from sluiceway.running import switch


class Stream:
    """Reads like openai's `AsyncStream`: `__anext__`, an async `close`, a `.response`; closing takes a step."""

    def __init__(self, n=3, *, gap=0.0, fail_at=None, error=None, hang_at=None):
        self.response = "the response"
        self.closed = False
        self.delivered = 0
        self._n = n
        self._gap = gap
        self._fail_at = fail_at
        self._error = error
        self._hang_at = hang_at

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.delivered == self._fail_at:
            raise self._error
        if self.delivered == self._hang_at:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self._gap)
        if self.delivered >= self._n:
            raise StopAsyncIteration
        self.delivered += 1
        return self.delivered

    async def close(self):
        self.closed = True
        await asyncio.sleep(0)


class Spy(Layer):
    """Notes how each call leaves it; its own clean-up awaits, on purpose."""

    def __init__(self):
        self.log = []
        self.errors = []
        self.inside = 0

    async def handle(self, call, proceed):
        self.inside += 1
        self.log.append("enter")
        try:
            result = await proceed(call)
        except BaseException as error:
            self.log.append(type(error).__name__)
            self.errors.append(error)
            raise
        else:
            self.log.append("value")
            return result
        finally:
            self.inside -= 1
            await asyncio.sleep(0)


class Within(Layer):
    """A time limit, as a layer of somebody else's would write it."""

    def __init__(self, limit):
        self.limit = limit

    async def handle(self, call, proceed):
        with call.within(self.limit):
            return await proceed(call)


class Again(Layer):
    """Repeats what failed, as long as no item is out; what a retry is to a stream."""

    def __init__(self, times=5, pause=0.0, on=Exception):
        self.times = times
        self.pause = pause
        self.on = on

    async def handle(self, call, proceed):
        for number in range(1, self.times):
            try:
                return await proceed(call.again(number))
            except self.on:
                if call.run.emitted:
                    raise
            await asyncio.sleep(self.pause)
        return await proceed(call.again(self.times))


class Passing(Layer):
    """Does nothing; as many as you like may be the same object."""

    stateful = False

    async def handle(self, call, proceed):
        return await proceed(call)


class Observed:
    """Hears every event of every call while it is entered; see `observed`."""

    def __init__(self):
        self.events = []

    def of(self, kind):
        return [event for event in self.events if type(event) is kind]

    def counts(self):
        return Counter(type(event).__name__ for event in self.events)

    def __enter__(self):
        self._before = switch.observe
        switch.observe = self._listen
        return self

    def __exit__(self, *exc):
        switch.observe = self._before

    def _listen(self, run, call):
        run.sink = self.events.append
        run.listening = run.counted = True
