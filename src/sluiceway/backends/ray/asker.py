"""What Ray Data makes an actor of: threads that hand packs to one event loop."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluiceway.backends.memory import MemoryStore
from sluiceway.backends.ray.packs import Pack
from sluiceway.backends.ray.store import RayStore
from sluiceway.backends.ray.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.backends.ray.desk import Ack, Ending, Line, Report
    from sluiceway.backends.ray.work import Work
    from sluiceway.batch.rows import Id
    from sluiceway.sharing.store import SharedStore


class RemoteDesk:
    """The desk, as an actor sees it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def begin(self, pack: int, rows: Sequence[tuple[Id | None, int]]) -> list[int]:
        """Begin a pack."""
        told: list[int] = await self._handle.begin.remote(pack, rows)
        return told

    async def write(self, lines: Sequence[Line]) -> Ack:
        """Write lines."""
        ack: Ack = await self._handle.write.remote(lines)
        return ack

    async def report(self, actor: str, report: Report) -> Ending:
        """Tell how the actor is."""
        ending: Ending = await self._handle.report.remote(actor, report)
        return ending


class Asker:
    """One actor. Ray calls it with a pack in each of its threads; all of them are asked in one event loop.

    Args:
        work: what is asked, as bytes of Ray's own pickling: functions of a script are in them, those of modules are
            imported.
        path: where the driver imports from; what of it is here too is looked through last.
        desk: the handle of the desk.
        books: the handle of the store's books; unused with a Redis.
    """

    def __init__(self, work: bytes, path: list[str], desk: Any, books: Any) -> None:
        sys.path += [each for each in path if each not in sys.path and Path(each).is_dir()]
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="sluiceway", daemon=True).start()
        self._worker = self._do(self._begin(pickle.loads(work), desk, books))  # noqa: S301 - from the driver

    async def _begin(self, work: Work, desk: Any, books: Any) -> Worker:
        worker = Worker(work, store_of(work.store, books), RemoteDesk(desk))
        worker.start()
        return worker

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """Ask about the rows of each pack of *batch*, and return how many these were."""
        done = [self._do(self._worker.take(Pack.from_bytes(bytes(data)))) for data in batch["pack"]]
        return {"rows": [each.rows for each in done], "pending": [each.pending for each in done]}


def store_of(url: str | None, books: Any) -> SharedStore:
    """Return the store at *url*; without one that of *books*, and without these one that nobody shares."""
    if url is not None:
        from sluiceway.backends.redis import RedisStore  # noqa: PLC0415 - an extra

        return RedisStore(url)
    return MemoryStore() if books is None else RayStore(books)
