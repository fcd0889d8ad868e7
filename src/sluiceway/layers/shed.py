"""Refuse early what would only wait in vain."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar

from sluiceway.algorithms.sojourn import Sojourn
from sluiceway.durations import Duration, optional_seconds, seconds
from sluiceway.errors import Overloaded
from sluiceway.events import CallRejected, Phase
from sluiceway.layer import Layer
from sluiceway.layers.queueing import count
from sluiceway.layers.renewing import adopt, agrees
from sluiceway.order import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sluiceway.admission import WaitingRoom
    from sluiceway.call import Call, Proceed

T = TypeVar("T")

_NO_TARGET: Final = float("inf")


@dataclass(frozen=True, slots=True)
class ShedSnapshot:
    """What a `shed` layer did so far.

    Attributes:
        admitted: calls that it let pass.
        refused: calls that it refused, by the setting that was the reason: `"max_queue"`, `"deadline"`, `"max_wait"`
            or `"target"`.
    """

    admitted: int
    refused: Mapping[str, int]


class _Watch(Sojourn):
    """The waits of one room, as one layer sees them."""

    __slots__ = ("owner",)

    def __init__(self, owner: shed, target: float, interval: float) -> None:
        super().__init__(target, interval)
        self.owner = owner


class _Refusal(NamedTuple):
    """Why a call is refused: for which setting, in words, the seconds that it would wait, and when to come back."""

    setting: str
    why: str
    expected: float
    retry_after: float | None


class shed(Layer):
    """Refuse a call at once when it would wait too long for the layers inside, instead of letting it wait in vain.

    ``@shed(max_wait="20s")`` above the waiting layers, best above a retry too. It looks at the waiting layers
    (`bounded`, `rate_limited`, ...) that stand inside it in the same pipeline, at the state of the call's own keys; or
    at those that `of` names, where they stand elsewhere, such as inside the decorated function. It never makes anybody
    wait, takes nothing, and refuses nobody whom no queue awaits. A call is refused if

    - as many as `max_queue` would be served before it in one of the queues;
    - it is expected to wait longer in all of them than until its deadline (a `timed` around it, `hints(deadline=...)`);
    - it is expected to wait longer than `max_wait`;
    - a queue stands, and the call is expected to wait longer than `target` in it. A queue stands when for an `interval`
      everybody who left it had waited longer than `target`, and until it is empty. A burst that drains in time is
      not refused, however long its queue is; under lasting overload the queue is held at about `target`, and all that
      the provider can do is still used.

    The expected wait is the number of calls that would be served before this one times the mean time between the last
    50 that were let in; it is not known, and refuses nobody, before somebody has waited. With `Priority()` only the
    calls of the same or a more urgent class are before it, with `Fair()` those of its own tenant, and for each of them
    one of each other tenant: so the flood is refused, and not those who would pass it. The error's `retry_after` is
    the time until such a call would be let in, as things go now.

    Once in a queue nobody is dropped: refusing who comes costs that call nothing, dropping who waits costs it its wait.
    That, and that a single refusal slows no other caller, is where this departs from RFC 8289, whose idea it is. Its
    5 ms and 100 ms are scaled to calls that take seconds: an interval as long as a long answer, a tenth of it to wait.

    Args:
        max_queue: how many may be before a call in a queue; None for any number.
        max_wait: the longest expected wait; None for any.
        target: what a wait should be at most under lasting overload; None never refuses for that reason.
        interval: for how long all waits must exceed `target`.
        of: layers to look at instead of those inside.

    Raises:
        Overloaded: on a call that is refused.
        TypeError: a setting has the wrong type.
        ValueError: a setting is out of range.
    """

    role: ClassVar[Role] = Role.OTHER

    def __init__(
        self,
        *,
        max_queue: int | None = None,
        max_wait: Duration | None = None,
        target: Duration | None = "3s",
        interval: Duration = "30s",
        of: Sequence[Layer] = (),
    ) -> None:
        self._max_queue = None if max_queue is None else count(max_queue, "max_queue", 0)
        self._max_wait = optional_seconds(max_wait, "max_wait", zero=True)
        self._target = optional_seconds(target, "target") or _NO_TARGET
        self._interval = seconds(interval, "interval")
        self._of = tuple(_waiting(layer) for layer in of)
        self._seen: tuple[Any, ...] | None = None
        self._inside: tuple[Layer, ...] = ()
        self._admitted = 0
        self._refused: Counter[str] = Counter()

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Refuse *call* or let it pass."""
        now = call.run.time()
        expected, refusal = self._look(call, self._of or self._layers_inside(call), 0.0, now)
        if refusal is not None:
            raise self._overloaded(call, refusal, now)
        self._admitted += 1
        if call.run.detailed:
            self._report(call, expected, now, None)
        return await proceed(call)

    def _look(self, call: Call, layers: Sequence[Layer], expected: float, now: float) -> tuple[float, _Refusal | None]:
        """Return how long *call* is expected to wait after *expected* seconds in *layers*, or why it is refused."""
        for layer in layers:
            if not hasattr(layer, "waiting_room"):
                expected, refusal = self._best_way(call, layer, expected, now)
                if refusal is not None:
                    return expected, refusal
                continue
            room = layer.waiting_room(call)
            watch = self._watch(room)
            waiting = len(room) if room.occupied else 0
            watch.seen(waiting, now)
            if waiting:
                ahead = room.ahead(call)
                here = watch.expected(ahead, now)
                expected += here or 0.0
                refusal = self._reason(call, layer, watch, ahead, here, expected, now)
                if refusal is not None:
                    return expected, refusal
        return expected, None

    def _best_way(self, call: Call, layer: Layer, expected: float, now: float) -> tuple[float, _Refusal | None]:
        """Return the same of the best way through *layer*, whose ways have queues of their own."""
        ways = [
            self._look(call, [each for each in branch if _waits(each)], expected, now)
            for branch in layer.branches().values()
        ]
        open_ways = [way for way in ways if way[1] is None]
        return min(open_ways or ways, key=lambda way: way[0])

    def _layers_inside(self, call: Call) -> tuple[Layer, ...]:
        """Return the layers behind this one that make calls wait; remembered for the pipeline that was last."""
        layers = call.run.layers
        if layers is not self._seen:
            inside = layers[layers.index(self) + 1 :] if self in layers else ()
            self._inside = tuple(layer for layer in inside if _waits(layer))
            self._seen = layers
        return self._inside

    def _watch(self, room: WaitingRoom) -> _Watch:
        for watcher in room.watchers:
            if isinstance(watcher, _Watch) and watcher.owner is self:
                watcher.target, watcher.interval = self._target, self._interval
                return watcher
        watch = _Watch(self, self._target, self._interval)
        room.watchers.append(watch)
        return watch

    def _reason(
        self, call: Call, layer: Layer, watch: _Watch, ahead: int, here: float | None, total: float, now: float
    ) -> _Refusal | None:
        """Return why to refuse *call*, which is expected to wait *here* in one queue, *total* in all up to that one."""
        if self._max_queue is not None and ahead >= self._max_queue:
            later = None if here is None else here * (ahead + 1 - self._max_queue) / (ahead + 1)
            why = f"{ahead} calls would be served before it in {layer.name} (max_queue={self._max_queue})"
            return _Refusal("max_queue", why, total, later)
        if here is None:
            return None
        deadline = call.deadline
        if deadline is not None and now + total > deadline:
            left = max(0.0, deadline - now)
            why = f"it would wait about {total:.3g} s, and its deadline is in {left:.3g} s"
            return _Refusal("deadline", why, total, total - left)
        if self._max_wait is not None and total > self._max_wait:
            why = f"it would wait about {total:.3g} s (max_wait={self._max_wait:g} s)"
            return _Refusal("max_wait", why, total, total - self._max_wait)
        if here > self._target and watch.standing(now):
            why = (
                f"it would wait about {here:.3g} s in {layer.name}, where for {self._interval:g} s "
                f"all waited longer than target={self._target:g} s"
            )
            return _Refusal("target", why, total, here - self._target)
        return None

    def _overloaded(self, call: Call, refusal: _Refusal, now: float) -> Overloaded:
        self._refused[refusal.setting] += 1
        error = Overloaded(f"{self.name}: {refusal.why}", layer=self.name, retry_after=refusal.retry_after)
        if call.run.detailed:
            self._report(call, refusal.expected, now, error)
        call.report(CallRejected(now, call, self.name, error))
        return error

    def _report(self, call: Call, expected: float, now: float, error: Overloaded | None) -> None:
        attributes = {"sluiceway.shed.expected_wait": expected}
        call.report(Phase(now, call, now, self.name, "shed check", attributes, error))

    def renewed(self, fresh: Layer) -> Layer:
        """Take over the numbers of *fresh*; what was seen of the queues stays. Other layers in `of` start anew."""
        if not agrees(self, fresh, ("of",)):
            return fresh
        adopt(self, fresh, "_max_queue", "_max_wait", "_target", "_interval")
        return self

    def snapshot(self) -> ShedSnapshot:
        """Return how many passed, and how many were refused for which reason."""
        return ShedSnapshot(self._admitted, MappingProxyType(dict(self._refused)))

    def __repr__(self) -> str:
        return f"<{super().__repr__()}: {self._admitted} admitted, {self._refused.total()} refused>"


def _waits(layer: Layer) -> bool:
    """Whether *layer* makes calls wait, or another one in one of its ways does."""
    branches = layer.branches().values()
    return hasattr(layer, "waiting_room") or any(_waits(each) for branch in branches for each in branch)


def _waiting(layer: Layer) -> Any:
    """Return *layer* if it makes callers wait.

    Raises:
        TypeError: it does not.
    """
    if not isinstance(layer, Layer) or not hasattr(layer, "waiting_room"):
        raise TypeError(f"of={layer!r} must be layers that make callers wait, such as bounded and rate_limited")
    return layer
