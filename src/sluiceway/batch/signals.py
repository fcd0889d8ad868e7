"""SIGTERM and SIGINT while a batch runs: the first ends it gracefully, the second at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_WANTED: Final = (signal.SIGTERM, signal.SIGINT)
_hearing: Final[set[Signals]] = set()


class Signals:
    """Hears the signals from entering to leaving, and gives them back to whoever heard them before.

    Only in the main thread, and only where SIGTERM is nobody else's: a web server that handles it goes on to.

    Args:
        hear: told the signal's number, on the event loop, each time that one comes.
    """

    def __init__(self, hear: Callable[[int], None]) -> None:
        self._hear = hear
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            loop = asyncio.get_running_loop()
            for number in _WANTED:
                before = signal.getsignal(number)
                try:
                    loop.add_signal_handler(number, self._hear, number)
                except (NotImplementedError, RuntimeError, ValueError):
                    continue  # a loop without signals
                self._before[number] = before
        if self._before:
            _hearing.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _hearing.discard(self)
        loop = asyncio.get_running_loop()
        for number, before in self._before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, before)


def _hear_for_itself() -> None:
    """Let a process, just forked, tell its parent's loop of no signals: Ctrl-C, which all of them get, was a second.

    Later Pythons than 3.11 do so by themselves.
    """
    if _hearing:
        with contextlib.suppress(ValueError):  # forked from another thread
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hear_for_itself)
