"""Rows that wait until another one is over."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import Future

_WOKEN: Final = 2


class Turns:
    """Wakes two rows for each that is over, those that have waited longest: all at once would wake most in vain.

    Two, since one that is over may have held what is enough for several.
    """

    def __init__(self) -> None:
        self._waiting: deque[Future[None]] = deque()

    async def wait(self, longest: float) -> None:
        """Wait for a turn, or for *longest* seconds: what frees may be in another process."""
        turn: Future[None] = asyncio.get_running_loop().create_future()
        timer = asyncio.get_running_loop().call_later(longest, _wake, turn)
        self._waiting.append(turn)
        try:
            await turn
        finally:
            timer.cancel()
            turn.cancel()

    def one_is_over(self) -> None:
        """Give the next ones their turn."""
        woken = 0
        while self._waiting and woken < _WOKEN:
            woken += _wake(self._waiting.popleft())


def _wake(turn: Future[None]) -> bool:
    """Let the row behind *turn* go on; whether it still waited."""
    if turn.done():
        return False
    turn.set_result(None)
    return True
