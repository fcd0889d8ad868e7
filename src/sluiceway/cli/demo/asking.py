"""The function that the demo calls. Its source is printed first: what is shown is what runs."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING

from sluiceway import bounded, circuit_breaker, rate_limited, retry_jitter, timed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion


def decorated(client: AsyncOpenAI, model: str) -> Callable[[str], Awaitable[ChatCompletion]]:
    """Return a function with the five layers around it, in the recommended order."""

    @timed("60s")  # the whole call, its waiting included
    @retry_jitter(attempts=5)  # again, later, where that can help
    @bounded(16)  # so many at a time
    @rate_limited(rpm=1500, tpm=200_000)  # inside the provider's limits
    @circuit_breaker(failure_ratio=0.5)  # not while the provider is down
    @timed("3s")  # each attempt
    async def ask(prompt: str) -> ChatCompletion:
        return await client.chat.completions.create(
            model=model, max_tokens=100, messages=[{"role": "user", "content": prompt}]
        )

    return ask


def source() -> str:
    """Return the source of the function with its layers."""
    lines = inspect.getsource(decorated).splitlines()
    first = next(number for number, line in enumerate(lines) if line.lstrip().startswith("@"))
    last = next(number for number, line in enumerate(lines) if line.strip() == "return ask")
    return textwrap.dedent("\n".join(lines[first:last])).strip()
