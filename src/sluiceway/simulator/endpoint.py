"""One line for code that shall run as it stands, and against a real provider when there is one."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Unpack

from sluiceway.providers.openai import client
from sluiceway.simulator.simulator import API_KEY, Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from openai import AsyncOpenAI

    from sluiceway.simulator.behaviour import Settings

_WHERE = ("OPENAI_API_KEY", "OPENAI_BASE_URL")


@asynccontextmanager
async def real_or_simulated(**settings: Unpack[Settings]) -> AsyncIterator[AsyncOpenAI]:
    """Give the recommended client of the provider that the environment names, else of a simulated one.

    ``async with real_or_simulated(errors={503: 0.1}) as client:``. If `OPENAI_API_KEY` or `OPENAI_BASE_URL` is set, it
    is what `sluiceway.providers.openai.client()` makes of them; otherwise a :class:`Simulator` runs until the end of
    the block. The client is closed at the end.

    Args:
        settings: of the simulated provider; a real one is as it is.

    Raises:
        TypeError, ValueError: a setting is unknown or not allowed.
        ImportError: the simulator needs aiohttp, which is not installed.
        openai.OpenAIError: there is a base URL and no key.
    """
    import openai  # noqa: F401, PLC0415 - half a second, which the outages of a simulator shall not count

    simulator = Simulator(**settings)
    if any(os.environ.get(name) for name in _WHERE):
        async with client() as real:
            yield real
        return
    async with simulator, client(base_url=simulator.base_url, api_key=API_KEY) as simulated:
        yield simulated
