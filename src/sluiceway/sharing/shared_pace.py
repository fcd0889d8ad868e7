"""An adaptive rate that several processes find together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sluiceway.sharing.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sluiceway.algorithms.adaptive_pace import AdaptivePace
    from sluiceway.sharing.store import SharedStore

_STEP: Final = 0.5  # of the way to the mean that a rate goes at each turn
_EPISODE: Final = 1.0  # seconds; refusals this close together are one


class SharedPace(Notes):
    """Each process has its own part of the rate and looks for more by itself; falls and pauses are for all.

    At each turn a rate goes half of the way to the mean of all, which keeps their sum; so a newcomer brings nothing of
    its own, and gets its part from the others.

    Args:
        store: where the notes are kept.
        key: whose rate it is.
        pace: that of this process.
        fell: called when it has fallen with another; with the seconds of a pause, 0 for none.
    """

    def __init__(
        self, store: SharedStore, key: object, pace: AdaptivePace, fell: Callable[[float, float], None]
    ) -> None:
        super().__init__(store, key, "pace", keep=60.0)
        self._pace = pace
        self._told_fall = fell
        self._fell_at = float("-inf")
        self._joined = False

    def refused(self, pause: float, now: float) -> None:
        """The provider refused a call of this process, and asked for *pause*: tell the others."""
        if now - self._fell_at >= _EPISODE or pause:
            self._fell_at = now
            self.say({"pause": pause})

    def numbers(self) -> Sequence[float]:
        """Return our part."""
        return (self._pace.law.limit if self._joined else 0.0,)

    def others(self, sums: Sequence[float]) -> None:
        """Come nearer to the mean of all."""
        assert self._loop is not None
        own = self._pace.law.limit
        aim = ((sums[0] + own) / self.workers - own) * _STEP + own
        if not self._joined:  # what the others have is for all; if they have nothing yet, all begin at once
            aim = (sums[0] or own) / self.workers
        self._pace.lean(aim, self._loop.time())
        self._joined = True

    def alone(self) -> None:
        """Have all of it."""
        self._joined = True

    def heard(self, text: dict[str, Any], age: float) -> None:
        """Fall with the others."""
        assert self._loop is not None
        now = self._loop.time()
        if now - self._fell_at < _EPISODE or age > self._keep:
            return
        self._fell_at = now
        pause = max(0.0, float(text["pause"]) - age)
        if age < _EPISODE:
            self._pace.refused(now, now)
        self._told_fall(pause, now)
