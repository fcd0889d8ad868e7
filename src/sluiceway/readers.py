"""What a reader holds of a stream: the provider's own object to look at, read and closed through the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import wrapt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .pump import Pump


class BoundStream(wrapt.ObjectProxy[Any]):
    """The provider's stream, read through the layers; everything but reading and closing is the stream's own."""

    def __init__(self, stream: Any, pump: Pump) -> None:
        super().__init__(stream)
        self._self_pump = pump
        pump.shown_by(self)

    def __aiter__(self) -> BoundStream:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._self_pump.drive(self)

    async def aclose(self) -> None:
        """End the stream; permits return and the provider's stream is closed."""
        await self._self_pump.aclose()

    async def close(self) -> None:
        """End the stream, as `aclose`."""
        await self._self_pump.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._self_pump.aclose()

    def __del__(self) -> None:
        pump = getattr(self, "_self_pump", None)
        if pump is not None:
            pump.abandon()


class Generated:
    """What a decorated async generator function returns: it starts at the first read, as a plain one does."""

    __slots__ = ("__weakref__", "_pump", "_start")

    def __init__(self, start: Callable[[], Pump]) -> None:
        self._start: Callable[[], Pump] | None = start
        self._pump: Pump | None = None

    def __aiter__(self) -> Generated:
        return self

    def __anext__(self) -> Awaitable[Any]:
        if self._pump is None:
            if self._start is None:
                return _nothing()
            start, self._start = self._start, None
            self._pump = start()
        return self._pump.drive(self)

    async def asend(self, value: None) -> Any:
        """Return the next item; there is nothing that could be sent through layers.

        Raises:
            TypeError: *value* is not None.
        """
        if value is not None:
            raise TypeError(f"a {type(value).__name__} cannot be sent into an async generator with layers, only None")
        return await self.__anext__()

    async def athrow(
        self, kind: type[BaseException] | BaseException, value: BaseException | None = None, _: object = None
    ) -> Any:
        """Raise an error in the generator at its `yield`; return the item it answers with, as a plain one does.

        It is given alone or, as `contextlib` does before Python 3.12, after its type and before its traceback.
        """
        error = value if value is not None else kind() if isinstance(kind, type) else kind
        if self._pump is None:
            self._start = None
            raise error
        return await self._pump.throw(error)

    async def aclose(self) -> None:
        """End the generator for its layers; permits return."""
        self._start = None
        if self._pump is not None:
            await self._pump.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        pump = getattr(self, "_pump", None)
        if pump is not None:
            pump.abandon()


async def _nothing() -> Any:
    raise StopAsyncIteration
