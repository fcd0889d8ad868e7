"""The task that runs now, asked for on the path of every call."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.version_info >= (3, 12):
    task_of: Callable[[asyncio.AbstractEventLoop], asyncio.Task[Any] | None] = asyncio.current_task
else:  # there it is a Python function around this look-up, at three times its cost
    task_of = asyncio.tasks._current_tasks.get  # type: ignore[attr-defined] # noqa: SLF001 - a frozen version of Python
