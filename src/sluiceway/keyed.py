"""One state for each key: made on first use, kept while it matters, of others never more than so many."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

from .call import Call
from .functions import is_plain

S = TypeVar("S")

By = Callable[[Call], Hashable]
"""A function of the `Call` that returns its key."""

MAX_KEYS = 1000
_LOOKED_AT = 32  # states, for each new key
_BUSY = 4  # of them, after which the search ends: with 100,000 busy ones one of all would cost 0.3 s


class Keyed(Generic[S]):
    """States by key, the least recently used first to go.

    A state that matters is never forgotten: a busy key stays even past `max_keys`, and goes some new keys later.

    Args:
        make: makes the state of a new key.
        by: returns the key of a call; None for one state for all.
        busy: whether a state must be kept, since somebody waits or holds something, or would be given anew what is
            used up.
        max_keys: how many states are kept, at least 1.

    Raises:
        TypeError: `by` is no function, or `max_keys` no int.
        ValueError: `max_keys` is below 1.
    """

    __slots__ = ("_busy", "_make", "_states", "by", "max_keys")

    def __init__(
        self,
        make: Callable[[Hashable], S],
        by: By | None,
        busy: Callable[[S], bool],
        max_keys: int = MAX_KEYS,
    ) -> None:
        if by is not None and not is_plain(by):  # each coroutine is a new key
            raise TypeError(
                f"by={by!r} must be a plain function of the Call that returns a key, "
                "such as lambda call: call.hints.tenant"
            )
        if isinstance(max_keys, bool) or not isinstance(max_keys, int):
            raise TypeError(f"max_keys={max_keys!r} must be a whole number of at least 1")
        if max_keys < 1:
            raise ValueError(f"max_keys={max_keys!r} must be at least 1")
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
                self._forget()
        elif self.by is not None:
            self._states.move_to_end(key)
        return state

    def peek(self, key: Hashable) -> S | None:
        """Return the state of *key* if it is there."""
        return self._states.get(key)

    def _forget(self) -> None:
        """Drop the least recently used states that are idle until there are few enough; the newest key stays.

        To be busy is to be used, so that the busy ones move to the end instead of being looked at again and again.
        """
        states = self._states
        busy = 0
        for _ in range(min(_LOOKED_AT, len(states) - 1)):
            key, state = next(iter(states.items()))
            if self._busy(state):
                states.move_to_end(key)
                busy += 1
            else:
                del states[key]
            if len(states) <= self.max_keys or busy == _BUSY:
                return

    def values(self) -> list[Any]:
        """Return the states, the least recently used first."""
        return list(self._states.values())
