"""Batches of requests that run in their own time: a pure machine that is told the time.

A batch passes through OpenAI's states, ``validating``, ``in_progress``, ``finalizing`` and ``completed``, in the time
that the behaviour draws for it; or it ends as ``failed``, ``expired`` or ``cancelled``. Nothing runs in between: what
state it is in follows from the time, and its output is written when somebody first looks after its end.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sluiceway.simulator.asked import Asked
from sluiceway.simulator.batch_input import BatchRequest, Problem, read_requests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sluiceway.simulator.fate import Fate
    from sluiceway.simulator.files import StoredFile
    from sluiceway.simulator.service import Service

Status: TypeAlias = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]

_VALIDATED, _RUN = 0.1, 0.9  # shares of a batch's time after which it runs, and after which it is written out
OVER: Final = ("failed", "completed", "expired", "cancelled")


@dataclass(slots=True, eq=False)
class Batch:
    """One batch.

    Attributes:
        id: what requests name it by.
        endpoint, input_file_id, metadata: as the client gave them.
        made: when, in seconds since 1970; *at* the same by the machine's clock.
        takes: seconds from then to its end.
        requests: what to do.
        problems: why it fails, if it does.
        cancelled_at: when the client cancelled it.
        outcomes: what became of the requests, once it is over.
        output_file_id, error_file_id: where that can be read, set by who writes the files.
    """

    id: str
    endpoint: str
    input_file_id: str
    metadata: Mapping[str, str]
    made: int
    at: float
    takes: float
    requests: list[BatchRequest] = field(repr=False)
    problems: list[Problem]
    cancelled_at: float | None = None
    outcomes: list[Outcome] | None = field(default=None, repr=False)
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def tokens(self) -> int:
        """What it holds of the limit on enqueued tokens: its prompts."""
        return sum(each.asked.prompt_tokens for each in self.requests if isinstance(each.asked, Asked))

    def progress(self, now: float) -> float:
        """Return the share of its time that has passed, until it was cancelled."""
        until = now if self.cancelled_at is None else min(now, self.cancelled_at)
        return 1.0 if self.takes == 0 else min(1.0, (until - self.at) / self.takes)

    def done(self, now: float) -> int:
        """Return how many requests have run."""
        if self.problems:
            return 0
        share = (self.progress(now) - _VALIDATED) / (_RUN - _VALIDATED)
        return int(len(self.requests) * min(1.0, max(0.0, share)))

    def status(self, now: float) -> Status:
        """Return the state it is in."""
        progress = self.progress(now)
        if self.problems:
            return "validating" if progress < _VALIDATED else "failed"
        if self.cancelled_at is not None:
            return "cancelling" if now <= self.cancelled_at else "cancelled"
        if progress < 1:
            return "validating" if progress < _VALIDATED else "in_progress" if progress < _RUN else "finalizing"
        return "expired" if any(outcome.how == "expired" for outcome in self.outcomes or ()) else "completed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request of a batch.

    Attributes:
        request: which.
        how: ``"answered"``; ``"failed"`` with a status; ``"expired"`` or ``"cancelled"`` before it ran.
        status: the status of a failure.
        fate: what was drawn for an answer.
    """

    request: BatchRequest
    how: Literal["answered", "failed", "expired", "cancelled"]
    status: int = 200
    fate: Fate | None = None


class Batches:
    """The batches of one provider."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._batches: dict[str, Batch] = {}
        self._numbers = itertools.count(1)

    def create(self, now: float, made: int, stored: StoredFile, endpoint: str, metadata: Mapping[str, str]) -> Batch:
        """Begin a batch of the requests in a file; what is wrong with them shows later, as it does with OpenAI."""
        behaviour, number = self._service.behaviour, next(self._numbers)
        requests, problems = read_requests(stored.content, endpoint, behaviour.tokens_per_character)
        takes = behaviour.batch_time.draw(random.Random(hash((behaviour.seed, number))))
        batch = Batch(f"batch_{number:08d}", endpoint, stored.id, metadata, made, now, takes, requests, problems)
        most = behaviour.batch_enqueued_tokens
        enqueued = sum(each.tokens for each in self._batches.values() if each.status(now) not in OVER)
        if most is not None and enqueued + batch.tokens > most:
            message = f"Enqueued token limit reached. Limit: {most:,.0f} enqueued tokens."
            batch.problems.append(Problem("token_limit_exceeded", message))
        self._batches[batch.id] = batch
        self._service.books.batches += 1
        return batch

    def find(self, now: float, identifier: str) -> Batch | None:
        """Return the batch as it is at *now*, or None if there is none of that id."""
        batch = self._batches.get(identifier)
        if batch is not None:
            self._finish(now, batch)
        return batch

    def newest_first(self, now: float) -> Iterator[Batch]:
        """Yield all batches as they are at *now*, the last one first."""
        for batch in reversed(self._batches.values()):
            self._finish(now, batch)
            yield batch

    def cancel(self, now: float, batch: Batch) -> None:
        """Stop *batch*; what has run stays done. One that is over stays as it is."""
        if batch.status(now) not in OVER and batch.cancelled_at is None:
            batch.cancelled_at = now

    def _finish(self, now: float, batch: Batch) -> None:
        """Run the requests of a batch that is over by now, unless that was done before."""
        over = batch.progress(now) >= 1 or batch.status(now) == "cancelled"
        if batch.outcomes is None and over and not batch.problems:
            done = batch.done(now)
            batch.outcomes = [
                self._run(each) if i < done else Outcome(each, "cancelled") for i, each in enumerate(batch.requests)
            ]

    def _run(self, request: BatchRequest) -> Outcome:
        if isinstance(request.asked, str):
            return Outcome(request, "failed", 400)
        return self._service.run_in_batch(request, request.asked)
