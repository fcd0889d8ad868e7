"""The urgent before the rest."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from sluiceway.durations import Duration, optional_seconds
from sluiceway.queues.fifo import Fifo

from .classes import Classes, Lanes

if TYPE_CHECKING:
    from sluiceway.admission import Discipline, Weigh


class Priority:
    """The most urgent first, as `hints(priority=HIGH)` says; within a class whoever came first.

    ``queue=Priority(aging="10s")``. Smaller numbers are more urgent: `HIGH` 0, `NORMAL` 1, `LOW` 2, or any other int.
    Permits around blocks of code are `NORMAL`. Nobody who runs is interrupted: a class decides who is next. A further
    attempt of a call stands where the call stood.

    Without `aging` a class waits as long as a more urgent one has anybody, for ever if need be. With it a waiter gains
    one class every `aging` seconds: LOW goes before any NORMAL that came more than `aging` later, and before any HIGH
    that came more than twice that later. So nobody waits for ever, and the urgent still pass most of the rest.

    Priorities are not fairness. They say whose turn it is, not how much each gets: a tenant whose calls are all HIGH
    takes everything, and two of one class get as much as each sends. Shares are what `Fair` gives:
    ``Priority(within=Fair())`` divides each class between its tenants.

    Args:
        aging: after how long a waiter counts as one class more urgent; None for never.
        max_queue: how many may wait in each class, one number for all or a mapping of classes; None for any number.
        within: the order within a class; with other orders than `Fifo()`, a class ages by the one that waits longest
            in it, and `within` says who of the class goes.

    Raises:
        QueueFull: on a call, when `max_queue` of its class wait.
        TypeError: a setting has the wrong type.
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        aging: Duration | None = None,
        max_queue: int | Mapping[int, int] | None = None,
        within: Discipline | None = None,
    ) -> None:
        self.aging = optional_seconds(aging, "aging")
        self.max_queue = _limits(max_queue)
        self.within: Discipline = Fifo() if within is None else within
        if isinstance(self.within, (type, Priority)) or not hasattr(self.within, "open"):
            raise TypeError(f"within={within!r} must be the order of a queue, such as Fifo() or Fair()")

    def open(self, weigh: Weigh | None = None) -> Classes:
        """Return a new, empty queue; *weigh* goes to the orders within."""
        if isinstance(self.within, Fifo):
            return Classes(self.aging, self.max_queue)
        return Lanes(self.aging, self.max_queue, self.within, weigh)

    def __repr__(self) -> str:
        limit = dict(self.max_queue) if isinstance(self.max_queue, Mapping) else self.max_queue
        given = [] if self.aging is None else [f"aging={self.aging:g}"]
        given += [] if limit is None else [f"max_queue={limit}"]
        given += [] if isinstance(self.within, Fifo) else [f"within={self.within!r}"]
        return f"Priority({', '.join(given)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Priority) and (self.aging, self.max_queue, self.within) == (
            other.aging,
            other.max_queue,
            other.within,
        )

    def __hash__(self) -> int:
        return hash((Priority, self.aging, self.within))


def _limits(given: int | Mapping[int, int] | None) -> int | Mapping[int, int] | None:
    """Return `max_queue`, checked and frozen."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return MappingProxyType(
            {_whole(name, "a class of max_queue"): _at_least_0(most) for name, most in given.items()}
        )
    return _at_least_0(given)


def _at_least_0(value: int) -> int:
    if _whole(value, "max_queue") < 0:
        raise ValueError(f"max_queue={value!r} must be at least 0")
    return value


def _whole(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} must be a whole number")
    return value
