"""Functions that are asked for one result each, which a stream is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from .closing import close_broken
from .functions import is_generator, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

_NONE: Final = (
    "{what} and has no single result: give an async function that reads the stream and returns what is wanted of it"
)


def require_single_result(function: Callable[..., Any]) -> None:
    """Refuse a function whose calls are read and not awaited.

    Raises:
        TypeError: *function* is an async generator function.
    """
    if is_generator(function):
        raise TypeError(_NONE.format(what=f"{name_of(function)} is an async generator function"))


async def refuse_stream(stream: Any, name: str) -> NoReturn:
    """Close *stream*, which the function *name* returned: nobody would read it, and it may hold permits.

    Raises:
        TypeError: in any case.
    """
    await close_broken(stream)
    raise TypeError(_NONE.format(what=f"{name} returned a stream"))
