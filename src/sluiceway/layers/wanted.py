"""The setting `on=`: which errors a layer acts upon."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from sluiceway.functions import is_plain
from sluiceway.providers.errors import Fault, classify

if TYPE_CHECKING:
    from collections.abc import Callable

On: TypeAlias = "type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool | None]"
"""Exception types, or a function that says True, False, or None for "as the error's kind says"."""


def wanted(on: On | None) -> Callable[[Exception], bool | None] | None:
    """Return *on* as a function; None if the kinds of errors decide alone.

    Raises:
        TypeError: it is neither types nor a function, or names a cancellation.
    """
    if on is None:
        return None
    kinds = on if isinstance(on, tuple) else (on,)
    if kinds and all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return _by_type(kinds)  # type: ignore[arg-type]  # seen in the line above
    if isinstance(on, (type, tuple)) or not is_plain(on):
        raise TypeError(f"on={on!r} must be an exception type, a tuple of them, or a function of the error, not async")
    return on


def _by_type(kinds: tuple[type[Exception], ...]) -> Callable[[Exception], bool | None]:
    for kind in kinds:
        if not issubclass(kind, Exception):
            raise TypeError(f"on={kind.__name__}: that is no error but a cancellation, and never retried")

    def chosen(error: Exception) -> bool | None:
        if not isinstance(error, kinds):
            return False
        return None if classify(error).fault is Fault.QUOTA else True  # openai's RateLimitError is both

    return chosen
