"""One actor's part of a batch: packs of rows in, their answers at the desk."""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from sluiceway.backends.ray.desk import Ending, Report
from sluiceway.backends.ray.feed import Feed
from sluiceway.backends.ray.poster import Poster
from sluiceway.batch.ids import ANSWERED, DEAD, SEEN
from sluiceway.batch.runner import Runner
from sluiceway.batch.scope import BatchSession
from sluiceway.batch.sources.row import Row
from sluiceway.batch.verdicts import Stop

if TYPE_CHECKING:
    from sluiceway.backends.ray.packs import Pack
    from sluiceway.backends.ray.poster import DeskLine
    from sluiceway.backends.ray.work import Work
    from sluiceway.batch.sources.row import Unread
    from sluiceway.events import ErrorRateHigh
    from sluiceway.sharing.store import SharedStore

_OFTEN: Final = 0.5  # seconds between two reports


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a pack: how many rows were looked at, and how many of them are to be asked by the next run."""

    rows: int
    pending: int


class Worker:
    """Asks about the rows of many packs at a time, with the runner that a batch in one process has too.

    Args:
        work: what is asked.
        store: what its layers share with other actors.
        desk: where its lines go.
    """

    def __init__(self, work: Work, store: SharedStore, desk: DeskLine) -> None:
        self.name = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._work = work
        self._desk = desk
        self._store = store
        self._feed = Feed(self._settled)
        self._poster = Poster(desk, self._settled, self._stopped)
        self._waiting: dict[int, _Part] = {}
        self._alerts = 0
        self._running: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._runner: Runner | None = None

    def start(self) -> None:
        """Begin to run, until `close` or the end of the batch.

        Raises:
            Exception: what is asked cannot be made; see `Work.target`.
        """
        self._target = self._work.target(self._store)
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        work = self._work
        alert_over = work.settings.alert_over
        session = BatchSession(work.name, prices=work.prices, on_alert=self._alert, error_rate_alert=alert_over)
        try:
            async with session:
                # The feed and the poster are asked by a runner what `KnownIds` and `Keeper` would be.
                ids, keeper = cast("Any", self._feed), cast("Any", self._poster)
                runner = self._runner = Runner(self._target, self._feed, keeper, ids, session, work.settings)
                self._ready.set()
                reporting = asyncio.create_task(self._report_often(runner))
                try:
                    await runner.run()
                    await self._poster.flush()
                finally:
                    reporting.cancel()
                    with contextlib.suppress(CancelledError):
                        await reporting
            await self._report(runner, drained=True)
        finally:
            await self._store.aclose()
            await self._target.close()

    async def take(self, pack: Pack) -> Done:
        """Return when every row of *pack* is settled, or when the batch ends.

        Raises:
            Exception: the machinery failed.
        """
        running = self._running
        assert running is not None
        if pack.failed is not None:
            self._stopped(Ending(Stop("source", pack.failed)))
        await self._until(self._ready.wait())
        if self._ending:
            await self._over()
            return Done(0, 0)
        told = await self._desk.begin(pack.key, [(_id(row), row.index) for row in pack.rows])
        open_rows = {row.index for row, marks in zip(pack.rows, told, strict=True) if _is_open(row, marks)}
        part = _Part(open_rows)
        self._waiting.update(dict.fromkeys(open_rows, part))
        self._feed.put(pack.rows, told)
        if open_rows:
            await self._until(part.settled.wait())
        for index in part.rows:
            self._waiting.pop(index, None)
        if self._runner is not None and not self._ending:
            await self._report(self._runner, drained=False)
        return Done(len(pack.rows), len(part.rows))

    async def _until(self, happens: Any) -> None:
        """Return when *happens* has, or the run is over."""
        assert self._running is not None
        waiting = asyncio.ensure_future(happens)
        try:
            await asyncio.wait([waiting, self._running], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._running.done():
            await self._over()

    async def _over(self) -> None:
        """Wait for the end of the run, and raise what broke it."""
        assert self._running is not None
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()

    @property
    def _ending(self) -> bool:
        return self._runner is None or self._runner.stopping is not None

    def _settled(self, index: int) -> None:
        part = self._waiting.pop(index, None)
        if part is not None:
            part.row(index)

    def _stopped(self, ending: Ending) -> None:
        if self._runner is not None and ending.stop is not None:
            self._runner.stop(ending.stop)
            if ending.at_once:
                self._runner.abort(ending.stop)

    def _alert(self, _event: ErrorRateHigh) -> None:
        self._alerts += 1

    async def _report_often(self, runner: Runner) -> None:
        while True:
            self._stopped(await self._report(runner, drained=False))
            await asyncio.sleep(_OFTEN)

    async def _report(self, runner: Runner, *, drained: bool) -> Ending:
        now = runner.progress()
        stats = now.stats.to_dict()
        report = Report(now.under_way, now.asking, dict(now.waiting), self._alerts, stats, runner.stopping, drained)
        return await self._desk.report(self.name, report)

    async def close(self) -> None:
        """End when all packs have ended, with the last numbers told."""
        self._feed.end()
        if self._running is not None:
            await asyncio.wait([self._running])


class _Part:
    """The rows of one pack that are not settled."""

    __slots__ = ("rows", "settled")

    def __init__(self, rows: set[int]) -> None:
        self.rows = rows
        self.settled = asyncio.Event()

    def row(self, index: int) -> None:
        """One is."""
        self.rows.discard(index)
        if not self.rows:
            self.settled.set()


def _id(row: Row | Unread) -> Any:
    return row.id if isinstance(row, Row) else None


def _is_open(row: Row | Unread, marks: int) -> bool:
    """Whether the runner will have something written about *row*, or find a dead letter that stands for it."""
    return not isinstance(row, Row) or bool(marks & SEEN) or not marks & (ANSWERED | DEAD)
