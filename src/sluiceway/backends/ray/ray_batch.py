"""One run of a batch on Ray: the driver's part."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sluiceway.backends.ray import cluster
from sluiceway.backends.ray.desk import News
from sluiceway.backends.ray.fleet import Fleet, absolute
from sluiceway.backends.ray.totals import total
from sluiceway.batch.errors import BatchError
from sluiceway.batch.one_run import Batch
from sluiceway.batch.outcome import BatchRun
from sluiceway.batch.progress import Progress
from sluiceway.batch.signals import Signals
from sluiceway.batch.verdicts import Stop
from sluiceway.telemetry.sketch import Latency

if TYPE_CHECKING:
    from sluiceway.backends.ray.fleet import Size
    from sluiceway.backends.ray.reading import Reading
    from sluiceway.backends.ray.work import Work
    from sluiceway.batch.ids import KnownIds
    from sluiceway.batch.keeping import Keeper
    from sluiceway.batch.known import Before
    from sluiceway.batch.paths import Paths
    from sluiceway.batch.sources.source import Source
    from sluiceway.batch.target import Target

_OFTEN: Final = 0.3  # seconds between two questions for news
_GRACE: Final = 10.0  # seconds beyond the drain
_NO_NEWS: Final = News(0, 0, Latency(), None, drained=False, reports=())


class RayBatch(Batch):
    """Locks, compares and records as every batch; has actors ask, and one of them write.

    Args:
        target: as the actors make it for themselves, for what is compared and recorded of it.
        source: the same.
        paths: of the batch.
        work: what the actors do.
        reading: how they get the rows.
        size: of the fleet.
        address: of the cluster; see `run`.
        watch: as in `batch.run`.
    """

    def __init__(
        self,
        target: Target,
        source: Source,
        paths: Paths,
        work: Work,
        reading: Reading,
        size: Size,
        address: str | None,
        watch: Any,
    ) -> None:
        super().__init__(target, source, paths, work.settings, work.name, work.prices, None, watch)
        self._work = work
        self._reading = reading
        self._size = size
        self._address = address
        self._fleet: Fleet | None = None
        self._news = _NO_NEWS
        self._at_once = False
        self._began = 0.0
        self._known = 0

    async def _run(self, keeper: Keeper, ids: KnownIds, known: Before) -> BatchRun:  # noqa: ARG002 - see `Batch`
        self._began = asyncio.get_running_loop().time()
        self._known = known.answered + known.dead
        ray = cluster.load()
        with cluster.connected(ray, self._address), cluster.context(ray) as data:
            fleet = self._fleet = Fleet(ray, data, self._work, self._reading, absolute(self._paths), self._size)
            try:
                with Signals(self._signalled):
                    async with contextlib.nullcontext() if self._watch is None else self._watch(self._progress):
                        await self._until_over(fleet)
                self._news = await fleet.news()
            finally:
                await fleet.close()
        return self._outcome(fleet, keeper, known)

    async def _until_over(self, fleet: Fleet) -> None:
        """Return when the actors are through, or have finished what they may after a stop."""
        working = asyncio.create_task(fleet.work())
        until: float | None = None
        try:
            while not (await asyncio.wait([working], timeout=_OFTEN))[0]:
                self._news = await fleet.news()
                if self._news.stop is None:
                    continue
                now = asyncio.get_running_loop().time()
                until = until or now + self._settings.drain + _GRACE
                if self._at_once:
                    until = min(until, now + _GRACE)
                if self._news.drained or now >= until:
                    fleet.leave()
                    if now >= until:
                        return
            working.result()
        except BatchError:
            raise
        except Exception as error:
            raise BatchError(f"the run on Ray broke off: {_last_line(error)}") from error
        finally:
            fleet.leave()
            working.cancel()

    def _signalled(self, number: int) -> None:
        assert self._fleet is not None
        name = signal.Signals(number).name
        self._at_once = self._signal is not None
        self._signal = self._signal or number
        stop = Stop("signal", f"{name}: what was in flight could finish, run it again for the rest")
        self._telling = asyncio.create_task(self._fleet.stop(stop, at_once=self._at_once))

    def _progress(self) -> Progress:
        news = self._news
        reports = news.reports
        waiting: Counter[str] = Counter()
        for report in reports:
            waiting.update(report.waiting)
        under_way = sum(report.under_way for report in reports)
        elapsed = asyncio.get_running_loop().time() - self._began
        read = self._known + news.answered + news.dead + under_way  # an actor's report may be half a second old
        total_rows = self._source.total
        return Progress(
            total=total_rows,
            share=None,
            read=read if total_rows is None else min(read, total_rows),
            before=self._known,
            answered=news.answered,
            dead=news.dead,
            under_way=under_way,
            asking=sum(report.asking for report in reports),
            waiting=MappingProxyType(+waiting),
            elapsed=elapsed,
            limits=self._target.limits,
            stats=total(self._work.name, elapsed, news.latency, [report.stats for report in reports]),
        )

    def _outcome(self, fleet: Fleet, keeper: Keeper, known: Before) -> BatchRun:
        news = self._news
        elapsed = asyncio.get_running_loop().time() - self._began
        settled = news.answered + news.dead
        rows = max(fleet.rows, settled + fleet.pending)
        return BatchRun(
            self._paths,
            rows=rows,
            before=rows - settled - fleet.pending,
            answered=news.answered,
            dead=news.dead,
            pending=fleet.pending,
            dead_in_all=known.dead + news.dead,
            complete=fleet.exhausted and news.stop is None and not fleet.pending,
            stopped=news.stop,
            signal=self._signal,
            alerts=sum(report.alerts for report in news.reports),
            repaired=keeper.repaired,
            elapsed=elapsed,
            stats=total(self._work.name, elapsed, news.latency, [report.stats for report in news.reports]),
        )


def _last_line(error: BaseException) -> str:
    """Return what is at the bottom of an error of Ray's, whose text is the traceback of the actor."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
