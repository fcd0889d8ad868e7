"""Between tenants: each gets its share of what a limit lets through."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sluiceway.algorithms.fair_queue import FairQueue
from sluiceway.functions import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluiceway.admission import Waiter, Weigh
    from sluiceway.call import Call

_BLOCKS: Final = "blocks of code"


def tenant(call: Call) -> Hashable:
    """Return on whose behalf *call* is made, as `hints(tenant=...)` said; None if nobody said."""
    return call.hints.tenant


class Fair:
    """Everybody who waits gets a share, in proportion to weights, however much the others send.

    ``queue=Fair(weights={"acme": 3})``. Start-time fair queueing by cost: a rate limit counts the request and its
    tokens, estimated first and settled to what the provider charged; a bound counts calls. A tenant that queues
    10,000 calls delays one that sends a call now and then by one call and not by 10,000. What a tenant does not use,
    others may; it earns no credit by that. Calls without a tenant share one flow, as do permits around blocks of code.
    A further attempt of a call stands in its flow where the call stood. Thousands of tenants cost bounded memory: of
    those for whom nothing waits, 1,000 are remembered.

    Fairness is not priority. Priority says whose turn it is; who has it may take everything. Fairness says how much
    each gets, and lets nobody wait for ever, but a tenant who is in a hurry waits for its share as all do. For both,
    `Priority(within=Fair())`.

    Args:
        key: a function of the `Call` that returns whose it is; by default the tenant of its hints.
        weights: by key; one of 3 gets three times what one of 1 gets while both wait.
        default_weight: of all keys that `weights` does not name.

    Raises:
        TypeError: `key` is no function, or `weights` no mapping, or a weight no number.
        ValueError: a weight is not above 0, or not finite.
    """

    def __init__(
        self,
        key: Callable[[Call], Hashable] = tenant,
        *,
        weights: Mapping[Any, float] | None = None,
        default_weight: float = 1.0,
    ) -> None:
        if not is_plain(key):  # each coroutine would be somebody else
            raise TypeError(
                f"key={key!r} must be a function of the Call that returns whose it is, not async, such as "
                "lambda call: call.hints.tenant"
            )
        if weights is not None and not isinstance(weights, Mapping):
            raise TypeError(f"weights={weights!r} must be a mapping of keys to numbers above 0")
        self.key = key
        self.weights = MappingProxyType({name: _weight(weight, name) for name, weight in (weights or {}).items()})
        self.default_weight = _weight(default_weight, None)

    def weight(self, key: Hashable) -> float:
        """Return the weight of *key*."""
        return self.weights.get(key, self.default_weight)

    def open(self, weigh: Weigh | None = None) -> _FairQueue:
        """Return a new, empty queue; *weigh* returns what a waiter's costs count, by default 1."""
        return _FairQueue(self, weigh)

    def __repr__(self) -> str:
        given = [] if self.key is tenant else [f"key={getattr(self.key, '__qualname__', self.key)}"]
        given += [f"weights={dict(self.weights)!r}"] if self.weights else []
        given += [] if self.default_weight == 1 else [f"default_weight={self.default_weight:g}"]
        return f"Fair({', '.join(given)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fair) and self._said() == other._said()

    def __hash__(self) -> int:
        return hash((self.key, frozenset(self.weights.items()), self.default_weight))

    def _said(self) -> tuple[Any, ...]:
        return self.key, dict(self.weights), self.default_weight


def _weight(value: float, key: Hashable) -> float:
    name = "default_weight" if key is None else f"the weight of {key!r}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is {value!r}, and must be a number above 0")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value!r}, and must be above 0 and finite")
    return float(value)


class _FairQueue:
    """The queue of one room: waiters in a machine that knows nothing of calls."""

    __slots__ = ("_key", "_machine", "_weigh")

    def __init__(self, fair: Fair, weigh: Weigh | None) -> None:
        self._key = fair.key
        self._weigh = weigh
        self._machine: FairQueue[Waiter] = FairQueue(fair.weight)

    def push(self, waiter: Waiter) -> None:
        self._machine.push(self._flow(waiter.call), waiter, self._cost(waiter.costs), (waiter.rank, not waiter.again))

    def head(self) -> Waiter:
        return self._machine.head()

    def pop(self) -> Waiter:
        machine = self._machine
        return machine.drop() if machine.head().future.done() else machine.pop()

    def sweep(self) -> None:
        for waiter in self:
            waiter.out = waiter.future.done()
        self._machine.retain(lambda waiter: not waiter.out)

    def passed(self, call: Call | None, costs: Any) -> None:
        self._machine.passed(self._flow(call), self._cost(costs))

    def settle(self, call: Call | None, deltas: Any) -> None:
        self._machine.settle(self._flow(call), self._cost(deltas))

    def returned(self, waiter: Waiter) -> None:
        self._machine.settle(self._flow(waiter.call), -self._cost(waiter.costs))

    def ahead(self, call: Call) -> int:
        """Return about how many are served before *call*: each flow once for each that its own flow has."""
        machine = self._machine
        key = self._flow(call)
        mine = machine.waiting(key)
        others = machine.active - (1 if mine else 0)
        return min(len(machine), mine + others * (mine + 1))

    def _flow(self, call: Call | None) -> Hashable:
        key = (_BLOCKS,) if call is None else self._key(call)
        try:
            hash(key)
        except TypeError:
            raise TypeError(
                f"key= of Fair returned a {type(key).__name__}, which is not hashable: return a str, int or tuple"
            ) from None
        return key

    def _cost(self, costs: Any) -> float:
        return 1.0 if self._weigh is None else self._weigh(costs)

    def __len__(self) -> int:
        return len(self._machine)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._machine)
