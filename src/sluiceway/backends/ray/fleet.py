"""The actors of one run: those who ask, the desk, and the books of their store."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sluiceway.backends.ray.asker import Asker
from sluiceway.backends.ray.desk import Desk
from sluiceway.backends.ray.reading import dataset_of
from sluiceway.backends.ray.store import Books
from sluiceway.batch.target import ROWS_UNDER_WAY

if TYPE_CHECKING:
    from sluiceway.backends.ray.desk import News
    from sluiceway.backends.ray.reading import Reading
    from sluiceway.backends.ray.work import Work
    from sluiceway.batch.paths import Paths
    from sluiceway.batch.verdicts import Stop

_CALLS: Final = 10_000  # of the desk and the books at a time: each waits for little but its turn
_FOR_EVER: Final = -1


@dataclass(frozen=True, slots=True)
class Size:
    """How many actors ask, and what Ray is to keep free for each."""

    actors: int
    cpus: float


class Fleet:
    """Starts the actors, lets them work until the source is at its end or nothing more is wanted, and ends them.

    Args:
        ray, data: the modules.
        work: what is asked.
        reading: of the source.
        paths: absolute, on the machine of this process.
        size: of it.

    Attributes:
        rows, pending: of the packs that came back; see `Done`.
        exhausted: whether the source was read to its end.
    """

    def __init__(self, ray: Any, data: Any, work: Work, reading: Reading, paths: Paths, size: Size) -> None:
        self._ray = ray
        here = {_resource_of_this_node(ray): 0.001}
        lasting = {"num_cpus": 0, "max_restarts": _FOR_EVER, "max_task_retries": _FOR_EVER, "max_concurrency": _CALLS}
        settings = work.settings
        desk = ray.remote(Desk).options(resources=here, **lasting)
        self._desk = desk.remote(paths, settings.durability, settings.disk_patience)
        self._books = None
        if work.store is None:
            self._books = ray.remote(Books).options(resources=here, **lasting).remote()
        packs = math.ceil((settings.rows_under_way or ROWS_UNDER_WAY) / reading.size)
        strategy = data.ActorPoolStrategy(
            size=size.actors,
            max_tasks_in_flight_per_actor=packs,
            max_concurrent_calls_per_actor=packs,
            enable_true_multi_threading=True,
        )
        self._dataset = dataset_of(data, reading, here).map_batches(
            Asker,
            fn_constructor_args=(ray.cloudpickle.dumps(work), sys.path, self._desk, self._books),
            batch_size=None,
            batch_format="numpy",
            compute=strategy,
            num_cpus=size.cpus,
        )
        self._enough = threading.Event()
        self.rows = 0
        self.pending = 0
        self.exhausted = False

    async def work(self) -> None:
        """Return when all packs came back, or after `leave`.

        Raises:
            Exception: Ray's, if an actor cannot be made or fails.
        """
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def finish(error: Exception | None) -> None:
            if not over.done():
                over.set_result(None) if error is None else over.set_exception(error)

        def consume() -> None:
            error = None
            try:
                self._consume()
            except Exception as problem:  # noqa: BLE001 - raised where it is awaited
                error = problem
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(finish, error)

        # A thread of its own, which no end of a program waits for: it blocks for as long as Ray says nothing.
        threading.Thread(target=consume, name="sluiceway ray", daemon=True).start()
        await over

    def _consume(self) -> None:
        batches = self._dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0)
        for batch in batches:
            self.rows += int(batch["rows"].sum())
            self.pending += int(batch["pending"].sum())
            if self._enough.is_set():
                return
        self.exhausted = True

    def leave(self) -> None:
        """Take no more packs back."""
        self._enough.set()

    async def stop(self, stop: Stop, *, at_once: bool = False) -> None:
        """Let all actors finish what is at the provider, or not even that; what is answered is written."""
        await self._desk.stop.remote(stop, at_once=at_once)

    async def news(self) -> News:
        """Return how the run is."""
        news: News = await self._desk.news.remote()
        return news

    async def close(self) -> None:
        """Close the files, and end the desk and the books."""
        try:
            await self._desk.close.remote()
        finally:
            for actor in (self._desk, self._books):
                if actor is not None:
                    self._ray.kill(actor)


def _resource_of_this_node(ray: Any) -> str:
    """Return the name of what only the machine of this process offers: there are its files."""
    this = ray.get_runtime_context().get_node_id()
    return next(f"node:{node['NodeManagerAddress']}" for node in ray.nodes() if node["NodeID"] == this)


def absolute(paths: Paths) -> Paths:
    """Return *paths* as a process finds them that works in another folder."""
    found = {name: getattr(paths, name).absolute() for name in ("results", "dead", "manifest", "lock", "parts")}
    return replace(paths, **found)
