"""Faults put in front of any coroutine function, the same ones in every run."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar

from sluiceway.algorithms.fates import Fates, Latency, drawn, require_shares
from sluiceway.functions import is_generator
from sluiceway.providers.openai_errors import openai_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

_P = ParamSpec("_P")
_T = TypeVar("_T")
Fault: TypeAlias = int | Callable[[], BaseException]


def faulty(
    function: Callable[_P, Awaitable[_T]],
    *,
    errors: Mapping[Fault, float] | None = None,
    latency: Latency = 0.0,
    hang: float = 0.0,
    reset: float = 0.0,
    seed: int = 0,
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Return *function* with faults: ``faulty(ask, errors={429: 0.1, 503: 0.02}, latency=(0.2, 2), hang=0.01)``.

    Each call waits its latency and then meets at most one fault. What befalls the n-th call depends on *seed*
    and n alone, not on how calls interleave.

    Args:
        function: The provider: called unless an error or a hang comes first.
        errors: The probability of each error: an HTTP status (raised as `openai_error`), or something that
            makes an exception when called, such as its class. The function is not called.
        latency: Time before a call: a duration, the bounds of a uniform draw, or a function of a
            ``random.Random`` that returns seconds.
        hang: The probability that a call never answers; the function is not called.
        reset: The probability that the function does its work, but the connection breaks before the answer
            arrives: ``ConnectionResetError``. The answer is lost, and was paid for; a stream is closed.
        seed: Chooses the faults.

    Raises:
        TypeError: If *function* is not callable or is an async generator function; at a call, if it turns
            out to be synchronous.
        ValueError: If a probability lies outside of 0 to 1, or all together exceed 1, or a status is none of
            an error.
    """
    if not callable(function) or is_generator(function):
        raise TypeError(f"faulty takes a coroutine function, not {function!r}")
    fates = Fates(_shares(errors or {}, hang, reset), seed)
    draw = drawn(latency)
    numbers = itertools.count()

    @functools.wraps(function, updated=())
    async def with_faults(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        rng = random.Random()
        fault = fates.of(next(numbers), rng)
        await asyncio.sleep(draw(rng))
        if fault == "hang":
            await asyncio.get_running_loop().create_future()
        elif fault is not None and fault != "reset":
            raise fault()
        answer = function(*args, **kwargs)
        if not inspect.isawaitable(answer):
            raise TypeError(f"faulty takes a coroutine function, but {function!r} is synchronous")
        return await _lost(answer) if fault == "reset" else await answer

    return with_faults


_Fate: TypeAlias = Callable[[], BaseException] | Literal["hang", "reset"]


def _shares(errors: Mapping[Fault, float], hang: float, reset: float) -> tuple[tuple[_Fate, float], ...]:
    named = {f"errors[{fault!r}]": share for fault, share in errors.items()} | {"hang": hang, "reset": reset}
    require_shares(named)
    return (*((_maker(fault), share) for fault, share in errors.items()), ("hang", hang), ("reset", reset))


def _maker(fault: Fault) -> Callable[[], BaseException]:
    if callable(fault):
        return fault
    openai_error(fault)  # a status that is no error fails here, not in some later call
    return functools.partial(openai_error, fault)


async def _lost(answering: Awaitable[Any]) -> Any:
    answer = await answering
    close = getattr(answer, "aclose", None) or getattr(answer, "close", None)
    if hasattr(answer, "__anext__") and close is not None:
        await close()
    raise ConnectionResetError("the connection broke before the answer arrived")
