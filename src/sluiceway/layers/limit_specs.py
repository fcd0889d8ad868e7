"""The limits of a `rate_limited` layer: from its settings to a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sluiceway.algorithms.around import Around
from sluiceway.algorithms.composite import Composite
from sluiceway.algorithms.gcra import Gcra
from sluiceway.algorithms.sliding_window import SlidingWindow
from sluiceway.algorithms.spread import Spread
from sluiceway.algorithms.token_buckets import TokenBuckets
from sluiceway.algorithms.with_places import WithPlaces
from sluiceway.durations import Duration, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sluiceway.algorithms.in_flight import InFlight
    from sluiceway.algorithms.limiter import Limiter, Resource

ALGORITHMS: Final = ("token_bucket", "sliding_window", "gcra")

REQUESTS: Final = "requests"
TOKENS: Final = "tokens"
INPUT: Final = "input tokens"
OUTPUT: Final = "output tokens"

_LONG: Final = 3600.0  # a window from here on is counted, not spread: 1,000 a day would be one in 86 seconds

LARGE: Final = 50  # requests; a smaller burst is on its way before the lag matters
LAG: Final = 0.12
"""Seconds that a client which was idle may take to get its first request to the provider: connections open, and a large
burst is built before it leaves."""

_NAMED: Final = {
    "rpm": (REQUESTS, 60.0),
    "rps": (REQUESTS, 1.0),
    "rpd": (REQUESTS, 86_400.0),
    "tpm": (TOKENS, 60.0),
    "tpd": (TOKENS, 86_400.0),
    "input_tpm": (INPUT, 60.0),
    "output_tpm": (OUTPUT, 60.0),
}


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """One limit: at most `limit` of `unit` per `window` seconds; `name` is the setting it comes from."""

    name: str
    unit: str
    limit: float
    window: float

    @property
    def long(self) -> bool:
        """Whether it is counted over a long window and not spread over it."""
        return self.window >= _LONG


def specify(
    given: Mapping[str, float | None], requests: float | None, window: Duration | None
) -> tuple[LimitSpec, ...]:
    """Return the limits that the settings name, requests first.

    Args:
        given: `rpm`, `tpm` and so on; None where there is no such limit.
        requests: so many requests per *window*.
        window: what *requests* are for; without it, the window over which the provider meters the others.

    Raises:
        TypeError: a limit is not a number.
        ValueError: a limit is not above 0, there is none, or *requests* has no *window*.
    """
    metered = None if window is None else seconds(window, "window")
    found = []
    if requests is not None:
        if metered is None:
            raise ValueError(f'requests={requests!r} needs its window, such as window="1s"')
        found.append(LimitSpec("requests", REQUESTS, _positive("requests", requests), metered))
    for name, (unit, natural) in _NAMED.items():
        limit = given.get(name)
        if limit is None:
            continue
        _positive(name, limit)
        if metered is None or requests is not None or natural >= _LONG:
            found.append(LimitSpec(name, unit, limit, natural))
        else:
            found.append(LimitSpec(name, unit, limit * metered / natural, metered))
    return tuple(found)


def _positive(name: str, limit: float) -> float:
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        raise TypeError(f"{name}={limit!r} must be a number above 0")
    if not 0 < limit < float("inf"):
        raise ValueError(f"{name}={limit!r} must be above 0 and finite")
    return limit


def build(specs: Sequence[LimitSpec], algorithm: str, burst: float, margin: float) -> Limiter:
    """Return the machine that takes from all of *specs* at once or not at all."""
    first = specs[0]
    rate = first.limit / first.window
    lag = LAG if first.unit == REQUESTS and rate * burst >= LARGE else 0.0
    machines: Limiter
    if not any(spec.long for spec in specs) and algorithm == "token_bucket":
        machines = TokenBuckets([(spec.limit, spec.window) for spec in specs], burst, lag)
    else:
        machines = Composite([_machine(spec, algorithm, burst, margin, lag) for spec in specs])
    if first.long or algorithm == "sliding_window":  # counted, or paced already
        return machines
    return Spread(machines, rate)


def carry(before: Limiter, fresh: Limiter, specs: Sequence[LimitSpec], now: float) -> Limiter:
    """Return *fresh*, a machine for *specs*, at the levels that *before* has at *now*, as far as it holds them.

    A level is kept as a number of permits, a debt too: a limit that is doubled gives nothing for the past. The log of
    an exact window stays as it is, under its new limit. Both machines were built of limits of the same names.
    """
    logs = {i: log for i, log in enumerate(_machines(before)) if isinstance(log, SlidingWindow)}
    for i, level in enumerate(before.levels(now)):
        if i in logs:
            logs[i].resize(specs[i].limit, specs[i].window, now)
        else:
            fresh.learn(i, level, now)
    if not logs:
        return fresh
    composite = Composite([logs.get(i, machine) for i, machine in enumerate(_machines(fresh))])
    rate = specs[0].limit / specs[0].window
    return Spread(composite, rate) if isinstance(fresh, Spread) else composite


def _machines(limiter: Limiter) -> Sequence[Resource]:
    """Return the machines that *limiter* is put together from; none if it is one by itself."""
    while isinstance(limiter, Around):
        limiter = limiter.limiter
    return limiter.machines if isinstance(limiter, Composite) else ()


def with_places(limiter: Limiter, places: InFlight | None) -> Limiter:
    """Return *limiter*, each permit of which also holds one of *places* if there are such."""
    return limiter if places is None else WithPlaces(limiter, places)


def _machine(spec: LimitSpec, algorithm: str, burst: float, margin: float, lag: float) -> Resource:
    if spec.long:
        return SlidingWindow(spec.limit, spec.window, margin, paced=False)
    if algorithm == "sliding_window":
        return SlidingWindow(spec.limit, spec.window, margin)
    return Gcra(spec.limit, spec.window, burst, lag)


def nearest(specs: Sequence[LimitSpec], unit: str, limit: float | None) -> int | None:
    """Return the index of the limit on *unit* that a header about *limit* speaks of; None if we have none.

    Headers do not name their window. It is our limit of that unit whose number is nearest; without a number the one
    with the shortest window.
    """
    ours = [i for i, spec in enumerate(specs) if spec.unit == unit]
    if not ours:
        return None
    if limit is None:
        return min(ours, key=lambda i: specs[i].window)
    return min(ours, key=lambda i: abs(specs[i].limit - limit))


def weigher(specs: Sequence[LimitSpec]) -> Callable[[Sequence[float]], float]:
    """Return what counts of costs where a limit is shared out: the request, if limited, and its tokens.

    Each unit counts once, though it may be limited per minute and per day, and input and output only where no limit
    is on both together. A request counts as one token, so that calls of no tokens are not free.
    """
    first: dict[str, int] = {}
    for i, spec in enumerate(specs):
        first.setdefault(spec.unit, i)
    units = (REQUESTS, TOKENS) if TOKENS in first else (REQUESTS, INPUT, OUTPUT)
    counted = [first[unit] for unit in units if unit in first]

    def weigh(costs: Sequence[float]) -> float:
        return sum(costs[i] for i in counted)

    return weigh
