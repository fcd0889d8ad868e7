"""A provider of batches without a network: the embedded one's machine, that may die or fail at any of its calls."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

from sluiceway.batch.batch_api import PartLimits, PartStore, Task, split
from sluiceway.batch.batch_api.driving import Driver
from sluiceway.batch.batch_api.provider import KEY
from sluiceway.batch.batch_api.sink import FileSink
from sluiceway.batch.paths import Paths
from sluiceway.simulator import batch_wire
from sluiceway.simulator.batches import Batches
from sluiceway.simulator.behaviour import Behaviour
from sluiceway.simulator.files import Files
from sluiceway.simulator.service import Service

UNIX = 1_700_000_000


class Killed(BaseException):
    """The process died."""


class Account:
    """What the provider knows: it outlives the runs. Its clock is the event loop's, plus the runs before."""

    def __init__(self, **settings):
        self.service = Service(Behaviour.of(seed=1, **settings), 0.0)
        self.batches = Batches(self.service)
        self.files = Files()
        self.earlier = 0.0
        self.shown = False

    def now(self):
        return self.earlier + asyncio.get_running_loop().time()

    @property
    def ledger(self):
        return self.service.books.snapshot(0.0)


class ProviderOfBatches:
    """The calls of `BatchApi`. The call number *dies_at* does its work or not, and then raises *error*."""

    def __init__(self, account, dies_at=None, works=True, error=Killed):
        self.account, self.dies_at, self.works, self.error = account, dies_at, works, error
        self.calls = []

    async def _do(self, name, work):
        self.calls.append(name)
        dies = len(self.calls) == self.dies_at
        result = work() if self.works or not dies else None
        if dies:
            raise self.error()
        return result

    async def upload(self, path):
        content = path.read_bytes()
        return await self._do("upload", lambda: self.account.files.add(content, path.name, "batch", UNIX).id)

    async def create(self, part):
        def work():
            stored = self.account.files.find(part.input_file)
            made = self.account.batches.create(
                self.account.now(), UNIX + int(self.account.now()), stored, part.endpoint, {KEY: part.key}
            )
            return self._shown(made)

        return await self._do("create", work)

    async def find(self, key):
        def work():
            all_of_them = self.account.batches.newest_first(self.account.now())
            return next((self._shown(batch) for batch in all_of_them if batch.metadata.get(KEY) == key), None)

        return await self._do("find", work)

    async def retrieve(self, name):
        return await self._do("retrieve", lambda: self._shown(self.account.batches.find(self.account.now(), name)))

    async def download(self, file, path):
        await self._do("download", lambda: path.write_bytes(self.account.files.find(file).content))

    async def delete(self, file):
        await self._do("delete", lambda: self.account.files.remove(file))

    def _shown(self, batch):
        now = self.account.now()
        if batch.outcomes is not None and batch.output_file_id is None:
            answered, other = batch_wire.output_lines(batch, self.account.service.behaviour)
            batch.output_file_id = self.account.files.add(answered, "out", "batch_output", UNIX).id
            batch.error_file_id = self.account.files.add(other, "err", "batch_output", UNIX).id if other else None
        return _object(batch_wire.batch_object(batch, now))


def _object(data):
    if isinstance(data, dict):
        fields = {name: value if name == "metadata" else _object(value) for name, value in data.items()}
        return SimpleNamespace(**fields)
    return [_object(each) for each in data] if isinstance(data, list) else data


async def tasks(count, models=("gpt-4o-mini",)):
    """Yield so many rows."""
    for n in range(count):
        body = {"model": models[n % len(models)], "messages": [{"role": "user", "content": f"{n:040d}"}]}
        yield Task(f"id-{n}", n, body, line=n + 1, row={"id": f"id-{n}", "prompt": f"{n:040d}"})


def text(body):
    """Return the answer in a response's body."""
    return body["choices"][0]["message"]["content"]


async def run_once(folder, api, count, *, limits=None, models=("gpt-4o-mini",), stop=None, hear=lambda _: None):
    """Do what a run does, in *folder*: take up what is there, else split; then drive to the end."""
    paths = Paths.of(folder / "answers.jsonl")
    store, limits = PartStore.beside(paths.results), limits or PartLimits(requests=10)
    async with FileSink(paths) as sink:
        if not store.load():
            left = [task async for task in tasks(count, models) if not sink.knows(task.id)]
            await split(_each(left), store, limits)
        driver = Driver(api, store, sink, limits=limits, output=text, price=lambda *_: 2.0, poll="20s", hear=hear)
        return await driver.run(stop)


async def _each(items):
    for item in items:
        yield item


def written(folder):
    """Return the rows and the dead letters in *folder*."""
    paths = Paths.of(folder / "answers.jsonl")
    return [
        [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        for path in (paths.results, paths.dead)
    ]
