"""The settings that every waiting layer has: how long, how many, in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.durations import Duration, optional_seconds
from sluiceway.expiry import Wheel
from sluiceway.queues.fifo import Fifo

if TYPE_CHECKING:
    from sluiceway.admission import Discipline, WaitingRoom
    from sluiceway.call import Call


class Queueing:
    """`max_wait`, `max_queue` and `queue` of a layer, checked.

    Attributes:
        max_wait: seconds; None for ever.
        patience: ends waits after `max_wait`; None if nobody can run out of it.
        max_queue: how many may wait; None for any number.
        discipline: makes the queue of each room.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting is out of range.
    """

    __slots__ = ("discipline", "max_queue", "max_wait", "patience")

    def __init__(self, max_wait: Duration | None, max_queue: int | None, queue: Discipline | None) -> None:
        self.max_wait = optional_seconds(max_wait, "max_wait", zero=True)
        self.patience = Wheel(self.max_wait) if self.max_wait else None
        self.max_queue = None if max_queue is None else count(max_queue, "max_queue", 0)
        self.discipline: Discipline = Fifo() if queue is None else queue
        if isinstance(self.discipline, type) or not hasattr(self.discipline, "open"):
            raise TypeError(f"queue={queue!r} must be the order of a queue, such as Fifo() or Fair()")

    def full(self, depth: int, room: WaitingRoom | None = None, call: Call | None = None) -> str | None:
        """Return why a queue of *depth* takes nobody, or *room* not *call*; None if it does."""
        if self.max_queue is None or depth < self.max_queue:
            return None if room is None else room.full(call)
        return f"{depth} calls wait already (max_queue={self.max_queue})"


def count(value: int, name: str, least: int) -> int:
    """Return *value*, a number of calls.

    Raises:
        TypeError: *value* is not an int.
        ValueError: *value* is below *least*.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} must be a whole number of at least {least}")
    if value < least:
        raise ValueError(f"{name}={value!r} must be at least {least}")
    return value
