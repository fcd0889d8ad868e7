"""The circuit of one key of a `circuit_breaker`, and how it is shown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sluiceway.expiry import clock_shift, one_loop_at_a_time

if TYPE_CHECKING:
    from collections.abc import Hashable

    from sluiceway.algorithms.circuit import Circuit
    from sluiceway.algorithms.circuit_facts import State, Transition
    from sluiceway.sharing.shared_circuit import SharedCircuit


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """The circuit of one key of a `circuit_breaker` layer at one moment.

    Attributes:
        key: the key; None without `by`.
        state: `"closed"`, `"open"`, `"half_open"`, `"ramping"` (closed, but not yet for all calls) or `"isolated"`. An
            open circuit becomes half-open when the next call asks.
        since: when it came into this state, in seconds of the event loop's clock; None if it was never in another.
        reason: why, in words; `""` if it was never in another.
        calls: results in the window; failures, slow: how many of them were that.
        openings: how often it has opened since it last was closed for all.
        probes: probes that are under way.
    """

    key: Hashable
    state: State
    since: float | None
    reason: str
    calls: int
    failures: int
    slow: int
    openings: int
    probes: int


class BreakerState:
    """The circuit of one key, and what is remembered about it for people."""

    __slots__ = ("circuit", "key", "last", "loop", "shared")

    def __init__(self, key: Hashable, circuit: Circuit) -> None:
        self.key = key
        self.circuit = circuit
        self.last: Transition | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.shared: SharedCircuit | None = None

    def busy(self) -> bool:
        """Whether it must be kept: it refuses calls, or is about to."""
        return self.circuit.counts(self.time())

    def time(self) -> float:
        """Return the time of the event loop that runs, else of the one that it was used in; 0 if none ever was."""
        now = loop_time()
        return now if now is not None else 0.0 if self.loop is None else self.loop.time()

    def move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in another event loop, after the one before has ended."""
        one_loop_at_a_time(self.loop, "circuit_breaker")
        delta = clock_shift(self.loop, loop)
        if delta:
            self.circuit.shift(delta)
            if self.last is not None and self.last.at is not None:
                self.last = replace(self.last, at=self.last.at + delta)
        self.loop = loop
        if self.shared is not None:
            self.shared.in_loop(loop)

    def snapshot(self) -> BreakerSnapshot:
        """Return it as of now if an event loop runs, as of the last call if not."""
        facts = self.circuit.snapshot(loop_time())
        last = self.last
        return BreakerSnapshot(
            self.key,
            facts.state,
            None if last is None else last.at,
            "" if last is None else last.reason,
            facts.calls,
            facts.failures,
            facts.slow,
            facts.openings,
            facts.probes_inside,
        )

    def __str__(self) -> str:
        """The state, since when and why."""
        name = self.circuit.state.replace("_", "-")
        last = self.last
        if last is None:
            return name
        now = loop_time()
        ago = "" if last.at is None or now is None else f" for {max(0.0, now - last.at):.3g} s"
        return f"{name}{ago} ({last.reason})"


def loop_time() -> float | None:
    """Return the time of the event loop that runs; None outside one."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return None
