"""One row while it is asked: what its calls report, and what becomes of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.answers import full, output_of
from sluiceway.batch.dead_letters import DeadLetter, Failure
from sluiceway.batch.rows import ResultRow
from sluiceway.events import AttemptFinished, AttemptStarted, BackedOff, Waited
from sluiceway.providers.errors import classify
from sluiceway.telemetry.kinds import answering_model, model_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluiceway.batch.sources.row import Row
    from sluiceway.call import Call
    from sluiceway.events import Event
    from sluiceway.providers.usage import Usage
    from sluiceway.session import Session

NOTHING: Final = object()


class UnderWay:
    """A row that was begun; also the scope that hears its calls.

    Args:
        row: from the source.
        session: of the run.
        troubled: told of each attempt that failed by no fault of the row's: the row's place, the error and when.

    Attributes:
        row: from the source.
        task: runs it.
        attempts, usage, cost, model, waited: what its calls took so far.
        failures: how often asking failed otherwise than by a refusal of ours.
        waits: how often it waited for better weather.
        asking: trips to the provider under way.
        ending: whether it may make no further attempt: the batch ends.
        answer: what the provider returned, from that moment on; `NOTHING` before, and when a layer would have none of
            it: the row is asked again.
        settled: whether it is on disk, as an answer or a dead letter.
    """

    __slots__ = (
        "_began",
        "_session",
        "_troubled",
        "answer",
        "asking",
        "attempts",
        "cost",
        "ending",
        "failures",
        "model",
        "row",
        "settled",
        "task",
        "usage",
        "waited",
        "waits",
    )

    drains = False  # it is for the batch to end rows

    def __init__(self, row: Row, session: Session, troubled: Callable[[int, BaseException, float], None]) -> None:
        self.row = row
        self._session = session
        self._troubled = troubled
        self._began = asyncio.get_running_loop().time()
        self.task: asyncio.Task[None] | None = None
        self.attempts = 0
        self.failures = 0
        self.waits = 0
        self.usage: Usage | None = None
        self.cost: float | None = None
        self.model: str | None = None
        self.waited: dict[str, float] = {}
        self.asking = 0
        self.ending = False
        self.answer: Any = NOTHING
        self.settled = False

    @property
    def id(self) -> str:
        """The session's, which spans and log lines of the row's calls carry."""
        return self._session.id

    @property
    def latency(self) -> float:
        """Seconds since it was begun."""
        return asyncio.get_running_loop().time() - self._began

    def admit(self, call: Call) -> None:
        """Let every call begin."""

    def hear(self, event: Event) -> None:
        """Count attempts, tokens, money and waits."""
        kind = type(event)
        if kind is AttemptStarted:
            if not self.asking:
                self.answer = NOTHING
            self.asking += 1
        elif kind is AttemptFinished:
            self.asking -= 1
            self._attempted(event)  # type: ignore[arg-type]
        elif kind is Waited or kind is BackedOff:
            if kind is BackedOff:
                self.answer = NOTHING
            seconds = event.at - event.started_at  # type: ignore[attr-defined]
            if seconds > 0:
                reason = event.reason or event.layer if kind is Waited else "backoff"  # type: ignore[attr-defined]
                self.waited[reason] = self.waited.get(reason, 0.0) + seconds

    def _attempted(self, event: AttemptFinished) -> None:
        attempt, call = event.attempt, event.call
        assert call is not None
        if attempt.outcome == "ok":
            if not self.asking:  # the row's own attempt, not one of a function that its function calls
                self.answer = attempt.result
        else:
            error = attempt.error
            if error is not None and not attempt.contained and classify(error).retryable:
                # now: its retries may take long, and it may be the last
                self._troubled(self.row.index, error, event.at)
            if self.ending and not self.asking and self.task is not None:
                self.task.cancel()  # before it backs off and tries again
        if attempt.contained:
            return
        self.attempts += 1
        usage = attempt.usage
        if usage is None:
            return
        self.usage = usage if self.usage is None else self.usage + usage
        asked = model_of(call, attempt)
        self.model = answering_model(attempt) or asked
        cost = self._session.pricing(asked, usage)
        if cost is None and self.model != asked:
            cost = self._session.pricing(self.model, usage)
        if cost is not None:
            self.cost = cost + (self.cost or 0.0)

    def cancelled(self) -> bool:
        """Whether it was cancelled from outside, and not by what it asks."""
        return self.task is not None and self.task.cancelling() > 0

    def result(self, answer: Any, *, whole: bool) -> ResultRow:
        """Return the row of results; the whole response is in it if that is wanted."""
        row = self.row
        output, response = output_of(answer), full(answer) if whole else None
        took = (self.usage, self.cost, self.attempts, self.latency, self.model, self.waited)
        return ResultRow(row.id, row.index, output, *took, time.time(), response)

    def letter(self, error: BaseException) -> DeadLetter:
        """Return the dead letter of the row, which ended with *error*."""
        row = self.row
        took = (self.attempts, self.latency, self.usage)
        return DeadLetter(row.id, row.index, Failure.of(error), "call", row.line, *took, time.time(), row.value)

    def leave(self) -> None:
        """Let what is at the provider finish, and give up what only waits: the batch ends."""
        self.ending = True
        if not self.asking and self.task is not None:
            self.task.cancel()
