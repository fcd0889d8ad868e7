"""How a process is doing at this moment: its functions, their layers, and what went wrong of late."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sluiceway import events

from .hub import listen, unlisten
from .kinds import kind_of
from .last_minute import RECENT
from .memory import Memory
from .pricing import Pricing, load_soon
from .seen import Seen, held
from .showing import states
from .statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sluiceway.call import Call
    from sluiceway.events import Event
    from sluiceway.providers.usage import Usage

    from .explaining import Explanation
    from .sketch import Latency

ERRORS: Final = 50
"""Errors that are remembered, each with its time and kind."""
NAMES: Final = 200
"""Names of calls that are counted apart; calls of others are remembered, but not counted."""
_SHOWN: Final = 10


class Sent(NamedTuple):
    """Requests and tokens a minute."""

    requests: float
    tokens: float


class _Pace:
    """Requests and tokens of the last ten seconds, second by second."""

    __slots__ = ("_seconds", "_since")

    def __init__(self, since: float) -> None:
        self._since = since
        self._seconds: deque[list[int]] = deque(maxlen=RECENT)

    def add(self, now: float, usage: Usage | None) -> None:
        """Count an attempt that ended at *now*."""
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        last = self._seconds[-1]
        last[1] += 1
        if usage is not None:
            last[2] += usage.input_tokens + usage.output_tokens

    def a_minute(self, now: float) -> Sent:
        """Return what a minute at this pace is, as of *now*."""
        first = int(now) - RECENT + 1
        recent = [each for each in self._seconds if each[0] >= first]
        scale = 60 / max(1.0, now - max(first, self._since))
        return Sent(sum(each[1] for each in recent) * scale, sum(each[2] for each in recent) * scale)


class _Counted:
    """What is counted of the calls of one name."""

    __slots__ = ("now", "pace", "statistics")

    def __init__(self, call: Call) -> None:
        self.now: Callable[[], float] = call.run.time
        self.statistics = Statistics(call.run.started_at, call.run.name, price=Pricing())
        self.pace = _Pace(call.run.started_at)


class Overview:
    """Counts the calls of the process from now on, and remembers the last of them, until it is closed.

    Args:
        calls: how many calls that are over are remembered, for `explain`.
    """

    def __init__(self, calls: int) -> None:
        self.memory = Memory(calls)
        self._seen = Seen()
        self._counted: dict[str, _Counted] = {}
        self._errors: deque[dict[str, Any]] = deque(maxlen=ERRORS)
        self._since = time.monotonic()
        load_soon()
        listen(self.hear)

    def hear(self, event: Event) -> None:
        """Count *event*."""
        call = event.call
        if call is None:
            return
        run = call.run
        counted = self._counted.get(run.name)
        if counted is None:
            if len(self._counted) >= NAMES:
                return
            counted = self._counted[run.name] = _Counted(call)
        counted.statistics.hear(event)
        if type(event) is events.CallStarted:
            self._seen.note(run)
            counted.now = run.time
        elif type(event) is events.AttemptFinished:
            attempt = event.attempt
            if not attempt.contained:
                counted.pace.add(event.at, attempt.usage)
            if attempt.outcome == "error" and attempt.error is not None:
                self._failed(call, f"attempt {attempt.number}", attempt.error)
        elif type(event) is events.CallFinished and event.error is not None and event.outcome != "cancelled":
            self._failed(call, "call", event.error)

    def _failed(self, call: Call, what: str, error: BaseException) -> None:
        told = {"at": time.time(), "call": call.run.name, "call_id": call.run.id, "what": what, "kind": kind_of(error)}
        self._errors.append(told)

    def state(self) -> dict[str, Any]:
        """Return everything in dicts and lists that `json.dumps` takes."""
        return self._told(list(self._calls()))

    async def state_between_others(self) -> dict[str, Any]:
        """Return the same, with a pause for others on the event loop after each function."""
        calls = []
        for call in self._calls():
            calls.append(call)
            await asyncio.sleep(0)
        return self._told(calls)

    def _told(self, calls: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "at": time.time(),
            "seconds": time.monotonic() - self._since,
            "calls": calls,
            "errors": list(reversed(self._errors)),
            "slowest": [_brief(each) for each in self.memory.slowest(_SHOWN)],
            "recent": [_brief(each) for each in self.memory.recent(_SHOWN)],
        }

    def _calls(self) -> Iterator[dict[str, Any]]:
        paces = {name: each.pace.a_minute(each.now()) for name, each in self._counted.items()}
        known = [(name, layers) for name, layers in self._seen.layers() if name in paces]
        through: dict[int, list[float]] = {}
        for name, layers in known:
            for layer in layers:
                sent = through.setdefault(id(layer), [0.0, 0.0])
                sent[0] += paces[name].requests
                sent[1] += paces[name].tokens
        looked: dict[int, tuple[int, list[dict[str, Any]]] | None] = {}
        for name, layers in known:
            yield {**_figures(name, self._counted[name], paces[name]), "layers": _layers(layers, through, looked)}

    def close(self) -> None:
        """Count nothing more, and forget the calls; a second time does nothing."""
        if self.memory.listens:
            self.memory.close()
            unlisten(self.hear)


def _figures(name: str, counted: _Counted, pace: Sent) -> dict[str, Any]:
    stats = counted.statistics.snapshot(counted.now(), parts=False)
    return {
        "name": name,
        "calls": stats.calls,
        "in_flight": stats.in_flight,
        "succeeded": stats.succeeded,
        "failed": stats.failed,
        "rejected": stats.rejected,
        "timed_out": stats.timed_out,
        "cancelled": stats.cancelled,
        "attempts": stats.attempts,
        "retries": stats.retries,
        "answers_per_second": stats.recent_throughput,
        "error_rate": stats.error_rate,
        "requests_per_minute": pace.requests,
        "tokens_per_minute": pace.tokens,
        "tokens": stats.tokens.total,
        "cost": stats.cost,
        "latency": _percentiles(stats.latency),
        "waits": {reason: {"count": wait.count, "seconds": wait.seconds} for reason, wait in stats.waits.items()},
    }


def _percentiles(latency: Latency) -> dict[str, float | None]:
    return {"p50": latency.p50, "p95": latency.p95, "p99": latency.p99, "max": latency.max}


def _layers(
    layers: tuple[Any, ...],
    through: dict[int, list[float]],
    looked: dict[int, tuple[int, list[dict[str, Any]]] | None],
) -> list[dict[str, Any]]:
    """Return the state of each of *layers*, and at what pace all functions that share it send *through* it."""
    found = []
    for each in held(layers, _keys_and_states, looked):
        pace = through.get(id(each.source))
        keys, its = each.shown
        found.append(
            {
                "layer": each.layer,
                "deployment": each.deployment,
                "keys": keys,
                "per_minute": None if pace is None else {"requests": pace[0], "tokens": pace[1]},
                "states": its,
            }
        )
    return found


def _keys_and_states(snapshot: Any) -> tuple[int, list[dict[str, Any]]]:
    return len(snapshot) if isinstance(snapshot, tuple) else 1, states(snapshot)


def _brief(call: Explanation) -> dict[str, Any]:
    return {
        "call_id": call.call_id,
        "call": call.call,
        "outcome": call.outcome,
        "error": call.error,
        "seconds": call.seconds,
    }
