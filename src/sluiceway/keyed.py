"""One state for each key: made on first use, forgotten when idle, never more than so many."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

from .call import Call

S = TypeVar("S")

By = Callable[[Call], Hashable]
"""A function of the `Call` that returns its key."""

MAX_KEYS = 1000


class Keyed(Generic[S]):
    """States by key, the least recently used first to go.

    A state in use is never forgotten: a key that is busy stays even past `max_keys`.

    Args:
        make: makes the state of a new key.
        by: returns the key of a call; None for one state for all.
        busy: whether a state must be kept, since somebody waits or holds something.
        max_keys: how many idle and busy states are kept.
    """

    __slots__ = ("_busy", "_make", "_states", "by", "max_keys")

    def __init__(
        self,
        make: Callable[[Hashable], S],
        by: By | None,
        busy: Callable[[S], bool],
        max_keys: int = MAX_KEYS,
    ) -> None:
        if by is not None and not callable(by):
            raise TypeError(
                f"by={by!r} must be a function of the Call that returns a key, such as lambda call: call.hints.tenant"
            )
        self._make = make
        self._busy = busy
        self._states: OrderedDict[Hashable, S] = OrderedDict()
        self.by = by
        self.max_keys = max_keys

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[tuple[Hashable, S]]:
        return iter(list(self._states.items()))

    def of(self, call: Call) -> S:
        """Return the state of the key of *call*."""
        return self.at(None if self.by is None else self.by(call))

    def at(self, key: Hashable) -> S:
        """Return the state of *key*, made if it is new.

        Raises:
            TypeError: *key* is not hashable.
        """
        try:
            state = self._states.get(key)
        except TypeError:
            raise TypeError(
                f"by= returned a {type(key).__name__}, which is not hashable: return a str, int or tuple"
            ) from None
        if state is None:
            state = self._states[key] = self._make(key)
            if len(self._states) > self.max_keys:
                self._forget(key)
        elif self.by is not None:
            self._states.move_to_end(key)
        return state

    def peek(self, key: Hashable) -> S | None:
        """Return the state of *key* if it is there."""
        return self._states.get(key)

    def _forget(self, newest: Hashable) -> None:
        """Drop the least recently used state that is idle; none if all are busy."""
        for key, state in self._states.items():
            if key != newest and not self._busy(state):
                del self._states[key]
                return

    def values(self) -> list[Any]:
        """Return the states, the least recently used first."""
        return list(self._states.values())
