"""The contract of everything that hands out permits.

All machines are *told* the time: ``now`` is in seconds of any one monotonic clock. A ``now`` earlier than that of the
last change counts as the later one: time never goes backwards. Costs are at least 0; a cost of 0 does not
touch its resource and never waits for it. Settings are checked when a machine is made, costs are not: this is
the hot path.

=============================  ==============================================================================
``wait(cost, now)``            Seconds until a take could succeed: 0.0 for "now", None for "when somebody
                               leaves, and at no time before". It is a lower bound, since others may come first,
                               but who waits exactly that long, alone, is admitted. Nothing changes.
``take(cost, now)``            The same answer; 0.0 means that the cost was taken. Several resources are taken
                               at once or not at all; the wait is then the longest of theirs.
``charge(cost, now)``          Take without asking, into debt if need be.
``give(cost, now, at=)``       Hand back a permit that was never used: everything it took, places included.
``adjust(delta, now, at=)``    Settle a permit: actual minus estimated cost. Positive charges more and may leave
                               a debt, which delays those who come later; negative refunds, and never lifts a
                               level above its capacity. Places in flight are not settled: they are given back.
``learn(remaining, now)``      The provider says what remains: ``level = min(level, remaining)``. With ``raise_to``
                               the level may also rise to that value, up to the whole limit.
``pause(until, now)``          Nothing is admitted before *until*. Nothing refills meanwhile, and afterwards the
                               level is at most 1 (one request, as good as no tokens), so that those who
                               wait come back paced and not as a burst. A pause only ever extends another.
``shift(delta)``               The clock was exchanged for another one, on which the same moment reads *delta* later.
``largest()``                  The whole limit. The caller refuses larger costs: they could never fit.
``level(now)``                 What is left now, negative in debt; for snapshots.
=============================  ==============================================================================

``at`` is the time at which the permit was taken. Only an exact log needs it, to correct the right entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Resource(Protocol):
    """One limited resource, such as a rate of requests, or the places in flight."""

    def wait(self, cost: float, now: float, /) -> float | None:
        """Return the seconds until *cost* could be taken; None if only a leaver can help."""
        ...

    def take(self, cost: float, now: float, /) -> float | None:
        """Return 0.0 and take *cost*, or return the wait and take nothing."""
        ...

    def charge(self, cost: float, now: float, /) -> None:
        """Take *cost* whatever the level."""
        ...

    def give(self, cost: float, now: float, at: float | None = None, /) -> None:
        """Hand back an unused permit of *cost*, taken at *at*."""
        ...

    def adjust(self, delta: float, now: float, at: float | None = None, /) -> None:
        """Settle a permit, taken at *at*, by *delta* = actual - estimated."""
        ...

    def learn(self, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Lower the level to *remaining*; raise it to *raise_to* if given."""
        ...

    def pause(self, until: float, now: float, /) -> None:
        """Admit nothing before *until*."""
        ...

    def shift(self, delta: float, /) -> None:
        """Move every remembered time by *delta*."""
        ...

    def largest(self) -> float:
        """Return the largest cost that can ever be admitted."""
        ...

    def level(self, now: float, /) -> float:
        """Return what is left at *now*."""
        ...


class Limiter(Protocol):
    """Several resources, taken at once or not at all: costs, deltas and levels in the order of the limits."""

    def wait(self, costs: Sequence[float], now: float, /) -> float | None:
        """Return the seconds until all *costs* could be taken; None if only a leaver can help."""
        ...

    def take(self, costs: Sequence[float], now: float, /) -> float | None:
        """Return 0.0 and take all *costs*, or return the wait and take nothing."""
        ...

    def give(self, costs: Sequence[float], now: float, at: float | None = None, /) -> None:
        """Hand back an unused permit of *costs*, taken at *at*."""
        ...

    def adjust(self, deltas: Sequence[float], now: float, at: float | None = None, /) -> None:
        """Settle a permit, taken at *at*, by *deltas* = actual - estimated."""
        ...

    def learn(self, i: int, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Lower level *i* to *remaining*; raise it to *raise_to* if given."""
        ...

    def pause(self, until: float, now: float, /) -> None:
        """Admit nothing before *until*."""
        ...

    def shift(self, delta: float, /) -> None:
        """Move every remembered time by *delta*."""
        ...

    def largest(self, i: int, /) -> float:
        """Return the largest cost that resource *i* can ever admit."""
        ...

    def levels(self, now: float, /) -> tuple[float, ...]:
        """Return what is left at *now*."""
        ...
