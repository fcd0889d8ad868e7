"""The innermost step of every pipeline: one attempt, a trip to the provider."""

from __future__ import annotations

import contextlib
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from .call import Attempt, Call, current
from .events import AttemptFinished, AttemptStarted
from .functions import awaited
from .providers.usage import usage_of
from .streaming import generate, is_stream, no_streams, pull, reset

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def invoke(call: Call) -> Any:
    """Call the provider once, as an attempt."""
    run = call.run
    now = run.time()
    attempts = run.attempts
    run.last = call.record = attempt = Attempt(len(attempts) + 1, now, (call.function, call.args, call.kwargs))
    attempts.append(attempt)
    if run.outer is not None:
        run.tell_outer(attempt)
    if run.listening:
        run.sink(AttemptStarted(now, call, attempt))
    token = current.set(call)
    try:
        result = call.function(*call.args, **call.kwargs)
        if type(result) is CoroutineType:
            result = await result
        elif not is_stream(result):
            result = await awaited(result, run.name)
    except BaseException as error:
        reset(token)
        _failed(call, attempt, error)
        raise
    current.reset(token)
    if type(result) not in no_streams and is_stream(result):
        await _through(call, attempt, pull(call, attempt, result))
        return None
    attempt.result = result
    attempt.usage = usage_of(result)
    attempt.outcome = "ok"
    attempt.ended_at = now = run.time()
    if run.listening:
        run.sink(AttemptFinished(now, call, attempt))
    return result


async def invoke_generator(call: Call) -> None:
    """Call an async generator function once, as an attempt."""
    run = call.run
    now = run.time()
    run.last = call.record = attempt = Attempt(len(run.attempts) + 1, now, (call.function, call.args, call.kwargs))
    run.attempts.append(attempt)
    if run.outer is not None:
        run.tell_outer(attempt)
    if run.listening:
        run.sink(AttemptStarted(now, call, attempt))
    await _through(call, attempt, generate(call, attempt, call.function(*call.args, **call.kwargs)))


async def _through(call: Call, attempt: Attempt, items: Awaitable[None]) -> None:
    """Run a stream to its end and close the record of its attempt."""
    try:
        await items
    except BaseException as error:
        attempt.usage = attempt.reader.usage if attempt.reader is not None else None
        _failed(call, attempt, error)
        raise
    attempt.usage = attempt.reader.usage
    attempt.outcome = "ok"
    attempt.ended_at = now = call.run.time()
    if call.run.listening:
        call.run.sink(AttemptFinished(now, call, attempt))


def _failed(call: Call, attempt: Attempt, error: BaseException) -> None:
    run = call.run
    attempt.error = error
    attempt.outcome = "error" if isinstance(error, Exception) else "cancelled"
    attempt.ended_at = now = run.time()
    if attempt.usage is None:
        attempt.usage = usage_of(error)  # an answer cut off by its limit is an error in some clients, and billed
    if attempt.status is None:
        with contextlib.suppress(Exception):  # a property of somebody's error; it must not replace the error
            response = getattr(error, "response", None)
            if response is not None:
                status = getattr(error, "status_code", None)
                attempt.status = int(status) if isinstance(status, int) else None
                attempt.headers = getattr(response, "headers", None)
    if run.listening:
        run.sink(AttemptFinished(now, call, attempt))
