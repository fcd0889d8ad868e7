"""What gauges show: the state of layers at the moment when somebody collects, not at that of the last call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import conventions as names
from .seen import Seen, held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluiceway.call import Run

STATES: Final = {"closed": 0, "ramping": 1, "half_open": 2, "open": 3, "isolated": 4}


class Level(NamedTuple):
    """One value of one gauge."""

    gauge: str
    value: float
    labels: dict[str, str]


class Levels:
    """The levels of all layers that measured calls ran through.

    Gauges are asked one after the other; they are answered from one look, and a new one is taken when a gauge asks
    for the second time.
    """

    __slots__ = ("_answered", "_found", "_seen")

    def __init__(self) -> None:
        self._seen = Seen()
        self._answered: set[str] = set()
        self._found: dict[str, list[Level]] = {}

    def note(self, run: Run) -> None:
        """Remember the layers of *run*."""
        self._seen.note(run)

    def of(self, gauge: str) -> list[Level]:
        """Return the values of *gauge*."""
        if gauge in self._answered or not self._answered:
            self._answered = set()
            self._found = {}
            for level in self._look():
                self._found.setdefault(level.gauge, []).append(level)
        self._answered.add(gauge)
        return self._found.get(gauge, [])

    def _look(self) -> Iterator[Level]:
        looked: dict[int, list[Level] | None] = {}

        def look(name: str, layers: tuple[Any, ...]) -> list[Level]:
            return list(_labelled(name, layers, looked))

        for found in self._seen.read(look):
            yield from found


def _labelled(name: str, layers: tuple[Any, ...], looked: dict[int, list[Level] | None]) -> Iterator[Level]:
    for each in held(layers, levels_of, looked):
        labels = {names.CALL_NAME: name, names.LAYER: each.layer}
        if each.deployment is not None:
            labels[names.DEPLOYMENT] = each.deployment
        for level in each.shown:
            yield Level(level.gauge, level.value, {**labels, **level.labels})


def levels_of(snapshot: Any) -> list[Level]:
    """Return the levels that *snapshot*, a layer's own, tells; of keys the tightest, and together those that wait.

    Whatever has the fields of our snapshots is read as such: `limit` with `waiting`, `in_flight`, `available`, `left`
    or `state`.
    """
    shots = snapshot if isinstance(snapshot, tuple) else (snapshot,)
    found: list[Level] = []
    queues = [shot.waiting for shot in shots if hasattr(shot, "waiting") and hasattr(shot, "limit")]
    if queues:
        found.append(Level("queue.depth", sum(queues), {}))
    bounds = [shot for shot in shots if hasattr(shot, "in_flight") and isinstance(getattr(shot, "limit", None), int)]
    if bounds:
        fullest = max(bounds, key=lambda shot: shot.in_flight / max(1, shot.limit))
        found.append(Level("concurrency.limit", fullest.limit, {}))
        found.append(Level("concurrency.in_flight", fullest.in_flight, {}))
    found += _tightest(shots, "available", names.LIMIT, ("rate_limit.limit", "rate_limit.available"))
    found += _tightest(shots, "left", names.BUDGET_UNIT, ("budget.limit", "budget.left"))
    states = [STATES.get(shot.state, -1) for shot in shots if isinstance(getattr(shot, "state", None), str)]
    if states:
        found.append(Level("circuit_breaker.state", max(states), {}))
    return found


def _tightest(shots: tuple[Any, ...], left: str, label: str, gauges: tuple[str, str]) -> Iterator[Level]:
    """Return limit and rest by name, of the key that has least *left* of it."""
    found: dict[str, tuple[float, float]] = {}
    for shot in shots:
        rest, limits = getattr(shot, left, None), getattr(shot, "limit", None)
        if not isinstance(rest, Mapping) or not isinstance(limits, Mapping):
            continue
        for name, limit in limits.items():
            known = found.get(name)
            if known is None or rest[name] * known[0] < known[1] * limit:
                found[name] = (limit, rest[name])
    for name, values in found.items():
        for gauge, value in zip(gauges, values, strict=True):
            yield Level(gauge, value, {label: name})
