"""What the demo has seen so far, told by the session's events."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from sluiceway import snapshot
from sluiceway.errors import TimedOut
from sluiceway.events import AttemptFinished, CircuitChanged, LimitPaused

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluiceway.call import Attempt
    from sluiceway.events import Event

_NEWS = 5


class Gauge:
    """Counts for the live display, and the latest news.

    Args:
        ask: the function that is called, whose layers are looked at.
        total: how many calls there will be.
    """

    def __init__(self, ask: Callable[..., Any], total: int) -> None:
        self._ask = ask
        self._began = time.monotonic()
        self.total = total
        self.done = self.attempts = self.tokens = 0
        self.failures: Counter[str] = Counter()
        self.news: deque[str] = deque(maxlen=_NEWS)

    @property
    def elapsed(self) -> float:
        """Seconds since the first call."""
        return time.monotonic() - self._began

    @property
    def pace(self) -> float:
        """Calls that are over, per second."""
        return self.done / max(self.elapsed, 0.001)

    def waiting(self) -> int:
        """How many calls wait for a place or for a rate."""
        shots = snapshot(self._ask)
        return sum(shot.waiting for name in ("bounded", "rate_limited") for shot in shots[name])

    def in_flight(self) -> int:
        """How many calls are at the provider, or have a place there and wait for the rate."""
        return int(sum(shot.in_flight for shot in snapshot(self._ask)["bounded"]))

    def circuit(self) -> str:
        """The state of the circuit."""
        return str(snapshot(self._ask)["circuit_breaker"][0].state).replace("_", "-")

    def progress(self, done: int, total: int | None) -> None:
        """Hear how many calls are over."""
        self.done = done
        self.total = total or self.total

    def hear(self, event: Event) -> None:
        """Hear an event of the session."""
        if isinstance(event, AttemptFinished):
            self._attempt(event.attempt)
        elif isinstance(event, LimitPaused):
            self._tell(f"{event.layer} pauses for {event.seconds:.3g} s, as {event.source} asks")
        elif isinstance(event, CircuitChanged):
            self._tell(f"the circuit is {event.new.replace('_', '-')}: {event.reason}")

    def _attempt(self, attempt: Attempt) -> None:
        self.attempts += 1
        if attempt.usage is not None:
            self.tokens += attempt.usage.input_tokens + attempt.usage.output_tokens
        if attempt.error is not None and attempt.outcome == "error":
            what = kind(attempt.error)
            self.failures[what] += 1
            took = 0.0 if attempt.ended_at is None else attempt.ended_at - attempt.started_at
            self._tell(f"{what} after {took:.2f} s, attempt {attempt.number}")
        elif attempt.number > 1 and attempt.outcome == "ok":
            self._tell(f"answered, attempt {attempt.number}")

    def _tell(self, text: str) -> None:
        self.news.append(f"{self.elapsed:5.1f} s  {text}")


def kind(error: BaseException) -> str:
    """Return what went wrong in a word, never the provider's message: it may quote the prompt."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return str(status)
    return "timed out" if isinstance(error, TimedOut) else type(error).__name__
