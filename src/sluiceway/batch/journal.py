"""A file that lines are appended to, whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Final

from sluiceway.batch.durability import Durability

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK: Final = 1 << 16


class Journal:
    """Lines on disk. A line that `append` returned from survives the death of this process.

    Each goes to the operating system in one unbuffered write. One that fits no more is taken back, so that the file
    always ends with a whole line; what a death has left of one is cut off when the file is opened. A last object that
    lacks nothing but its newline, as some editors leave it, gets that.

    Args:
        path: made, with its folders, if it is not there.
        durability: when `settled` calls `fsync`.

    Attributes:
        repaired: bytes of a torn last line that were cut off.
        size: bytes, all of whole lines.

    Raises:
        OSError: it cannot be opened, read or written.
    """

    def __init__(self, path: Path, durability: Durability | None = None) -> None:
        self.path = path
        self._durability = durability or Durability()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            self.size, self.repaired = _repair(self._fd)
        except BaseException:
            os.close(self._fd)
            raise
        self._synced = self.size
        self._rows = 0
        self._last = 0.0
        self._syncing: asyncio.Task[None] | None = None

    def append(self, line: bytes) -> None:
        """Write *line*, which ends with a newline.

        Raises:
            OSError: there is no room, or the disk failed; the file is as it was before.
        """
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            if len(left) < len(line):  # what is left torn if this fails too is cut off at the next start
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self.size)
            raise
        self.size += len(line)
        self._rows += 1

    async def settled(self) -> None:
        """Return when what was appended before counts as done: at once, but for the policy `"always"`.

        Raises:
            OSError: it could not be forced to the disk.
        """
        policy = self._durability
        if policy.always:
            end = self.size
            while self._synced < end:
                await asyncio.shield(self._sync())
            return
        if policy.rows is not None:
            due = self._rows >= policy.rows
        elif policy.seconds is not None:
            due = asyncio.get_running_loop().time() - self._last >= policy.seconds
        else:
            return
        if due and self._syncing is None:
            self._sync().add_done_callback(_looked_at)

    def _sync(self) -> asyncio.Task[None]:
        """Return the task of the `fsync` under way, or of a new one: one at a time serves all who wait."""
        if self._syncing is None:
            loop = asyncio.get_running_loop()
            self._rows = 0
            self._last = loop.time()
            self._syncing = loop.create_task(self._force())
        return self._syncing

    async def _force(self) -> None:
        end = self.size
        try:
            await asyncio.to_thread(os.fsync, self._fd)
            self._synced = end
        finally:
            self._syncing = None

    def abandon(self) -> None:
        """Close the file as it is."""
        os.close(self._fd)

    async def close(self) -> None:
        """Force everything to the disk, whatever the policy, and close the file.

        Raises:
            OSError: it could not be forced to the disk.
        """
        try:
            while self._syncing is not None:
                await asyncio.wait([self._syncing])
            if self._synced < self.size:
                await asyncio.to_thread(os.fsync, self._fd)
        finally:
            os.close(self._fd)


def _looked_at(task: asyncio.Task[None]) -> None:
    """Take note of how a sync ended that nobody waits for: the next write or the end of the batch will tell."""
    if not task.cancelled():
        task.exception()


def _repair(fd: int) -> tuple[int, int]:
    """Cut off what stands behind the last newline, or end it; return the size, and how many bytes were cut off."""
    size = end = os.fstat(fd).st_size
    while end:
        start = max(0, end - _BLOCK)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end == size:
        return size, 0
    if _whole(os.pread(fd, size - end, end)):  # who reads the file counts it
        os.write(fd, b"\n")
        return size + 1, 0
    os.ftruncate(fd, end)
    return end, size - end


def _whole(line: bytes) -> bool:
    """Whether *line* is a JSON object: no beginning of one is one."""
    try:
        return type(json.loads(line)) is dict
    except (ValueError, RecursionError):
        return False
