"""A circuit breaker, decided: when to stop calling a provider that fails, and how to come back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from sluiceway.algorithms.backoff import Backoff
from sluiceway.algorithms.circuit_facts import CircuitSnapshot, Refusal, Transition
from sluiceway.algorithms.outcome_window import OutcomeWindow
from sluiceway.algorithms.rates import EPSILON, at_least_zero, positive, share, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from sluiceway.algorithms.circuit_facts import State

_UNTOLD = 32  # transitions kept for a shell that never asks
_SETTINGS = (
    "_failure_ratio", "_slow_ratio", "_slow_call", "_min_calls", "_open_for", "_backoff", "_places", "_close_after",
    "_ramp",
)  # fmt: skip
_CLAIMING = 0.25  # seconds until it is known whether another tries the provider
_FIRST_SHARE = 0.1  # of the calls, at the start of the ramp


class Circuit:
    """Whether a call may go to the provider now, told from how the calls of the last *window* seconds ended.

    - **closed**: all pass. Opens when at least *min_calls* ended in the window, *failure_ratio* of them in failure, or
      *slow_ratio* of them only after *slow_call* seconds.
    - **open**: none pass, for ``b/2 + U(0, b/2)`` seconds with ``b = min(max_open_for, open_for * 2**i)`` after the
      i-th opening in a row (equal jitter, so that a fleet does not probe in one instant).
    - **half_open**: *probes* at a time pass. *close_after* successes close it, one failure or slow success opens it. A
      probe that has not reported after *open_for* seconds loses its place to another and is not heard any more.
    - **ramping**: closed, but a share of the calls passes that grows from 10 % to 100 % over *ramp* seconds; a provider
      that has just come back is not given the whole queue at once. When it is over, doubling starts afresh.
    - **isolated**: none pass until :meth:`reset`.

    Every permit is a number, its generation. Results of a generation that is over, calls that began before the circuit
    last opened for example, are not heard. A probe is a generation of its own, so its place returns exactly once.

    Each permit ends in one of :meth:`success`, :meth:`failure`, :meth:`throttled`, :meth:`neutral`. What changed is
    queued in :attr:`transitions`, oldest first, for the shell to take and report.

    Args:
        failure_ratio: share of failures that opens it, in (0, 1].
        window: seconds.
        min_calls: results below which no share means anything.
        slow_call: seconds from which a success counts as slow; None: never.
        slow_ratio: share of slow calls that opens it, in (0, 1].
        open_for: seconds of the first opening.
        max_open_for: seconds to which doubling goes.
        probes: calls at a time when half-open.
        close_after: successful probes that close it.
        ramp: seconds; 0 for none.

    Attributes:
        state: see above; as of the last call of a method.
        live: the generation whose results the window counts, -1 if there is none. While the circuit is closed, that is
            what `admit` returns.
        transitions: what changed and was not yet taken; the last 32 at most.
        elsewhere: calls, failures and slow ones that other processes count in the same window.
        claim: asked before an open circuit is tried again; None where nobody else may be trying.
        leads: whether this one is to try for all.

    Raises:
        ValueError: a number is out of range.
        TypeError: *min_calls*, *probes* or *close_after* is not a whole number.
    """

    __slots__ = (
        "_backoff",
        "_close_after",
        "_closed_at",
        "_failure_ratio",
        "_generation",
        "_min_calls",
        "_open_for",
        "_opened_at",
        "_openings",
        "_places",
        "_probes",
        "_ramp",
        "_slow_call",
        "_slow_ratio",
        "_successes",
        "_until",
        "_window",
        "claim",
        "elsewhere",
        "leads",
        "live",
        "state",
        "transitions",
    )

    def __init__(
        self,
        *,
        failure_ratio: float = 0.5,
        window: float = 60.0,
        min_calls: int = 20,
        slow_call: float | None = None,
        slow_ratio: float = 0.5,
        open_for: float = 30.0,
        max_open_for: float = 300.0,
        probes: int = 1,
        close_after: int = 3,
        ramp: float = 30.0,
    ) -> None:
        self._failure_ratio = share(failure_ratio, "failure_ratio")
        self._slow_ratio = share(slow_ratio, "slow_ratio")
        self._slow_call = None if slow_call is None else positive(slow_call, "slow_call")
        self._min_calls = whole(min_calls, "min_calls")
        self._open_for = positive(open_for, "open_for")
        if positive(max_open_for, "max_open_for") < open_for:
            raise ValueError(f"max_open_for={max_open_for!r} must be at least open_for={open_for!r}")
        self._backoff = Backoff(open_for, max_open_for, "equal")
        self._places = whole(probes, "probes")
        self._close_after = whole(close_after, "close_after")
        self._ramp = at_least_zero(ramp, "ramp")
        self._window = OutcomeWindow(window)
        self._openings = 0
        self._opened_at = self._closed_at = 0.0
        self._until: float | None = None
        self._successes = 0
        self._probes: dict[int, float] = {}  # generation -> when it was admitted, oldest first
        self._generation = self.live = 0  # the last one given out
        self.state: State = "closed"
        self.transitions: deque[Transition] = deque(maxlen=_UNTOLD)
        self.elsewhere = (0, 0, 0)
        self.claim: Callable[[float], bool] | None = None
        self.leads = False

    def admit(self, now: float, rng: Random) -> int | Refusal:
        """Return the generation of a permit, to be handed in with its result, or a :class:`Refusal`."""
        if self.state == "closed":
            return self.live
        if self.state == "ramping":
            return self._admit_ramping(now, rng)
        if self.state == "isolated":
            return Refusal("isolated", None)
        if self.state == "open":
            if self._until is None:  # drawn by the first to ask: results, which open circuits, bring no chance along
                self._until = self._opened_at + self._backoff.delay(self._openings - 1, rng)
            if now < self._until - EPSILON:
                return Refusal("open", self._until - now)
            if self.claim is not None and not self.claim(now):
                return Refusal("open", _CLAIMING)
            self._successes = 0
            self._change("half_open", now, "the time open is over")
        return self._admit_probe(now)

    def refuses(self, now: float) -> bool:
        """Whether :meth:`admit` would certainly refuse a call at *now*; changes nothing."""
        if self.state == "half_open":
            probes = self._probes
            return len(probes) >= self._places and now - next(iter(probes.values())) < self._open_for - EPSILON
        if self.state == "open":
            return self._until is not None and now < self._until - EPSILON
        return self.state == "isolated"

    def counts(self, now: float) -> bool:
        """Whether it holds back more at *now* than a new one would, or may soon, by what it has counted.

        One that opened counts for as long as it can be open, also if nobody came to try the provider sooner.
        """
        if self.state == "isolated" or any(now - since < self._open_for for since in self._probes.values()):
            return True
        if self.state in ("open", "half_open"):
            return now < self._opened_at + self._backoff.cap
        if self.state == "ramping" and now < self._closed_at + self._ramp:
            return True
        window = self._window
        window.advance(now)
        return window.failures > 0 or window.slow > 0

    def success(self, generation: int, now: float, duration: float = 0.0) -> None:
        """Report that the call of *generation* succeeded after *duration* seconds."""
        slow = self._slow_call is not None and duration >= self._slow_call
        if generation == self.live:
            window = self._window
            window.count(now, False, slow)
            if window.failures or window.slow:
                self._judge(now)
        elif self._probes.pop(generation, None) is not None:
            if slow:
                self._open(now, f"a probe took {duration:g} s")
                return
            self._successes += 1
            if self._successes >= self._close_after:
                self._close(now)

    def failure(self, generation: int, now: float) -> None:
        """Report that the call of *generation* failed, by the provider's fault."""
        if generation == self.live:
            self._window.count(now, True, False)
            self._judge(now)
        elif self._probes.pop(generation, None) is not None:
            self._open(now, "a probe failed")

    def throttled(self, generation: int, now: float) -> None:
        """Report a 429: alive but busy, so no failure while closed; yet a probe that meets one has failed."""
        if generation != self.live:
            self.failure(generation, now)

    def neutral(self, generation: int, now: float) -> None:  # noqa: ARG002 - every result is told the time
        """Report that the call of *generation* says nothing about the provider: cancelled, refused, our mistake.

        A probe gives its place back, and neither closes nor opens the circuit.
        """
        self._probes.pop(generation, None)

    def isolate(self, now: float | None = None, reason: str = "isolated by hand") -> None:
        """Let nothing through until :meth:`reset`."""
        if self.state != "isolated":
            self._change("isolated", now, reason)

    def reset(self, now: float | None = None, reason: str = "reset by hand") -> None:
        """Close at once, without a ramp, and forget what was counted."""
        self._openings = 0
        if self.state != "closed":
            self._change("closed", now, reason)
        self._listen()

    def retune(self, fresh: Circuit, window: float, now: float) -> None:
        """Take over the settings of *fresh*, whose window is *window* seconds; state and results stay."""
        for name in _SETTINGS:
            setattr(self, name, getattr(fresh, name))
        self._window.resize(window, now)

    def follow(self, state: State, at: float, openings: int, reason: str) -> None:
        """Go into *state*, as another circuit for the same provider did at *at*."""
        self._openings = openings
        self._opened_at = self._closed_at = at
        self._until = None
        if state != self.state:
            self._change(state, at, reason)
            if state in ("closed", "ramping"):
                self._listen()

    def shift(self, delta: float) -> None:
        """Go on by a clock on which the same moment reads *delta* seconds later."""
        self._opened_at += delta
        self._closed_at += delta
        if self._until is not None:
            self._until += delta
        self._probes = {generation: since + delta for generation, since in self._probes.items()}
        self._window.shift(delta)

    def snapshot(self, now: float | None = None) -> CircuitSnapshot:
        """Return the circuit as it is, its window turned to *now* if given."""
        if now is not None:
            self._window.advance(now)
        window = self._window
        return CircuitSnapshot(
            self.state,
            window.calls,
            window.failures,
            window.slow,
            self._openings,
            len(self._probes),
            self._successes if self.state == "half_open" else 0,
        )

    def _admit_ramping(self, now: float, rng: Random) -> int | Refusal:
        if self._ramp_over(now):
            return self.live
        elapsed = max(0.0, now - self._closed_at)
        if rng.random() < _FIRST_SHARE + (1.0 - _FIRST_SHARE) * elapsed / self._ramp:
            return self.live
        return Refusal("ramping", min(self._ramp - elapsed, self._ramp / 10))

    def _admit_probe(self, now: float) -> int | Refusal:
        probes = self._probes
        for generation in [g for g, since in probes.items() if now - since >= self._open_for - EPSILON]:
            del probes[generation]
        if len(probes) >= self._places:
            oldest = next(iter(probes.values()))
            return Refusal("half_open", min(oldest + self._open_for - now, self._open_for / 10))
        self._generation += 1
        probes[self._generation] = now
        return self._generation

    def _judge(self, now: float) -> None:
        window = self._window
        others, failed, late = self.elsewhere
        calls, failures, slow = window.calls + others, window.failures + failed, window.slow + late
        if calls < self._min_calls:
            return
        if failures >= self._failure_ratio * calls - EPSILON:
            reason = f"{failures} of {calls} calls failed"
        elif slow >= self._slow_ratio * calls - EPSILON:
            reason = f"{slow} of {calls} calls took {self._slow_call:g} s or more"
        else:
            return
        self._ramp_over(now)
        self._open(now, reason)

    def _ramp_over(self, now: float) -> bool:
        if self.state != "ramping" or now - self._closed_at < self._ramp - EPSILON:
            return False
        self._openings = 0
        self._change("closed", now, "the ramp is over")
        return True

    def _open(self, now: float, reason: str) -> None:
        self._openings += 1
        self._opened_at = now
        self._until = None
        self._change("open", now, reason)

    def _close(self, now: float) -> None:
        self._closed_at = now
        if not self._ramp:
            self._openings = 0
        self._change("ramping" if self._ramp else "closed", now, f"{self._successes} probes succeeded")
        self._listen()

    def _listen(self) -> None:
        """Begin a generation that the window counts, with nothing counted yet."""
        self._generation += 1
        self.live = self._generation
        self._window.clear()

    def _change(self, new: State, at: float | None, reason: str) -> None:
        self.transitions.append(Transition(self.state, new, at, reason))
        self.state = new
        if new in ("open", "half_open", "isolated"):
            self.live = -1
        self._probes.clear()

    def __repr__(self) -> str:
        facts = self.snapshot()
        return f"<Circuit {facts.state}, {facts.failures} of {facts.calls} calls failed, {facts.slow} slow>"
