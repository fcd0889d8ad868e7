"""Looks now and then whether a file is another one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from sluiceway.durations import Duration, seconds

from .sources import Stamp, stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Watch:
    """Calls *again* whenever the file changes, while it is entered.

    ``async with config.watch():``, or `start` and `stop`. It looks at the file's times, size and number and reads
    nothing while they stay; notifications of the system would miss what is mounted from elsewhere, such as a
    ConfigMap, whose links are exchanged.

    Args:
        file: its path.
        again: called when it is another; whether it could be used.
        every: how long to wait between two looks.
        seen: the state of the file that was read already.

    Attributes:
        reloads: how often it was read and used; failures: how often it was of no use.
    """

    def __init__(self, file: str, again: Callable[[], bool], every: Duration, seen: Stamp | None) -> None:
        self._file = file
        self._again = again
        self._every = seconds(every, "every")
        self._seen = seen
        self._task: asyncio.Task[None] | None = None
        self.reloads = 0
        self.failures = 0

    def look(self) -> None:
        """Look now."""
        found = stamp(self._file)
        if found == self._seen:
            return
        self._seen = found
        if self._again():
            self.reloads += 1
        else:
            self.failures += 1

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self.look()

    def start(self) -> None:
        """Begin to look, in a task of the event loop that runs."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"watch {self._file}")

    async def stop(self) -> None:
        """Look no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        state = "looks" if self._task is not None else "stopped"
        return f"<Watch {self._file}: {state}, {self.reloads} reloads, {self.failures} failures>"
