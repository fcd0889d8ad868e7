"""The instruments, made once from a meter: names, units and buckets."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import Observation

from . import conventions as names
from .levels import Levels
from .recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.metrics import CallbackOptions, Meter

DURATIONS: Final = tuple(0.01 * 2**n for n in range(14))
"""Seconds, 10 ms to 81.92 s: the GenAI conventions' buckets."""
WAITS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds; nearly every wait is either nothing or long."""
TOKENS: Final = tuple(float(4**n) for n in range(14))
"""Tokens, 1 to 67,108,864: the GenAI conventions' buckets."""


GAUGES: Final = (
    ("queue.depth", "{call}", "Calls that wait, at all keys together"),
    ("concurrency.limit", "{call}", "How many calls may be in flight, at the fullest key"),
    ("concurrency.in_flight", "{call}", "How many are, at the fullest key"),
    ("rate_limit.limit", "{unit}", "What the limit allows, by its name"),
    ("rate_limit.available", "{unit}", "What it has left, at the key with least"),
    ("circuit_breaker.state", "{state}", "0 closed, 1 ramping, 2 half-open, 3 open, 4 isolated; of keys the worst"),
    ("budget.limit", "{unit}", "The whole budget, by unit"),
    ("budget.left", "{unit}", "What is neither spent nor reserved, at the key with least"),
)
"""Name, unit and text of what is read from the layers when somebody collects."""


class Instruments:
    """What is measured. Histograms of tokens and waits also give the sums that rates are made of.

    Attributes:
        levels: what the gauges show: the layers that calls were noted to run through.
        active: how many calls are under way.
    """

    __slots__ = (
        "active",
        "attempt_duration",
        "cache_hits",
        "call_duration",
        "circuit_transitions",
        "coalesced",
        "cost",
        "fallbacks",
        "first_item",
        "hedges",
        "levels",
        "passed_over",
        "pauses",
        "rejections",
        "retries",
        "store_changes",
        "tokens",
        "wait_duration",
        "wasted_attempts",
    )

    def __init__(self, meter: Meter) -> None:
        def histogram(name: str, unit: str, text: str, buckets: Sequence[float]) -> Recorder:
            return Recorder(
                meter.create_histogram(f"sluiceway.{name}", unit, text, explicit_bucket_boundaries_advisory=buckets)
            )

        self.call_duration = histogram("call.duration", "s", "Calls, waits and retries included", DURATIONS)
        self.attempt_duration = histogram("attempt.duration", "s", "Trips to the provider", DURATIONS)
        self.wait_duration = histogram("wait.duration", "s", "Waits of calls, by reason", WAITS)
        self.first_item = histogram("stream.first_item.duration", "s", "From the attempt to its first item", DURATIONS)
        self.tokens = histogram("tokens", "{token}", "Tokens of an attempt, by type", TOKENS)
        count = meter.create_counter
        self.retries = count("sluiceway.retries", "{retry}", "Attempts after the first")
        self.rejections = count("sluiceway.rejections", "{call}", "Refusals by a layer before the provider")
        self.circuit_transitions = count("sluiceway.circuit_breaker.transitions", "{transition}", "By new state")
        self.coalesced = count("sluiceway.coalesced", "{call}", "Calls that took the answer to an equal one under way")
        self.hedges = count("sluiceway.hedges", "{attempt}", "Attempts beside a slow one")
        self.wasted_attempts = count("sluiceway.hedges.lost", "{attempt}", "Attempts that another one of the call beat")
        self.cache_hits = count("sluiceway.cache.hits", "{call}", "Calls that a cache answered")
        self.cost = Recorder(count("sluiceway.cost", "USD", "By list prices, where they are known"))
        self.fallbacks = count("sluiceway.fallbacks", "{call}", "Calls that another model or function was asked for")
        self.passed_over = count("sluiceway.routed.passed_over", "{call}", "Refusals and failures of a deployment")
        self.active = Active()
        meter.create_observable_up_down_counter(
            "sluiceway.calls.active", [self.active.show], "{call}", "Calls under way"
        )
        self.pauses = count("sluiceway.rate_limit.pauses", "{pause}", "Stops of a limit that the provider asked for")
        self.store_changes = count(
            "sluiceway.store.changes", "{change}", "A store of shared state went away, came back"
        )
        self.levels = Levels()
        for name, unit, text in GAUGES:
            meter.create_observable_gauge(f"sluiceway.{name}", [_showing(self.levels, name)], unit, text)


class Active:
    """How many calls of each name are under way: kept here, and shown when somebody collects.

    Two measurements a call would cost more than all the others.
    """

    __slots__ = ("_calls", "_lock")

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}
        self._lock = Lock()  # event loops of several threads share the instruments

    def change(self, name: str, by: int) -> None:
        """Count *by* more calls of this name."""
        with self._lock:
            self._calls[name] = self._calls.get(name, 0) + by

    def show(self, _: CallbackOptions) -> list[Observation]:
        """Return how many there are of each name."""
        with self._lock:
            return [Observation(count, {names.CALL_NAME: name}) for name, count in self._calls.items()]


def _showing(levels: Levels, gauge: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """Return what the SDK calls when somebody collects *gauge*."""

    def show(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(level.value, level.labels) for level in levels.of(gauge)]

    return show
