"""What a virtual-time loop says when nothing can ever happen again."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator

_LINES = 20  # a queue of 100,000 waiters must not make a message of 100,000 lines
_FRAMES = 6  # the way from the task's own function down to what it waits on


class Deadlock(Exception):
    """Every task waits, and no timer, thread or file descriptor is left that could wake one.

    Raised out of ``run_until_complete`` (not into a task), by a `VirtualTimeLoop`. The message lists the
    waiting tasks, each with the line of its own function and the lines below it, down to the innermost.

    Attributes:
        waiting: The names of the waiting tasks, sorted; empty if a bare future was waited for.
    """

    def __init__(self, now: float, tasks: Iterable[asyncio.Task[Any]] = ()) -> None:
        waiting = sorted(tasks, key=_age)
        self.waiting: tuple[str, ...] = tuple(task.get_name() for task in waiting)
        super().__init__(_message(now, waiting))


def _message(now: float, tasks: list[asyncio.Task[Any]]) -> str:
    head = f"deadlock at {now:g} s of virtual time: nothing is ready, no timer set, nothing under way outside"
    if not tasks:
        return f"{head}; no task is left, and a bare future is waited for"
    lines = [f"{head}; waiting tasks: {len(tasks):,}"]
    shown = tasks[:_LINES]
    lines += [f"  {task.get_name()!r} at {where(task)}" for task in shown]
    places = Counter(where(task) for task in tasks[_LINES:])
    lines += [f"  and {count:,} more at {place}" for place, count in places.most_common(_LINES)]
    return "\n".join(lines)


def _age(task: asyncio.Task[Any]) -> tuple[int, str]:
    """Return a sort key that puts Task-2 before Task-10."""
    name = task.get_name()
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdecimal() else 0, name)


def where(task: asyncio.Task[Any]) -> str:
    """Return where a suspended *task* waits, outermost first: ``main (app.py:12) > wait (locks.py:213)``."""
    frames = list(_frames(task.get_coro()))
    if len(frames) > _FRAMES:
        frames = [*frames[:2], "...", *frames[2 - _FRAMES :]]
    return " > ".join(frames) or "an unknown place"


def _frames(awaited: Any) -> Iterator[str]:
    # Task.get_stack() stops at a suspended task's outermost frame, so the chain of awaits is walked here.
    while awaited is not None:
        frame = next((f for k in ("cr", "gi", "ag") if (f := getattr(awaited, f"{k}_frame", None))), None)
        if frame is None:
            return
        yield f"{frame.f_code.co_name} ({PurePath(frame.f_code.co_filename).name}:{frame.f_lineno})"
        inner = ("cr_await", "gi_yieldfrom", "ag_await")
        awaited = next((a for name in inner if (a := getattr(awaited, name, None)) is not None), None)
