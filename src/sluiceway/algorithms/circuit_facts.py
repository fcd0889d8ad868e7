"""What a circuit breaker tells: its state, its refusals, its changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half_open", "ramping", "isolated"]


@dataclass(frozen=True, slots=True)
class Transition:
    """The circuit changed its state.

    Attributes:
        old: the state before.
        new: the state after.
        at: when, in seconds of the clock that the circuit is told; None if it was done by hand without one.
        reason: why, for people.
    """

    old: State
    new: State
    at: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The circuit did not let a call through.

    Attributes:
        state: the state that refused it.
        retry_after: seconds after which another try makes sense; None if only a person can tell (isolated).
    """

    state: State
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class CircuitSnapshot:
    """A circuit at one moment.

    Attributes:
        state: the state; an open circuit becomes half-open only when the next call asks.
        calls: results in the window.
        failures: failures among them.
        slow: slow successes among them.
        openings: how often it has opened since it was last fully closed.
        probes_inside: probes that have not reported yet.
        successes: probes that have succeeded since it became half-open.
    """

    state: State
    calls: int
    failures: int
    slow: int
    openings: int
    probes_inside: int
    successes: int
