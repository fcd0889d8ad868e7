"""How long a queue lets wait: how fast it drains, and whether it has stood too long."""

from __future__ import annotations

from typing import Final

_MEMORY: Final = 50  # grants that the mean looks back on
_NEVER: Final = float("-inf")


class Sojourn:
    """Tells a queue that stands from one that only takes up a burst, by how long those who leave it had to wait.

    A burst makes a long queue, too, but one that empties: sooner or later somebody leaves it who waited less than
    `target`. A queue in which for a whole `interval` everybody waited longer takes in more than it lets out, and its
    length is of use to nobody. That is the idea of CoDel (RFC 8289), whose target is 5 to 10 % of its interval, the
    time in which senders react. It stands until it has been seen empty, since one that is held at the target has short
    waits, too; if it fills again within an interval of that, `target` seconds of too long waits are enough.

    How long somebody who comes now will wait is the number before it times the mean gap between grants; the
    gap that is still open counts as soon as it is longer than the mean, so that a queue that is held up shows it.

    Times are seconds of one clock; one that starts anew starts us anew.

    Args:
        target: how long a wait may be.
        interval: for how long all must be longer.
    """

    __slots__ = ("_above", "_busy", "_ended", "_gap", "_grants", "_last", "_stands", "interval", "target")

    def __init__(self, target: float, interval: float) -> None:
        self.target = target
        self.interval = interval
        self._forget()

    def _forget(self) -> None:
        self._last = _NEVER  # the last grant
        self._above: float | None = None  # since when everybody waited longer than the target
        self._busy: float | None = None  # since when somebody was always there
        self._stands = False
        self._ended = _NEVER  # when it was seen empty after it had stood
        self._grants = 0
        self._gap = 0.0

    def granted(self, waited: float, now: float) -> None:
        """Note that somebody leaves the queue after *waited* seconds."""
        if now < self._last:
            self._forget()
        gap = min(waited, now - self._last)  # time in which nobody was there says nothing
        self._grants += 1
        self._gap += (gap - self._gap) / min(self._grants, _MEMORY)
        self._last = now
        if waited < self.target:
            self._above = None
        elif self._above is None:
            self._above = now

    def seen(self, waiting: int, now: float) -> None:
        """Note that *waiting* are in the queue."""
        if now < self._last:
            self._forget()
        if not waiting:
            self._above = self._busy = None
            if self._stands:
                self._stands = False
                self._ended = now
        elif self._busy is None:
            self._busy = now

    def expected(self, ahead: int, now: float) -> float | None:
        """Return how long somebody will wait who comes now and has *ahead* before it; None if nothing is known."""
        gap, still_open = self._gap, self._open(now)
        if not self._grants:
            return (ahead + 1) * still_open if still_open >= self.target + self.interval else None
        if still_open > gap:
            gap += (still_open - gap) / min(self._grants + 1, _MEMORY)
        return (ahead + 1) * gap

    def standing(self, now: float) -> bool:
        """Whether for an interval all who left had waited too long, or nobody left, and it has not been empty since."""
        if not self._stands:
            longest = self.target if now - self._ended < self.interval else self.interval
            above = self._above is not None and now - self._above >= longest
            self._stands = above or self._open(now) >= self.target + self.interval
        return self._stands

    def _open(self, now: float) -> float:
        """Return the seconds in which somebody has been waiting and nobody was let out."""
        return 0.0 if self._busy is None else now - max(self._busy, self._last)
