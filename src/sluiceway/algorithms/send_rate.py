"""How fast calls go out, and how many of them the provider takes."""

from __future__ import annotations

import math
from collections import deque

_BUCKET = 0.5  # seconds; two of them and the one that fills are the last second
_FEW = 8


class SendRate:
    """Calls a second that were sent and, as far as is known, not refused.

    It is those of the last second; where fewer than eight were sent in it, the rate of the last eight, however long
    they took. Refusals come back at once, answers only when they are complete: that is why sendings are counted, and
    not answers, which speak of the rate of some seconds ago.
    """

    __slots__ = ("_refused", "_sent", "_since", "_times")

    def __init__(self) -> None:
        self._sent = [0, 0, 0]  # in the bucket that fills, the last one, the one before
        self._refused = [0, 0, 0]
        self._since = -math.inf
        self._times: deque[float] = deque(maxlen=_FEW)

    def sent(self, now: float) -> None:
        """Count a call."""
        if now - self._since >= _BUCKET:
            self._turn(now)
        self._sent[0] += 1
        self._times.append(now)

    def unsent(self) -> None:
        """Take back a call that was counted and never left."""
        self._sent[0] -= 1

    def refused(self, now: float) -> None:
        """Take note that one of them was refused."""
        if now - self._since >= _BUCKET:
            self._turn(now)
        self._refused[0] += 1

    def at(self, now: float) -> float:
        """Return the calls a second that the provider takes; infinity as long as fewer than eight were sent."""
        if now - self._since >= _BUCKET:
            self._turn(now)
        rest = 1.0 - (now - self._since) / _BUCKET
        sent = self._sent[0] + self._sent[1] + self._sent[2] * rest
        if sent >= _FEW:
            refused = self._refused[0] + self._refused[1] + self._refused[2] * rest
            return max(1.0, sent - refused)
        times = self._times
        if len(times) < _FEW or now <= times[0]:
            return math.inf
        return max(sent, (_FEW - 1) / (now - times[0]))

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*."""
        self._since += delta
        self._times = deque((time + delta for time in self._times), maxlen=_FEW)

    def _turn(self, now: float) -> None:
        """Begin a new bucket, on the grid of the old ones while they matter."""
        gone = (now - self._since) // _BUCKET if now - self._since < 3 * _BUCKET else 3
        for _ in range(int(gone)):
            self._sent = [0, *self._sent[:2]]
            self._refused = [0, *self._refused[:2]]
        self._since = now if gone == 3 else self._since + gone * _BUCKET
