"""Several single resources, taken at once or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.algorithms.limiter import Resource


class Composite:
    """Machines of any kind as one limiter, costs in their order (see :mod:`.limiter`).

    A take asks all but one, takes from that one, and then charges the rest: nothing is ever taken and given back,
    so a failed take leaves no trace in any of them.

    Attributes:
        machines: the resources; to change one's limit, resize it here.

    Raises:
        ValueError: there is no machine, or the same one twice.
    """

    __slots__ = ("_charges", "_first", "_waits", "machines")

    def __init__(self, machines: Sequence[Resource]) -> None:
        if not machines or len({id(machine) for machine in machines}) < len(machines):
            raise ValueError(f"machines={machines!r} must be at least one, and different ones")
        self.machines = tuple(machines)
        self._first = machines[0].take
        self._waits = tuple((i, machine.wait) for i, machine in enumerate(machines) if i)
        self._charges = tuple((i, machine.charge) for i, machine in enumerate(machines) if i)

    def take(self, costs: Sequence[float], now: float) -> float | None:
        """Return 0.0 and take all *costs*, or return the wait and take nothing."""
        for i, wait in self._waits:
            if wait(costs[i], now) != 0.0:
                return self.wait(costs, now)
        if self._first(costs[0], now) != 0.0:
            return self.wait(costs, now)
        for i, charge in self._charges:
            charge(costs[i], now)
        return 0.0

    def wait(self, costs: Sequence[float], now: float) -> float | None:
        """Return the longest of the machines' waits; None if one of them needs a leaver."""
        longest = 0.0
        for machine, cost in zip(self.machines, costs, strict=True):
            wait = machine.wait(cost, now)
            if wait is None:
                return None
            longest = max(longest, wait)
        return longest

    def give(self, costs: Sequence[float], now: float, at: float | None = None) -> None:
        """Hand back an unused permit of *costs*, taken at *at*."""
        for machine, cost in zip(self.machines, costs, strict=True):
            machine.give(cost, now, at)

    def adjust(self, deltas: Sequence[float], now: float, at: float | None = None) -> None:
        """Settle a permit, taken at *at*, by *deltas*."""
        for machine, delta in zip(self.machines, deltas, strict=True):
            machine.adjust(delta, now, at)

    def learn(self, i: int, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Lower level *i* to *remaining*; raise it to *raise_to* if given."""
        self.machines[i].learn(remaining, now, raise_to=raise_to)

    def pause(self, until: float, now: float) -> None:
        """Admit nothing before *until*."""
        for machine in self.machines:
            machine.pause(until, now)

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*; see :mod:`.limiter`."""
        for machine in self.machines:
            machine.shift(delta)

    def largest(self, i: int) -> float:
        """Return the largest cost that resource *i* can ever admit."""
        return self.machines[i].largest()

    def levels(self, now: float) -> tuple[float, ...]:
        """Return what is left at *now*."""
        return tuple(machine.level(now) for machine in self.machines)

    def __repr__(self) -> str:
        return f"<Composite {', '.join(map(repr, self.machines))}>"
