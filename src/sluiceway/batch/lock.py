"""One run at a time on one results file."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING, Final, Self

from sluiceway.batch.errors import BatchLocked

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


_held: Final[set[Lock]] = set()


class Lock:
    """Held from entering to leaving; the death of the process, however it dies, frees it.

    Processes that it forked, such as those of a pool, outlive a `kill -9` of it, but hold nothing. It is the operating
    system's lock (`flock`) on a file that says who holds it, so nothing is left to clean up. File systems shared
    between machines keep it if they support it, as NFS does from version 4.

    Args:
        path: of the lock file; removed at the end.

    Raises:
        BatchLocked: another run holds it; the message says which process.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> Self:
        import fcntl  # noqa: PLC0415 - POSIX only

        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = _holder(fd)
                os.close(fd)
                raise BatchLocked(
                    f"{self._path} is held{holder}: another run writes these results. Wait for it, or name others"
                ) from None
            if self._is_still_there(fd):
                break
            os.close(fd)  # its holder left, and took the file along, between our two steps
        self._fd = fd
        _held.add(self)
        with contextlib.suppress(OSError):  # it holds all the same: that it says by whom is a courtesy
            os.ftruncate(fd, 0)
            os.write(fd, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self not in _held:  # a fork, which leaves what its parent has entered
            return
        _held.remove(self)
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._fd)

    def _is_still_there(self, fd: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(fd), self._path.stat())
        return False

    def _forked(self) -> None:
        os.close(self._fd)


def _holder(fd: int) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(os.pread(fd, 1000, 0))
        return f" by process {said['pid']} on {said['host']}"
    return ""


def _let_go() -> None:
    """Close what this process, just forked, has of its parent's locks: they are free when the parent's are closed."""
    while _held:
        _held.pop()._forked()  # noqa: SLF001 - our own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
