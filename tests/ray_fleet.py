"""Workers and a desk as on Ray, in one process and on virtual time; a worker can die."""

from __future__ import annotations

import asyncio
import contextlib

from sluiceway import Pipeline
from sluiceway.backends.memory import MemoryStore
from sluiceway.backends.ray.desk import Desk
from sluiceway.backends.ray.packs import packs_of
from sluiceway.backends.ray.work import Work
from sluiceway.backends.ray.worker import Worker
from sluiceway.batch import Paths, read_dead_letters, read_results
from sluiceway.batch.durability import Durability
from sluiceway.batch.settings import Settings
from sluiceway.batch.sources import open_source


def packed(rows, size=5):
    """Return *rows* in packs. It is called before a loop runs: a read task of Ray's has none."""
    return list(packs_of(open_source(rows), size))


def work_of(ask, pipeline=lambda _store: Pipeline(), **settings):
    return Work(ask, pipeline, None, "prompt", {}, Settings.of(**settings), "batch", None, None)


class Wire:
    """What is between a worker and the desk; nothing gets through when it is cut."""

    def __init__(self, desk):
        self._desk = desk
        self.cut = False

    async def _through(self, method, *given):
        if self.cut:
            await asyncio.get_running_loop().create_future()
        return await getattr(self._desk, method)(*given)

    async def begin(self, pack, rows):
        return await self._through("begin", pack, rows)

    async def write(self, lines):
        return await self._through("write", lines)

    async def report(self, actor, report):
        return await self._through("report", actor, report)


class Actor:
    """One worker, which may die and be started anew, as Ray does it: what it had taken is given to it again."""

    def __init__(self, work, desk):
        self._work = work
        self._desk = desk
        self._start()

    def _start(self):
        self._died = asyncio.Event()
        self.wire = Wire(self._desk)
        self.worker = Worker(self._work, MemoryStore(), self.wire)
        self.worker.start()

    async def take(self, pack):
        while True:
            died = asyncio.ensure_future(self._died.wait())
            taking = asyncio.ensure_future(self.worker.take(pack))
            try:
                await asyncio.wait([died, taking], return_when=asyncio.FIRST_COMPLETED)
                if taking.done():
                    return taking.result()
            finally:
                died.cancel()
                taking.cancel()

    async def die(self):
        """Die with all that is under way, and come back."""
        died, running = self._died, self.worker._running
        self.wire.cut = True
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        self._start()
        died.set()

    async def close(self):
        await self.worker.close()


class Fleet:
    """Actors that share a desk whose files are in *folder*."""

    def __init__(self, folder, work, actors=2):
        self.paths = Paths.of(folder / "answers.jsonl")
        self.desk = Desk(self.paths, Durability(), 0.0)
        self.actors = [Actor(work, self.desk) for _ in range(actors)]

    async def run(self, packs, at_a_time=3):
        """Have all *packs* done; return what became of each."""
        waiting = list(enumerate(packs))[::-1]
        done = {}

        async def keep_busy(actor):
            while waiting:
                number, pack = waiting.pop()
                done[number] = await actor.take(pack)

        await asyncio.gather(*(keep_busy(actor) for actor in self.actors for _ in range(at_a_time)))
        return [done[number] for number in sorted(done)]

    async def close(self):
        for actor in self.actors:
            await actor.close()
        await self.desk.close()

    def answers(self):
        return sorted((str(row.id), row.output) for row in read_results(self.paths.results))

    def letters(self):
        return sorted((letter.index, letter.error.type) for letter in read_dead_letters(self.paths.dead))
