"""What one fault of `chaos` does to one trip to the provider."""

from __future__ import annotations

import asyncio
import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import wrapt

from sluiceway.functions import is_generator
from sluiceway.providers.cut_short import cut_short
from sluiceway.streaming import is_stream

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Meddling:
    """What befalls one trip, in the order in which it can.

    Attributes:
        fault: the fault's name, for people; None for none.
        delay: seconds before the provider is called.
        error: makes the exception that comes instead of the provider; None for none.
        hang: whether nothing ever comes.
        slow: seconds before the answer, or the first item of a stream, on top.
        reset: makes the exception that comes instead of the answer that was made; None for none.
        cut: how many items of a stream come before `broken`, an exception or a clean end; None for all of them.
        truncated: whether a plain answer loses half of its text.
    """

    fault: str | None = None
    delay: float = 0.0
    error: Callable[[], BaseException] | None = None
    hang: bool = False
    slow: float = 0.0
    reset: Callable[[], BaseException] | None = None
    cut: int | None = None
    broken: Callable[[], BaseException] = StopAsyncIteration
    truncated: bool = False

    async def before(self) -> None:
        """Do what comes before the provider is asked."""
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.hang:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error()

    async def after(self, answer: Any) -> Any:
        """Return *answer*, which the provider gave, as it arrives."""
        if self.reset is not None:
            await _close(answer)
            raise self.reset()
        if is_stream(answer):
            return MeddledStream(answer, self)
        if self.slow:
            await asyncio.sleep(self.slow)
        return cut_short(answer) if self.truncated else answer


def meddled(function: Callable[..., Any], begin: Callable[[], Meddling]) -> Callable[..., Any]:
    """Return *function* with what *begin* returns at each call done to that call."""
    if is_generator(function):

        def generate(*args: Any, **kwargs: Any) -> Any:
            return MeddledStream(function(*args, **kwargs), begin(), opens=True)

        return _named(generate, function)

    async def ask(*args: Any, **kwargs: Any) -> Any:
        trip = begin()
        await trip.before()
        answer = function(*args, **kwargs)
        return await trip.after(answer if is_stream(answer) else await answer)

    return _named(ask, function)


def _named(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    functools.update_wrapper(wrapper, function, updated=())
    owner = getattr(function, "__self__", None)
    if owner is not None:  # which resource of a client it belongs to: spans tell
        vars(wrapper)["__self__"] = owner
    return wrapper


class MeddledStream(wrapt.ObjectProxy[Any]):
    """A provider's stream whose items come late, or not all of them; everything else is the stream's own."""

    def __init__(self, stream: Any, trip: Meddling, *, opens: bool = False) -> None:
        super().__init__(stream)
        self._self_trip = trip
        self._self_opens = opens
        self._self_slow = trip.slow
        self._self_left = trip.cut

    def __aiter__(self) -> MeddledStream:
        return self

    async def __anext__(self) -> Any:
        trip = self._self_trip
        if self._self_opens:  # a generator asks its provider when it is read
            self._self_opens = False
            await trip.before()
            if trip.reset is not None:
                raise trip.reset()
        if self._self_slow:
            slow, self._self_slow = self._self_slow, 0.0
            await asyncio.sleep(slow)
        if self._self_left is not None:
            if not self._self_left:
                raise trip.broken()
            self._self_left -= 1
        return await self.__wrapped__.__anext__()


async def _close(answer: Any) -> None:
    close = getattr(answer, "aclose", None) or getattr(answer, "close", None)
    if is_stream(answer) and close is not None:
        closing = close()
        if inspect.isawaitable(closing):
            await closing
