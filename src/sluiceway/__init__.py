"""Stackable async middleware for LLM calls.

Decorate the coroutine functions that you have, or build a `Pipeline` and wrap anything with it::

    from sluiceway import bounded, circuit_breaker, rate_limited, retry_jitter, timed

    @timed("60s")
    @retry_jitter(attempts=5)
    @bounded(30)
    @rate_limited(rpm=500, tpm=200_000)
    @circuit_breaker(failure_ratio=0.5)
    async def ask(prompt: str) -> ChatCompletion: ...
"""

from __future__ import annotations

__version__ = "0.1.0"
