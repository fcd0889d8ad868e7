"""The calls of late, kept on request, in bounded memory: what happened, when, and never a text of it."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Self

from sluiceway import events

from .explaining import Explanation, Kind, Step
from .hub import listen, unlisten
from .kinds import kind_of, model_of
from .showing import printable
from .tree import took

if TYPE_CHECKING:
    from types import TracebackType

    from sluiceway.call import Call, Run
    from sluiceway.events import Event

STEPS: Final = 200
"""Steps of one call that are kept; those after it are counted as time between."""
UNDER_WAY: Final = 10_000
"""Calls under way that are followed; one more is not remembered at all."""

_memories: Final[list[Memory]] = []


class _Record:
    """One call, while it runs and after it."""

    __slots__ = ("began", "call", "error", "id", "name", "outcome", "parent", "seconds", "started_at", "steps")

    def __init__(self, call: Call) -> None:
        run = call.run
        self.call: Call | None = call  # until it is over: arguments are not kept longer than the call keeps them
        self.id = run.id
        self.name = run.name
        self.parent = None if run.parent is None else run.parent.run.id
        self.started_at = run.started_at
        self.began = time.time()
        self.outcome = "under way"
        self.error: str | None = None
        self.seconds = 0.0
        self.steps: list[Step] = []

    def add(self, name: str, kind: Kind, since: float, until: float, note: str = "") -> None:
        if len(self.steps) < STEPS:
            self.steps.append(Step(name, kind, since - self.started_at, until - since, note))

    def explained(self) -> Explanation:
        steps, seconds = list(self.steps), self.seconds
        if self.call is not None:
            now = self.call.run.time()
            seconds = max(0.0, now - self.started_at)
            steps += _under_way(self.call.run, now)
        steps.sort(key=lambda step: step.start)
        return Explanation(self.id, self.name, self.outcome, self.error, self.began, seconds, self.parent, tuple(steps))


def _under_way(run: Run, now: float) -> list[Step]:
    """Return what *run* is at: what it waits for, and its attempts."""
    found = []
    if run.phase is not None:
        reason, since = run.phase
        found.append(Step(reason, "wait", since - run.started_at, now - since, "under way"))
    for attempt in run.attempts:
        if attempt.ended_at is None:
            since = attempt.started_at
            name = f"attempt {attempt.number}"
            found.append(Step(name, "attempt", since - run.started_at, now - since, "under way"))
    return found


class Memory:
    """Remembers the last calls of the process that are over, and those under way; also usable as ``with``.

    It begins with calls that start after it was made. Names, times, counts and kinds of errors are kept, at most 200
    steps a call: 1,000 calls of one attempt each take less than 1 MB.

    Args:
        calls: how many calls that are over are kept, the oldest forgotten first.

    Attributes:
        listens: False once it is closed.

    Raises:
        TypeError, ValueError: *calls* is no whole number of at least 1.
    """

    def __init__(self, calls: int = 1_000) -> None:
        check_calls(calls)
        self._most = calls
        self._open: dict[str, _Record] = {}
        self._over: OrderedDict[str, _Record] = OrderedDict()
        self.listens = True
        listen(self.hear)
        _memories.append(self)

    def hear(self, event: Event) -> None:
        """Take in *event*."""
        call = event.call
        if call is None:
            return
        if type(event) is events.CallStarted:
            if len(self._open) < UNDER_WAY:
                self._open[call.run.id] = _Record(call)
            return
        record = self._open.get(call.run.id)
        if record is None:
            return
        if type(event) is events.CallFinished:
            self._finish(record, event)
        elif type(event) is events.AttemptFinished:
            _attempt(record, call, event)
        elif isinstance(event, events.Phase):
            _phase(record, event)
        else:
            said = _moment(event)
            if said is not None:
                record.add(said[0], "moment", event.at, event.at, said[1])

    def _finish(self, record: _Record, event: events.CallFinished) -> None:
        del self._open[record.id]
        record.call = None
        record.outcome = event.outcome
        record.seconds = event.latency
        record.error = None if event.error is None else kind_of(event.error)
        self._over[record.id] = record
        if len(self._over) > self._most:
            self._over.popitem(last=False)

    def explain(self, call_id: str) -> Explanation:
        """Return where the time of the call *call_id* went, until now if it is under way.

        Raises:
            LookupError: it is not remembered: too long ago, before this was made, or never.
        """
        record = self._open.get(call_id) or self._over.get(call_id)
        if record is None:
            raise LookupError(
                f"no call {call_id!r} is remembered: {len(self._over):,} that are over and {len(self._open):,} under "
                f"way are, of at most {self._most:,}"
            )
        return record.explained()

    def recent(self, most: int = 20) -> list[Explanation]:
        """Return the *most* calls that ended last, the last first."""
        return [record.explained() for record in list(reversed(self._over.values()))[:most]]

    def slowest(self, most: int = 20) -> list[Explanation]:
        """Return the *most* slowest of those that are remembered, calls under way among them."""
        every = [*self._over.values(), *self._open.values()]
        every.sort(key=_seconds, reverse=True)
        return [record.explained() for record in every[:most]]

    def close(self) -> None:
        """Forget everything and remember nothing more; a second time does nothing."""
        if self.listens:
            self.listens = False
            unlisten(self.hear)
            _memories.remove(self)
            self._open.clear()
            self._over.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def check_calls(calls: Any) -> None:
    """Refuse what is no number of calls.

    Raises:
        TypeError: *calls* is no int.
        ValueError: it is below 1.
    """
    if isinstance(calls, bool) or not isinstance(calls, int):
        raise TypeError(f"calls={calls!r} must be a whole number of at least 1")
    if calls < 1:
        raise ValueError(f"calls={calls!r} must be at least 1")


def explain(call_id: str) -> Explanation:
    """Return where the time of the call *call_id* went; see `telemetry.explain`."""
    if not _memories:
        raise LookupError("nobody remembers calls: keep telemetry.remember() or telemetry.inspect() open")
    for memory in _memories[:-1]:
        try:
            return memory.explain(call_id)
        except LookupError:
            continue
    return _memories[-1].explain(call_id)


# ------------------------------------------------------------------ events to steps


def _seconds(record: _Record) -> float:
    return record.seconds if record.call is None else record.call.run.time() - record.started_at


def _attempt(record: _Record, call: Call, event: events.AttemptFinished) -> None:
    attempt = event.attempt
    parts = [attempt.outcome or ""]
    if attempt.error is not None and attempt.outcome == "error":
        parts.append(kind_of(attempt.error))
    elif attempt.status is not None:
        parts.append(str(attempt.status))
    model = None if attempt.contained else model_of(call, attempt)
    if model is not None:
        parts.append(printable(model))
    if attempt.usage is not None:
        parts.append(f"{attempt.usage.input_tokens:,} + {attempt.usage.output_tokens:,} tokens")
    if attempt.first_item_at is not None:
        parts.append(f"first item after {took(round((attempt.first_item_at - attempt.started_at) * 1e9))}")
    record.add(f"attempt {attempt.number}", "attempt", attempt.started_at, event.at, ", ".join(filter(None, parts)))


def _phase(record: _Record, event: events.Phase) -> None:
    kind: Kind = "phase"
    note = "" if event.error is None else kind_of(event.error)
    if isinstance(event, events.BackedOff):
        kind = "backoff"
        note = event.source if event.cause is None else f"{event.source}, after {kind_of(event.cause)}"
    elif isinstance(event, events.Waited):
        kind = "wait"
        note = note or (f"{event.queue_depth:,} waited before it" if event.queue_depth else "")
    elif event.layer == "timed" and event.error is None:
        return  # it is as long as what it limits, and says nothing about where the time went
    if event.at > event.started_at or event.error is not None:
        record.add(event.name, kind, event.started_at, event.at, note)


def _moment(event: Event) -> tuple[str, str] | None:
    """Return what *event* is called and what is said of it; None for what makes no difference to the time."""
    if isinstance(event, events.CallRejected):
        return f"refused by {event.layer}", kind_of(event.error)
    if isinstance(event, events.HedgeSent):
        return "hedge sent", f"attempt {event.attempt.number}"
    if isinstance(event, events.HedgeLost):
        return "attempt lost to another", f"attempt {event.attempt.number}"
    if isinstance(event, events.FellBack):
        return f"fallback to {event.to}", f"after {kind_of(event.cause)}"
    if isinstance(event, events.PassedOver):
        return f"{event.deployment} passed over", kind_of(event.cause)
    if isinstance(event, events.LimitPaused):
        return "limit paused", f"{event.seconds:.3g} s, {event.source}"
    if isinstance(event, events.CircuitChanged):
        return f"circuit {event.new}", event.reason
    return None
