"""The one place where the answers of all actors are written down."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sluiceway.backends.ray.feed import BURIED
from sluiceway.batch.errors import BatchLocked
from sluiceway.batch.ids import ANSWERED, DEAD, SEEN, KnownIds, of_row
from sluiceway.batch.keeping import CannotWrite, Keeper
from sluiceway.batch.known import settled_in
from sluiceway.batch.lock import Lock
from sluiceway.batch.verdicts import Stop
from sluiceway.telemetry.sketch import Sketch, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluiceway.batch.durability import Durability
    from sluiceway.batch.paths import Paths
    from sluiceway.batch.rows import Id
    from sluiceway.telemetry.sketch import Latency

_LOCK_PATIENCE: Final = 30.0  # seconds that the desk of a run that was killed may take to die
_GONE: Final = 10.0  # seconds without a word after which nobody waits for an actor any more


class Line(NamedTuple):
    """A line for the results or the dead letters; see `Keeper.keep`."""

    key: Id | None
    mark: int
    line: bytes
    latency: float


class Ending(NamedTuple):
    """Why the run is to end, if it is, and whether at once: calls in flight are given up then."""

    stop: Stop | None = None
    at_once: bool = False


class Ack(NamedTuple):
    """What the desk says to lines: why they are not on disk (None: they are), and whether the run is to end."""

    failed: str | None
    ending: Ending


@dataclass(frozen=True, slots=True)
class Report:
    """How an actor is.

    Attributes:
        under_way, asking, waiting: as in `Progress`.
        alerts: how often its error rate became too high.
        stats: its numbers so far, as `Stats.to_dict` has them.
        stop: why it ends early.
        drained: whether nothing of it is under way any more, and nothing will be.
    """

    under_way: int = 0
    asking: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)
    alerts: int = 0
    stats: Mapping[str, Any] = field(default_factory=dict)
    stop: Stop | None = None
    drained: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """How the run is: what the driver asks for.

    Attributes:
        answered, dead: lines written in this run.
        latency: of the rows.
        stop: why it ends early; None if it does not.
        drained: whether all actors are.
        reports: the latest of each actor, those that died included.
    """

    answered: int
    dead: int
    latency: Latency
    stop: Stop | None
    drained: bool
    reports: tuple[Report, ...]


class Desk:
    """Keeps the results, the dead letters, and what is known of rows; the only one that writes.

    A row counts as done for its actor when the desk has said that its line is with the operating system of the
    driver's machine, so the death of an actor or of its machine loses no row that was done. Should the desk itself
    die, another takes its place: it reads what is in the files, and what was under way is told to it again; a line that
    comes twice is written once.

    Args:
        paths: of the batch.
        durability: see there.
        disk_patience: seconds that a full disk is waited for.
    """

    def __init__(self, paths: Paths, durability: Durability, disk_patience: float) -> None:
        self._paths = paths
        self._durability = durability
        self._patience = disk_patience
        self._ids = KnownIds()
        self._lock = Lock(paths.lock.with_name(f"{paths.lock.stem}.desk.lock"))
        self._opening: asyncio.Task[Keeper] | None = None
        self._writing: set[tuple[str, int]] = set()
        self._packs: set[int] = set()
        self._reports: dict[str, Report] = {}
        self._heard: dict[str, float] = {}
        self._latencies = Sketch()
        self._ending = Ending()

    async def _keeper(self) -> Keeper:
        """Return the files, opened on first use."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> Keeper:
        until = asyncio.get_running_loop().time() + _LOCK_PATIENCE
        while True:
            try:
                self._lock.__enter__()
                break
            except BatchLocked:
                if asyncio.get_running_loop().time() >= until:
                    raise
                await asyncio.sleep(0.2)
        keeper = Keeper(self._paths, self._ids, self._durability, self._patience)
        settled_in(self._paths.results, self._paths.dead, self._ids)
        return keeper

    async def begin(self, pack: int, rows: Sequence[tuple[Id | None, int]]) -> list[int]:
        """Return what is known of each row of the pack, before it is asked: marks of its id, and `BURIED`.

        `SEEN` is said of a row whose id another row has too. A pack that is begun again, since the actor died that had
        it, is told what of it is left.

        Args:
            pack: its key.
            rows: the id (None if the row could not be read) and the place of each.
        """
        await self._keeper()
        again = pack in self._packs
        self._packs.add(pack)
        return [self._told(id_, index, again=again) for id_, index in rows]

    def _told(self, id_: Id | None, index: int, *, again: bool) -> int:
        place = of_row(index)
        had = 0 if id_ is None else self._ids.mark(id_, SEEN)
        if had & SEEN and not again:
            self._ids.mark(place, SEEN)
        marks = self._ids.marks(place)
        known = SEEN if marks & SEEN else had & (ANSWERED | DEAD)
        return known | (BURIED if marks & DEAD else 0)

    async def write(self, lines: Sequence[Line]) -> Ack:
        """Write those of *lines* that are new."""
        keeper = await self._keeper()
        fresh = []
        for line in lines:
            key = (str(line.key), line.mark)
            if key not in self._writing and not self._ids.marks(line.key) & (line.mark | ANSWERED):
                self._writing.add(key)
                fresh.append(line)
        done = await asyncio.gather(*(self._keep(keeper, line) for line in fresh), return_exceptions=True)
        failed = next((each for each in done if isinstance(each, BaseException)), None)
        if failed is None:
            return Ack(None, self._ending)
        if not isinstance(failed, CannotWrite):
            raise failed
        await self.stop(Stop("disk", str(failed)))
        return Ack(str(failed), self._ending)

    async def _keep(self, keeper: Keeper, line: Line) -> None:
        try:
            await keeper.keep(line.key, line.line, line.mark)
            if line.mark == ANSWERED:
                self._latencies.add(line.latency)
        finally:
            self._writing.discard((str(line.key), line.mark))

    async def report(self, actor: str, report: Report) -> Ending:
        """Hear how *actor* is, and return whether the run is to end."""
        self._reports[actor] = report
        self._heard[actor] = asyncio.get_running_loop().time()
        if report.stop is not None:
            await self.stop(report.stop)
        return self._ending

    async def stop(self, stop: Stop, *, at_once: bool = False) -> None:
        """Have all actors begin no more, and finish what is at the provider, or not even that if *at_once*."""
        self._ending = Ending(self._ending.stop or stop, self._ending.at_once or at_once)

    async def news(self) -> News:
        """Return how the run is."""
        keeper = await self._keeper()
        now = asyncio.get_running_loop().time()
        drained = all(report.drained or now - self._heard[actor] > _GONE for actor, report in self._reports.items())
        latency = summarize([self._latencies])
        stop = keeper.told(self._ending.stop)
        return News(keeper.answered, keeper.dead, latency, stop, drained, tuple(self._reports.values()))

    async def close(self) -> None:
        """Force everything to the disk and close the files."""
        if self._opening is not None:
            try:
                await (await self._opening).close()
            finally:
                self._lock.__exit__(None, None, None)
