"""A provider that plays a script and remembers how it was called."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluiceway.durations import Duration, seconds
from sluiceway.testing.scripted_stream import StreamScript

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Late:
    """A step that comes after a time of its own, in seconds; made by `after`."""

    latency: float
    step: Any


class Hang:
    """A step that never comes; made by `hang`."""

    def __repr__(self) -> str:
        return "hang()"


def after(latency: Duration, step: Any) -> Late:
    """Return *step* with a latency of its own instead of the provider's."""
    return Late(seconds(latency, "latency", zero=True), step)


def hang() -> Hang:
    """Return a step that never answers and can only be cancelled."""
    return Hang()


class ScriptExhausted(AssertionError):
    """A provider with ``repeat=False`` was called more often than its script has steps."""


@dataclass(slots=True, eq=False)
class RecordedCall:
    """One call as the provider saw it.

    Attributes:
        args: The positional arguments.
        kwargs: The keyword arguments.
        started_at: When it came, by the event loop's clock, in seconds.
        ended_at: When its answer or error left, a stream's when it was over; None while it runs.
        error: What it ended with, a ``CancelledError`` too; None for an answer.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    started_at: float
    ended_at: float | None = None
    error: BaseException | None = None

    def __repr__(self) -> str:
        # Without the arguments: prompts do not belong into the output of a failed test.
        return f"RecordedCall({self.started_at:g} s to {self.ended_at} s, error={type(self.error).__name__})"


class ScriptedProvider:
    """An async function that answers from a script: ``await provider("prompt")``.

    The n-th call gets the n-th step, in the order in which the calls come. A step is

    - an exception or a class of exceptions: it is raised;
    - `stream`: a fresh `ScriptedStream` is returned, and the call lasts until that is over;
    - `hang`: never an answer;
    - a function: called with the call's arguments, its result is the answer (awaited if it must be);
    - `after`: one of these with its own latency;
    - anything else, such as `completion`: it is the answer.

    Args:
        script: The steps; none answers None always.
        latency: Time from a call to its answer (to the opened stream), for steps without their own.
        repeat: Whether the last step answers all further calls; else they raise `ScriptExhausted`.
        name: The function's name, as it appears in reports.

    Attributes:
        calls: What came, in order: `RecordedCall` each.
        in_flight: How many calls run now.
        peak: The most that ran at once.
    """

    def __init__(
        self, *script: Any, latency: Duration = 0.0, repeat: bool = True, name: str = "scripted_provider"
    ) -> None:
        self._script = script or (None,)
        self._latency = seconds(latency, "latency", zero=True)
        self._repeat = repeat
        self.__name__ = self.__qualname__ = name
        self.calls: list[RecordedCall] = []
        self.in_flight = 0
        self.peak = 0

    @property
    def count(self) -> int:
        """How many calls have come."""
        return len(self.calls)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Play the next step.

        Raises:
            BaseException: What the step is, if it is an exception.
            ScriptExhausted: If the script is over and ``repeat=False``.
        """
        call = self._begin(args, kwargs)
        try:
            answer = await self._answer(call, self._step())
        except BaseException as error:
            self._end(call, error)
            raise
        if isinstance(answer, StreamScript):
            return answer.play(lambda error: self._end(call, error))
        self._end(call, None)
        return answer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__name__}: {self.count} calls, {self.in_flight} in flight>"

    def _step(self) -> Any:
        place = self.count - 1
        if place >= len(self._script) and not self._repeat:
            raise ScriptExhausted(f"call {self.count} of {self.__name__}, whose script has {len(self._script)} steps")
        return self._script[min(place, len(self._script) - 1)]

    async def _answer(self, call: RecordedCall, step: Any) -> Any:
        latency, step = (step.latency, step.step) if isinstance(step, Late) else (self._latency, step)
        if latency:
            await asyncio.sleep(latency)
        if isinstance(step, Hang):
            await asyncio.get_running_loop().create_future()
        if isinstance(step, BaseException):
            # The same object may be raised again and again: its old traceback would grow with each.
            raise step.with_traceback(None)
        if isinstance(step, type) and issubclass(step, BaseException):
            raise step
        if callable(step):
            answer = step(*call.args, **call.kwargs)
            return await answer if inspect.isawaitable(answer) else answer
        return step

    def _begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RecordedCall:
        call = RecordedCall(args, kwargs, asyncio.get_running_loop().time())
        self.calls.append(call)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        return call

    def _end(self, call: RecordedCall, error: BaseException | None) -> None:
        call.ended_at = asyncio.get_running_loop().time()
        call.error = error
        self.in_flight -= 1
