"""A mapping by objects themselves, which need be neither hashable nor different from their equals."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, TypeVar

V = TypeVar("V")


class ByIdentity(MutableMapping[Any, V]):
    """Values by object. A layer of somebody's own may be a dataclass: equal to others, and often without a hash."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[int, tuple[Any, V]] = {}  # with the object, whose id is nobody else's for as long

    def __getitem__(self, key: Any) -> V:
        try:
            return self._found[id(key)][1]
        except KeyError:
            raise KeyError(key) from None

    def __setitem__(self, key: Any, value: V) -> None:
        self._found[id(key)] = (key, value)

    def __delitem__(self, key: Any) -> None:
        del self._found[id(key)]

    def __iter__(self) -> Iterator[Any]:
        return iter([key for key, _ in list(self._found.values())])

    def __len__(self) -> int:
        return len(self._found)
