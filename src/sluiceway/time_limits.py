"""A time limit around a part of one call, and its error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .errors import TimedOut
from .expiry import Scope
from .tasks import task_of

if TYPE_CHECKING:
    from types import TracebackType

    from .call import Call, Run


class within:
    """The context manager of `Call.within`."""

    __slots__ = ("_before", "_call", "_handle", "_kind", "_scope", "_seconds", "_started")

    def __init__(self, call: Call, limit: float, kind: str = "total") -> None:
        self._call = call
        self._seconds = limit
        self._kind = kind

    def __enter__(self) -> Scope:
        run = self._call.run
        loop = run.loop
        task = task_of(loop)
        self._scope = Scope(run, None if task is run.task else task)
        self._started = loop.time()
        when = self._started + self._seconds
        self._before = run.deadline
        if self._before is None or when < self._before:
            run.deadline = when
        self._handle = loop.call_at(when, self._scope.fire)
        return self._scope

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._handle.cancel()
        run = self._call.run
        run.deadline = self._before
        scope = self._scope
        if not scope.fired:
            return
        ours = scope.settle()
        if ours and isinstance(error, asyncio.CancelledError):
            raise timed_out(run, self._kind, self._seconds, self._started) from error


def timed_out(run: Run, kind: str, limit: float, started: float) -> TimedOut:
    """Return the error of a time limit of *kind* that began at *started*, saying where the time went."""
    now = run.loop.time()
    spent = run.spent(now)
    where = ", ".join(f"{duration:.3g} s in {name}" for name, duration in spent.items()) or "none of it in a layer"
    if kind == "total":
        text = f"{run.name} not done within {limit:g} s"
    elif kind == "deadline":
        text = f"{run.name} not done by its deadline, {limit:.3g} s after its start"
    else:
        text = f"{run.name}: no {'first' if kind == 'first item' else 'further'} item within {limit:g} s"
    return TimedOut(f"{text} (spent: {where})", limit=limit, kind=kind, elapsed=now - started, spent=spent)
