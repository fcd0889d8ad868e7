"""Closing a provider's stream: at its end, after an error, and where nothing may await."""

from __future__ import annotations

import contextlib
import inspect
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, Final

from .starting import started

if TYPE_CHECKING:
    import asyncio

_closing: Final[set[asyncio.Task[None]]] = set()  # the loop holds tasks weakly


async def close(stream: Any) -> None:
    """Close *stream*, if it can be."""
    end = getattr(stream, "aclose", None) or getattr(stream, "close", None)
    if end is not None:
        result = end()
        if inspect.isawaitable(result):
            await result


async def close_broken(stream: Any) -> None:
    """Close *stream* on behalf of an error that tells more than one in its closing would."""
    with contextlib.suppress(Exception):
        await close(stream)


def close_from_outside(stream: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Have *stream* closed by *loop*, from whatever thread; once that is closed, as far as it goes without waiting.

    For `GeneratorExit`, which comes when the garbage collector ends a coroutine, or a task is destroyed: who awaits
    then is complained of and cut short. An async generator that is garbage asyncio itself closes.
    """
    if not loop.is_closed():
        if isinstance(stream, AsyncGeneratorType):
            return
        with contextlib.suppress(RuntimeError):  # closed in this very moment
            loop.call_soon_threadsafe(_begin, stream, loop)
            return
    with contextlib.suppress(BaseException):
        coroutine = close(stream)
        coroutine.send(None)
        coroutine.close()


def _begin(stream: Any, loop: asyncio.AbstractEventLoop) -> None:
    task = started(_close_abandoned(stream, loop), loop)
    if task is not None:
        _closing.add(task)
        task.add_done_callback(_closing.discard)


async def _close_abandoned(stream: Any, loop: asyncio.AbstractEventLoop) -> None:
    try:
        await close(stream)
    except Exception as error:  # noqa: BLE001 - nobody is left to hear it but the loop
        loop.call_exception_handler({"message": "closing an abandoned stream failed", "exception": error})
