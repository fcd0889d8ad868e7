"""A stream that plays a script: items, gaps, an error or a hang in the middle."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from sluiceway.durations import Duration, seconds
from sluiceway.testing.openai_shapes import Headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class StreamScript:
    """What a `ScriptedStream` plays; made by `stream`. Each play starts from the beginning."""

    items: tuple[Any, ...]
    gap: float
    first: float
    fail_at: int | None
    error: BaseException | type[BaseException]
    hang_at: int | None
    headers: Headers

    def play(self, ended: Callable[[BaseException | None], None] | None = None) -> ScriptedStream:
        """Return a fresh stream of this script; *ended* hears once, with the error if there was one."""
        return ScriptedStream(self, ended)


def stream(
    items: Iterable[Any],
    *,
    gap: Duration = 0.0,
    first: Duration | None = None,
    fail_at: int | None = None,
    error: BaseException | type[BaseException] = ConnectionResetError,
    hang_at: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> StreamScript:
    """Return the script of a stream, one step of a `ScriptedProvider`.

    Args:
        items: What is read, in order; for openai's chunks see `chunks`.
        gap: Time before each item after the first.
        first: Time to the first item once the stream is open; None takes *gap*.
        fail_at: How many items are read before *error* is raised; None never fails.
        error: The exception (or its class) that breaks the stream.
        hang_at: How many items are read before nothing comes any more; None never hangs.
        headers: Of the stream's ``response``.

    Raises:
        ValueError: If a time is negative, or fail_at or hang_at lies outside of the items.
    """
    script = tuple(items)
    for name, place in (("fail_at", fail_at), ("hang_at", hang_at)):
        if place is not None and not 0 <= place <= len(script):
            raise ValueError(f"{name} must be from 0 to the number of items, {len(script)}, not {place!r}")
    pause = seconds(gap, "gap", zero=True)
    opening = pause if first is None else seconds(first, "first", zero=True)
    return StreamScript(script, pause, opening, fail_at, error, hang_at, Headers(headers))


class ScriptedStream:
    """A stream as the openai client returns it: ``async for``, ``close()``, ``async with``, ``.response``.

    A stream that was read to its end, that broke, whose reading was cancelled or that was closed is over, and
    ends for everyone who reads on or still waits for an item.

    Attributes:
        delivered: How many items have been read.
        over: Whether nothing more will come.
        closed: Whether it was closed before it was over.
        response: With ``status_code`` and ``headers``.
    """

    def __init__(self, script: StreamScript, ended: Callable[[BaseException | None], None] | None = None) -> None:
        self._script = script
        self._ended = ended
        self._reading = False
        self._hung: asyncio.Future[None] | None = None
        self.delivered = 0
        self.over = False
        self.closed = False
        self.response = SimpleNamespace(status_code=200, headers=script.headers)

    def __aiter__(self) -> ScriptedStream:
        return self

    async def __anext__(self) -> Any:
        if self._reading:
            raise RuntimeError("two tasks read one stream at once")
        if self.over:
            raise StopAsyncIteration
        self._reading = True
        try:
            item = await self._next()
        except StopAsyncIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise
        finally:
            self._reading = False
        self.delivered += 1
        return item

    async def close(self) -> None:
        """End the stream before its time; without effect once it is over."""
        if not self.over:
            self.closed = True
            self._end(None)
            if self._hung is not None and not self._hung.done():
                self._hung.set_result(None)

    async def aclose(self) -> None:
        """End the stream before its time, as `close` does."""
        await self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _next(self) -> Any:
        script, place = self._script, self.delivered
        if place == script.hang_at:
            hung = self._hung = asyncio.get_running_loop().create_future()
            await hung
        if place < len(script.items) or place == script.fail_at:
            await asyncio.sleep(script.gap if place else script.first)
        if self.over:
            raise StopAsyncIteration
        if place == script.fail_at:
            raise script.error
        if place >= len(script.items):
            raise StopAsyncIteration
        return script.items[place]

    def _end(self, error: BaseException | None) -> None:
        self.over = True
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended(error)
