"""The last minute of a session, second by second: how many calls succeeded, and how many did not."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 60
"""Seconds that the error rate looks back; the current one counts from its beginning, so it sees 59 to 60."""

RECENT: Final = 10
"""Seconds that the recent throughput looks back."""


class LastMinute:
    """A ring of seconds that is told the time. Idle seconds are empty, however many have passed.

    Whoever counts a call that ended at `now` calls `advance(now)` if ``now >= until``, and adds 1 to `good` or `bad`:
    two attributes instead of a method, since every call passes here. A call from before that second counts as of it.

    Attributes:
        good, bad: of the current second.
        until: when the current second ends.
    """

    __slots__ = ("_bad", "_good", "_second", "bad", "good", "until")

    def __init__(self, now: float) -> None:
        self._good = [0] * WINDOW
        self._bad = [0] * WINDOW
        self._second = int(now)
        self.until = self._second + 1.0
        self.good = 0
        self.bad = 0

    def advance(self, now: float) -> None:
        """Begin the second of *now*."""
        second = int(now)
        if second <= self._second:
            return
        slot = self._second % WINDOW
        self._good[slot], self._bad[slot] = self.good, self.bad
        for gone in range(self._second + 1, min(second, self._second + WINDOW) + 1):
            self._good[gone % WINDOW] = self._bad[gone % WINDOW] = 0
        self._second = second
        self.until = second + 1.0
        self.good = self.bad = 0

    def seen(self, now: float) -> tuple[int, int]:
        """Return how many calls of the last minute did not succeed, and how many there were."""
        self.advance(now)
        bad = sum(self._bad) + self.bad
        return bad, bad + sum(self._good) + self.good

    def recent(self, now: float, since: float) -> float:
        """Return the successful calls per second of the last ten seconds, or since *since* if that was later."""
        self.advance(now)
        first = self._second - RECENT + 1
        good = self.good + sum(self._good[second % WINDOW] for second in range(first, self._second))
        span = now - max(float(first), since)
        return good / span if span > 0 else 0.0


class Episodes:
    """Tells when an error rate becomes high, once for each time that it does.

    An episode begins when more than *threshold* of at least *least* calls did not succeed, and ends when at most half
    of the threshold did not: a rate that wavers about the threshold is one episode.

    Args:
        threshold: a share, between 0 and 1.
        least: calls of the last minute without which no rate is a rate.
    """

    __slots__ = ("_least", "_on", "threshold")

    def __init__(self, threshold: float, least: int = 50) -> None:
        self.threshold = threshold
        self._least = least
        self._on = False

    def begins(self, bad: int, calls: int) -> bool:
        """Return whether an episode begins with the call that just did not succeed, the last of *bad* of *calls*."""
        if self._on and bad - 1 <= (calls - 1) * self.threshold / 2:  # as it was before this call
            self._on = False
        if not self._on and calls >= self._least and bad > calls * self.threshold:
            self._on = True
            return True
        return False
