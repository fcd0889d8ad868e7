"""The bounded producer and consumer: reads rows as there is room, asks them, keeps what comes of it."""

from __future__ import annotations

import asyncio
import time
from asyncio import CancelledError
from collections import Counter
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.dead_letters import DeadLetter, Failure
from sluiceway.batch.errors import BadRow
from sluiceway.batch.ids import ANSWERED, DEAD, SEEN, of_row
from sluiceway.batch.keeping import CannotWrite
from sluiceway.batch.progress import Progress
from sluiceway.batch.sources.row import Row, Unread
from sluiceway.batch.sources.source import SourceFailed
from sluiceway.batch.turns import Turns
from sluiceway.batch.under_way import NOTHING, UnderWay
from sluiceway.batch.verdicts import REFUSED, RESERVED, Dead, ErrorRate, Stop, Wait, Weather, judge
from sluiceway.errors import Rejected
from sluiceway.gathering import ended
from sluiceway.single_result import refuse_stream
from sluiceway.streaming import is_stream
from sluiceway.telemetry.hub import scopes

if TYPE_CHECKING:
    from sluiceway.batch.ids import KnownIds
    from sluiceway.batch.keeping import Keeper
    from sluiceway.batch.settings import Settings
    from sluiceway.batch.sources.source import Source
    from sluiceway.batch.target import Target
    from sluiceway.session import Session

_DISK: Final = "disk"


class Runner:
    """One run. Memory is bounded by the rows under way; see `KnownIds` for what each row leaves behind.

    Args:
        target: what is asked.
        source: rows.
        keeper: where they end.
        ids: what is known of rows.
        session: hears the calls.
        settings: of the run.

    Attributes:
        stopping: why the run ends early; None while it does not.
        read, before, pending: as in `BatchRun`.
        complete: whether the source was read to its end.
        crash: an error of the machinery itself.
    """

    def __init__(
        self, target: Target, source: Source, keeper: Keeper, ids: KnownIds, session: Session, settings: Settings
    ) -> None:
        self._target = target
        self._source = source
        self._keeper = keeper
        self._ids = ids
        self._session = session
        self._settings = settings
        self._most = settings.attempts or target.attempts
        self._rows = settings.rows_under_way or target.rows
        self._weather = Weather(settings.patience)
        self._error_rate = ErrorRate(settings.abort_over)
        self._rng = Random()
        self._under_way: set[UnderWay] = set()
        self._room = asyncio.Event()
        self._turns = Turns()
        self._calm = asyncio.Event()
        self._calm.set()
        self._waiting: Counter[str] = Counter()
        self._reader: asyncio.Task[None] | None = None
        self._began = asyncio.get_running_loop().time()
        self._drain_timer: asyncio.TimerHandle | None = None
        self._leaving = False
        self.stopping: Stop | None = None
        self.read = 0
        self.before = 0
        self.pending = 0
        self.complete = False
        self.crash: BaseException | None = None
        keeper.on_block = self._disk

    # ------------------------------------------------------------------ from outside

    async def run(self) -> None:
        """Read and ask until all is over; a cancellation gives up what is under way, and is raised."""
        self._reader = asyncio.get_running_loop().create_task(self._read())
        if self._leaving:  # it was told to end before it began
            self._reader.cancel()
        try:
            await asyncio.wait([self._reader])
            while self._under_way:
                await asyncio.wait([entry.task for entry in self._under_way if entry.task is not None])
        finally:
            if self._drain_timer is not None:
                self._drain_timer.cancel()
            self._reader.cancel()
            await ended([self._reader, *self._abort()])
        if self.crash is not None:
            raise self.crash
        if not self._reader.cancelled():
            self._reader.result()

    def stop(self, stop: Stop) -> None:
        """Read no more; let what is at the provider finish, within the time that draining may take."""
        if self._leaving:
            return
        self._leaving = True
        self.stopping = self.stopping or stop
        if self._reader is not None:
            self._reader.cancel()
        for entry in list(self._under_way):
            entry.leave()
        self._drain_timer = asyncio.get_running_loop().call_later(self._settings.drain, self._abort)

    def abort(self, stop: Stop) -> None:
        """End at once; what was answered is saved all the same."""
        self.stop(stop)
        self._abort()

    def _abort(self) -> list[asyncio.Task[None]]:
        tasks = [entry.task for entry in self._under_way if entry.task is not None]
        for task in tasks:
            task.cancel()
        return tasks

    def progress(self) -> Progress:
        """Return how far it is."""
        return Progress(
            self._source.total,
            self._source.share,
            self.read,
            self.before,
            self._keeper.answered,
            self._keeper.dead,
            len(self._under_way),
            sum(bool(entry.asking) for entry in self._under_way),
            MappingProxyType(+self._waiting),
            asyncio.get_running_loop().time() - self._began,
            self._target.limits,
            self._session.stats,
            None if self.stopping is None else self.stopping.message,
        )

    # ------------------------------------------------------------------ reading

    async def _read(self) -> None:
        chunks = self._source.chunks()
        try:
            async for chunk in chunks:
                for row in chunk:
                    if self._leaving:  # told by a row that it buried, without a wait in which a cancellation is heard
                        return
                    await self._take(row)
            self.complete = True
        except SourceFailed as error:
            self.stopping = self.stopping or Stop("source", str(error))  # what was read goes on as if nothing were
        except CannotWrite as error:
            self.stop(Stop(_DISK, str(error)))
        finally:
            await chunks.aclose()

    async def _take(self, row: Row | Unread) -> None:
        """Begin *row* when there is room, unless it is settled or cannot be asked."""
        if isinstance(row, Unread):
            await self._unread(row, row.problem, row.text)
        else:
            marks = self._ids.mark(row.id, SEEN)
            if marks & SEEN:
                await self._unread(row, BadRow("duplicate id", f"an earlier row has the id {row.id!r} too"), row.value)
            elif marks & (ANSWERED | DEAD):
                self.before += 1
            else:
                try:
                    prepared = self._target.prepare(row.value)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is the row's
                    await self._unread(row, BadRow.of(error), row.value)
                else:
                    await self._room_for_one()
                    self._begin(row, prepared)
        self.read += 1

    async def _unread(self, row: Row | Unread, problem: BadRow, request: Any) -> None:
        """Bury a row that cannot be asked, unless an earlier run did."""
        if self._ids.mark(of_row(row.index), SEEN) & DEAD:
            self.before += 1
            return
        error = Failure(problem.kind, str(problem), "ours_to_fix")
        id_ = row.id if isinstance(row, Row) else None
        letter = DeadLetter(id_, row.index, error, "read", row.line, finished_at=time.time(), request=request)
        await self._keeper.bury(letter)
        self._count(dead=True)

    async def _room_for_one(self) -> None:
        """Wait for a place, and while rows wait for better weather: more would only wait beside them."""
        while len(self._under_way) >= self._rows or not self._calm.is_set():
            if not self._calm.is_set():
                await self._calm.wait()
            else:
                self._room.clear()
                await self._room.wait()

    def _begin(self, row: Row, prepared: Any) -> None:
        entry = UnderWay(row, self._session, self._troubled)
        self._under_way.add(entry)
        entry.task = asyncio.get_running_loop().create_task(self._one(entry, prepared))
        entry.task.add_done_callback(lambda task: self._over(entry, task))

    def _over(self, entry: UnderWay, task: asyncio.Task[None]) -> None:
        self._under_way.discard(entry)
        self._room.set()
        self._turns.one_is_over()
        self.pending += not entry.settled
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.crash = self.crash or error
            self.stop(Stop("crash", f"{type(error).__name__}: {error}"))

    # ------------------------------------------------------------------ one row

    async def _one(self, entry: UnderWay, prepared: Any) -> None:
        """Ask until the row is answered or dead; one that is cancelled, or met the end of the batch, is neither."""
        scopes.set((entry, *scopes.get()))
        asked = True
        try:
            while asked:
                try:
                    answer = await self._target.ask(prepared)
                    if is_stream(answer):
                        await refuse_stream(answer, self._target.name)
                except CancelledError as error:
                    if entry.answer is not NOTHING:
                        answer = entry.answer  # it came, and only the layers around it were cut off
                    elif entry.cancelled():
                        raise
                    else:  # the function's own doing
                        return await self._bury(entry, error)
                except Exception as error:  # noqa: BLE001 - it is the row's outcome
                    asked = await self._failed(entry, error)
                    continue
                await self._answered(entry, answer)
                asked = False
        except CannotWrite as error:
            self.stop(Stop(_DISK, str(error)))

    async def _answered(self, entry: UnderWay, answer: Any) -> None:
        try:
            await self._keeper.answer(entry.result(answer, whole=self._settings.full_response))
        except CannotWrite:
            raise
        except Exception as error:  # noqa: BLE001 - no line can hold it: its repr raises
            await self._bury(entry, error)
        else:
            entry.settled = True
            self._weather.answered()
            self._count(dead=False)

    async def _failed(self, entry: UnderWay, error: Exception) -> bool:
        """Do what is to be done after *error*; return whether to ask again."""
        entry.answer = NOTHING
        now = asyncio.get_running_loop().time()
        entry.failures += not isinstance(error, Rejected)
        spent = max(entry.attempts, entry.failures)
        busy = len(self._under_way) - sum(self._waiting.values()) > 1
        verdict = judge(
            error, entry.row.index, spent, self._most, entry.waits, self._weather, now, self._rng, busy=busy
        )
        if isinstance(verdict, Dead):
            await self._bury(entry, error)
            return False
        if isinstance(verdict, Stop):
            self.stop(verdict)
            return False
        if entry.ending:
            return False
        entry.waits += 1
        await self._wait(verdict)
        return True

    async def _bury(self, entry: UnderWay, error: BaseException) -> None:
        await self._keeper.bury(entry.letter(error))
        entry.settled = True
        self._count(dead=True)

    def _count(self, *, dead: bool) -> None:
        stop = self._error_rate.count(dead=dead)
        if stop is not None:
            self.stop(stop)

    def _troubled(self, index: int, error: BaseException, at: float) -> None:
        """Hear of an attempt that failed."""
        self._weather.failed(index, error, at)
        self._lose_patience(at)

    def _lose_patience(self, now: float) -> None:
        stop = self._weather.hopeless(now)
        if stop is not None:
            self.stop(stop)

    async def _wait(self, verdict: Wait) -> None:
        """Wait as long as *verdict* says, but for a provider that is down no longer than the batch has patience."""
        now = asyncio.get_running_loop().time
        until = now() + verdict.seconds
        self._weigh(verdict.reason, 1)
        try:
            while (left := until - now()) > 0:
                if verdict.reason != REFUSED:
                    self._lose_patience(now())
                    left = min(left, self._weather.until - now())
                if verdict.reason == RESERVED:
                    return await self._turns.wait(left)
                await asyncio.sleep(left)
        finally:
            self._weigh(verdict.reason, -1)

    def _disk(self, blocked: bool) -> None:  # noqa: FBT001 - called with it alone
        self._weigh(_DISK, 1 if blocked else -1)

    def _weigh(self, reason: str, change: int) -> None:
        self._waiting[reason] += change
        if any(self._waiting.values()):
            self._calm.clear()
        else:
            self._calm.set()
