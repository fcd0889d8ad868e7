"""The client of a session: made when it is needed, closed at the end if it is the session's own."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from .binding import bind
from .gathering import ended
from .telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .layer import Layer

_CLOSING = 10.0  # seconds that a client may take to close


class SessionClient:
    """An `AsyncOpenAI` or alike behind layers.

    Args:
        client: None to make the recommended one when it is needed.
        layers: what every request goes through, outermost first.
        name: of the calls in spans and logs.
        owned: whether `close` closes it; None if it was made here.
    """

    __slots__ = ("_client", "_create", "_layers", "_name", "_owned")

    def __init__(self, client: Any, layers: tuple[Layer, ...], name: str, *, owned: bool | None) -> None:
        self._client = client
        self._layers = layers
        self._name = name
        self._owned = client is None if owned is None else owned
        self._create: Callable[..., Awaitable[Any]] | None = None

    async def create(self, **arguments: Any) -> Any:
        """Run `chat.completions.create(**arguments)` through the layers.

        Raises:
            TypeError: the client has no such thing; it may be there to be closed only.
        """
        if self._create is None:
            if self._client is None:
                self._client = _recommended()
            create = getattr(getattr(getattr(self._client, "chat", None), "completions", None), "create", None)
            if create is None:
                kind = type(self._client).__name__
                raise TypeError(f"complete() needs a client with chat.completions.create, as AsyncOpenAI, not a {kind}")
            self._create = bind(create, self._layers, self._name)
        return await self._create(**arguments)

    async def close(self) -> None:
        """Close the client if it is owned, within 10 s, also if this task is cancelled; what goes wrong is logged."""
        if not self._owned or self._client is None:
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(_close(self._client))
        timer = loop.call_later(_CLOSING, task.cancel)
        try:
            await ended([task])
        finally:
            timer.cancel()
            error = None if task.cancelled() else task.exception()
            if isinstance(error, Exception):
                logs.broken(type(self._client).__name__, error)


async def _close(client: Any) -> None:
    close = getattr(client, "close", None) or getattr(client, "aclose", None)
    if close is not None:
        result = close()
        if inspect.isawaitable(result):
            await result


def _recommended() -> Any:
    from .providers.openai import client  # noqa: PLC0415 - imports openai, which takes 0.6 s

    return client()
