"""What the path of every call asks the event loop: which task runs, what time it is."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.version_info >= (3, 12):
    task_of: Callable[[asyncio.AbstractEventLoop], asyncio.Task[Any] | None] = asyncio.current_task
else:
    running: dict[asyncio.AbstractEventLoop, asyncio.Task[Any]] = asyncio.tasks._current_tasks  # type: ignore[attr-defined] # noqa: SLF001 - a frozen version of Python
    """Which task runs now, by loop; what asyncio's own functions around it do, they do at several times its cost."""

    task_of = running.get

plain_loops = frozenset({asyncio.SelectorEventLoop})
"""Loops whose `time` is `time.monotonic`, which costs half as much when it is called without them."""
