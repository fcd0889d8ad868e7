"""Running a batch through its very pipeline on virtual time: an hour in seconds, and for nothing."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluiceway.batch import running as batch
from sluiceway.batch.dead_letters import read_dead_letters
from sluiceway.batch.plan.demand import Sized
from sluiceway.batch.target import Target, attempts_of
from sluiceway.events import Waited
from sluiceway.layers import observed
from sluiceway.testing.virtual_time import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from sluiceway.batch.errors import BadRow
    from sluiceway.batch.outcome import BatchRun
    from sluiceway.batch.plan.simulated import SimulatedProvider
    from sluiceway.batch.questions import Endpoint
    from sluiceway.events import Event
    from sluiceway.layer import Pipeline
    from sluiceway.simulator.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Waiting:
    """How calls waited for one layer.

    Attributes:
        calls: how many did.
        seconds: all of them together.
        longest: one of them at most.
        deepest: how many stood in the queue at most when one more came.
    """

    calls: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    deepest: int = 0

    @property
    def mean(self) -> float:
        """Seconds for each of those that waited."""
        return self.seconds / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What became of a batch that was rehearsed.

    Attributes:
        seconds: what it took, on its own clock.
        answered: rows with an answer.
        failed: dead letters, by the name of the error.
        stopped: why it would have ended early; empty if it would not.
        waits: by what was waited for.
        ledger: what the provider was asked and what it did.
        real_seconds: what the rehearsal itself took.
    """

    seconds: float
    answered: int
    failed: Mapping[str, int]
    stopped: str
    waits: Mapping[str, Waiting]
    ledger: Ledger
    real_seconds: float


class _Waits:
    """Hears who waits."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    def hear(self, event: Event) -> None:
        if isinstance(event, Waited) and event.at > event.started_at:
            took = event.at - event.started_at
            seen = self.seen.setdefault(event.reason, [0, 0.0, 0.0, 0])
            seen[0] += 1
            seen[1] += took
            seen[2] = max(seen[2], took)
            seen[3] = max(seen[3], event.queue_depth)

    def all(self) -> dict[str, Waiting]:
        return {name: Waiting(int(n), all_, most, int(deep)) for name, (n, all_, most, deep) in self.seen.items()}


class _Rehearsed(Target):
    """The simulated provider, as a batch asks it: each row is the endpoint and the body of a request."""

    def __init__(self, pipeline: Pipeline, provider: SimulatedProvider, heard: _Waits) -> None:
        self.name = "simulated"
        self.settings = {}
        self.function = observed(heard.hear)(pipeline(provider.__call__))
        self._embed = observed(heard.hear)(pipeline(provider.embed))
        self.attempts = attempts_of(self.function)

    def prepare(self, value: Any) -> Any:
        """Return both."""
        return value

    def ask(self, prepared: Any) -> Awaitable[Any]:
        """Send the request."""
        endpoint, body = prepared
        answer: Awaitable[Any] = (self._embed if endpoint == "embeddings" else self.function)(**body)
        return answer


def rehearse(
    pipeline: Pipeline, provider: SimulatedProvider, requests: AsyncIterator[Sized | BadRow], **settings: Any
) -> Rehearsal:
    """Run *requests* as a batch through *pipeline* against *provider*, on a virtual clock.

    It is `sluiceway.batch.run` itself that runs, into a folder that is deleted again. The pipeline's layers are used
    up: rate limits are in debt and circuits may be open afterwards. Rows are read as they are needed.

    Args:
        pipeline: of the batch.
        provider: what answers.
        requests: what to ask; bad rows are passed over.
        settings: of the batch, such as `rows_under_way`.
    """
    since = time.perf_counter()
    heard = _Waits()
    with tempfile.TemporaryDirectory(prefix="sluiceway-plan-") as folder:
        done = run(_rehearse(_Rehearsed(pipeline, provider, heard), requests, Path(folder) / "results.jsonl", settings))
        failed = Counter(letter.error.type.rpartition(".")[2] for letter in read_dead_letters(done.paths.dead))
    return Rehearsal(
        done.elapsed,
        done.answered,
        dict(failed),
        "" if done.stopped is None else done.stopped.message,
        heard.all(),
        provider.ledger(done.elapsed),
        time.perf_counter() - since,
    )


async def _rehearse(
    target: Target,
    requests: AsyncIterator[Sized | BadRow],
    results: Path,
    settings: Mapping[str, Any],
) -> BatchRun:
    return await batch.run(target, _asked(requests), results, **settings)


async def _asked(requests: AsyncIterator[Sized | BadRow]) -> AsyncIterator[tuple[Endpoint, Mapping[str, Any]]]:
    async for each in requests:
        if isinstance(each, Sized):
            yield each.endpoint, each.body
