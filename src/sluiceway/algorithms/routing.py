"""Which of several deployments gets the next call: by the room they have, their weights or their latency."""

from __future__ import annotations

from math import exp, inf
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sluiceway.algorithms.rates import EPSILON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Strategy: TypeAlias = Literal["room", "weight", "latency", "round_robin"]
STRATEGIES: Final = ("room", "weight", "latency", "round_robin")

_TAU: Final = 10.0  # seconds in which a latency seen fades to a third, as in Finagle
_MEMORY: Final = 100  # calls that the mean looks back on
_STREAK: Final = 3  # failures in a row from which a deployment is avoided: one error among many is none of its fault
_LONGEST: Final = 30.0  # seconds


class Standing:
    """How one deployment is doing.

    - **latency**: peak EWMA. A latency above it replaces it at once, one below fades in, and without calls it fades
      to 0, so that a deployment which was slow is tried again: ``v = max(x, v*w + x*(1-w))``, ``w = exp(-dt/10 s)``.
      Source: Finagle.
    - **avoided**: after three failures in a row for 1 s, doubling to 30 s with every further one that began since then.
      It is then asked only if nobody else is free sooner.

    Attributes:
        weight: its share; in_flight: calls inside; calls: all that came; failures: those that were its fault.
        service: mean seconds of a call, 1 before the first.
        until: when it is no longer avoided.
    """

    __slots__ = ("_at", "_latency", "_streak", "calls", "failures", "in_flight", "service", "until", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.in_flight = 0
        self.calls = 0
        self.failures = 0
        self.service = 1.0
        self._latency = 0.0
        self._at = 0.0
        self._streak = 0
        self.until = -inf

    def begin(self) -> None:
        """Count a call that comes."""
        self.in_flight += 1
        self.calls += 1

    def end(self) -> None:
        """Count a call that is over, however it ended."""
        self.in_flight -= 1

    def answered(self, now: float, seconds: float, service: float) -> None:
        """Take in an answer that took *seconds* (a stream's: to its first item), and *service* in all."""
        self._streak = 0
        self.until = -inf
        calls = self.calls
        self.service += (service - self.service) / (calls if calls < _MEMORY else _MEMORY)  # noqa: FURB136 - min() costs a call
        above = self._latency - seconds
        if above > 0.0:
            seconds += above * exp(-max(0.0, now - self._at) / _TAU)
        self._latency = seconds
        self._at = now

    def failed(self, now: float, began: float) -> None:
        """Take in a failure of a call that came at *began*; those from before it was avoided say nothing new."""
        self.failures += 1
        if began < self.until - self._pause():
            return
        self._streak += 1
        if self._streak >= _STREAK:
            self.until = now + self._pause()

    def latency(self, now: float) -> float:
        """Return the peak EWMA of its latency in seconds; 0 before the first answer."""
        return self._latency * exp(-max(0.0, now - self._at) / _TAU)

    def load(self) -> tuple[float, float]:
        """Return how much it has to do, and had, by weight."""
        return self.in_flight / self.weight, self.calls / self.weight

    def has_less_to_do(self, other: Standing) -> bool:
        """Whether its `load` is less than that of *other*; written out, since every call of most routers asks."""
        mine, its = self.in_flight / self.weight, other.in_flight / other.weight
        return mine < its or (mine == its and self.calls / self.weight < other.calls / other.weight)

    def expected(self, now: float) -> tuple[float, tuple[float, float]]:
        """Return what decides by latency: that of one more call, and of equal ones the load."""
        return self.latency(now) * (self.in_flight + 1), self.load()

    def avoided(self, now: float) -> float:
        """Return for how many seconds it is avoided."""
        return max(0.0, self.until - now)

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*."""
        self._at += delta
        self.until += delta

    def _pause(self) -> float:
        return min(_LONGEST, 2.0 ** min(self._streak - _STREAK, 10)) if self._streak >= _STREAK else 0.0


class Routing:
    """Chooses among deployments.

    Those that are free now come first; among them the *strategy* decides:

    - ``"room"``: the largest share left, then the fewest calls inside, by weight;
    - ``"weight"``: smooth weighted round robin (nginx): of 5:1:1, never five in a row;
    - ``"round_robin"``: the one whose last turn was longest ago;
    - ``"latency"``: the least peak EWMA times the calls inside and one.

    If none is free it is the one that will be first.

    Args:
        weights: of each deployment.
        strategy: see above.

    Attributes:
        standings: how each is doing.
    """

    __slots__ = ("_credits", "_strategy", "_turn", "_turns", "standings")

    def __init__(self, weights: Sequence[float], strategy: Strategy) -> None:
        self.standings = tuple(Standing(weight) for weight in weights)
        self._strategy = strategy
        self._credits = [0.0] * len(weights)
        self._turns = [0] * len(weights)
        self._turn = 0

    def choose(self, rooms: Mapping[int, tuple[float, float]], now: float) -> int:
        """Return which deployment of *rooms* is to be asked.

        Args:
            rooms: seconds until it lets the call go on, and the share that is left, of each that may be asked.
            now: seconds.
        """
        standings = self.standings
        soon = now + EPSILON
        if self._strategy == "room":
            chosen = self._by_room(rooms, soon)
            if chosen is not None:
                return chosen
        free = [i for i, room in rooms.items() if room[0] <= 0.0 and standings[i].until <= soon]
        if not free:
            return min(rooms, key=lambda i: (max(rooms[i][0], standings[i].avoided(now)), standings[i].load()))
        if self._strategy == "weight":
            return self._by_weight(free)
        if self._strategy == "latency":
            return min(free, key=lambda i: standings[i].expected(now))
        chosen = min(free, key=self._turns.__getitem__)
        self._turn += 1
        self._turns[chosen] = self._turn
        return chosen

    def _by_room(self, rooms: Mapping[int, tuple[float, float]], soon: float) -> int | None:
        """Return which of those that are free has the most room, and of equal ones the least to do; None if none is."""
        chosen = best = None
        most = -inf
        for i, (wait, left) in rooms.items():
            standing = self.standings[i]
            if wait > 0.0 or standing.until > soon or left < most:
                continue
            if best is None or left > most or standing.has_less_to_do(best):
                chosen, best, most = i, standing, left
        return chosen

    def _by_weight(self, free: Sequence[int]) -> int:
        credits_ = self._credits
        total = 0.0
        for i in free:
            credits_[i] += self.standings[i].weight
            total += self.standings[i].weight
        chosen = max(free, key=credits_.__getitem__)
        credits_[chosen] -= total
        return chosen
