"""An exact log of one window: no rolling window ever sees more than the limit."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque

from sluiceway.algorithms.rates import EPSILON, at_least_zero, padded, rate_of

_GRANULES = 1440  # a minute of a day: the log of any window fits in this many entries and a few
_PACE = 0.05  # seconds' worth of permits that may pass at once


class SlidingWindow:
    """One limited resource whose permits are remembered for a window (see :mod:`.limiter`).

    Within any half-open span of ``window`` seconds the costs admitted sum to at most ``limit``. (A token bucket as
    large as its limit lets twice that through.) A settled debt is the exception; it only delays later permits.

    A permit's time is not its arrival's time, so what an exact server sees differs by tens of milliseconds. Two
    settings answer that. Entries are kept ``margin`` seconds longer than the window. And permits are *paced*, each
    one ``cost * (window + margin) / limit`` seconds after the one before, where a caller that wakes late makes up
    for at most 50 ms (or a tenth of a short window): without pacing the edges of a full window meet the server's.

    Entries less than ``granularity`` seconds apart are merged under the later time, which forgets late, never early;
    so memory is bounded by ``window / granularity`` entries, and up to ``granularity / window`` of the rate is lost.

    A provider's ``learn`` is not merged into the log: it is one foreign charge beside it, which ends one window
    after it last grew. Learn only from headers that count the same window. ``raise_to`` takes back no more than that
    charge: the provider's word cannot make the log forget permits of our own. A pause without pacing is only a gate.

    Args:
        limit: the sum of costs per window; ``cost == limit`` passes when the window is empty.
        window: seconds.
        margin: seconds that an entry outlives the window.
        paced: whether permits are spread over the window. Not for a day's limit: 1,000 a day would be one in 86 s.
        granularity: seconds; ``window / 1440`` if None; 0 keeps every permit.

    Raises:
        ValueError: a number is out of range.
    """

    __slots__ = (
        "_at",
        "_ceiling",
        "_costs",
        "_due",
        "_foreign",
        "_foreign_until",
        "_forgotten",
        "_granularity",
        "_granule_end",
        "_interval",
        "_limit",
        "_margin",
        "_next",
        "_paced",
        "_share",
        "_slack",
        "_span",
        "_stamps",
        "_until",
        "_used",
    )

    def __init__(
        self,
        limit: float,
        window: float,
        margin: float = 0.02,
        paced: bool = True,  # noqa: FBT001, FBT002 - a setting; callers name it
        granularity: float | None = None,
    ) -> None:
        self._margin = at_least_zero(margin, "margin")
        self._paced = paced
        rate_of(limit, window)
        self._share = 1 / _GRANULES if granularity is None else at_least_zero(granularity, "granularity") / window
        if self._share > 0.5:
            raise ValueError(f"granularity={granularity!r} must be at most half of window={window!r} seconds")
        self._specify(limit, window)
        self._stamps: deque[float] = deque()
        self._costs: deque[float] = deque()
        self._used = 0.0  # sum of the log and of the foreign charge
        self._due = math.inf  # when the next of them ends
        self._foreign = 0.0
        self._foreign_until = math.inf
        self._forgotten = -math.inf  # the last entry that left the window
        self._granule_end = -math.inf
        self._next = -math.inf  # when the next permit may pass, by pace
        self._at = -math.inf  # the last time told; in a pause its end, so that one comparison finds both
        self._until = -math.inf

    def _specify(self, limit: float, window: float) -> None:
        self._limit = float(limit)
        self._granularity = window * self._share
        self._ceiling = limit * (1.0 + EPSILON)
        self._span = window + self._margin
        self._interval = self._span / limit if self._paced else 0.0
        self._slack = min(_PACE, window / 10) if self._paced else math.inf

    def take(self, cost: float, now: float) -> float:
        """Return 0.0 and take *cost*, or return the seconds to wait and take nothing."""
        if now < self._at:
            if self._at == self._until:
                return self.wait(cost, now)
            now = self._at
        else:
            self._at = now
        if self._due <= now:
            self._expire(now)
        if (now < self._next or self._used + cost > self._ceiling) and (wait := self.wait(cost, now)):
            return wait
        self._log(cost, now)
        return 0.0

    def wait(self, cost: float, now: float) -> float:
        """Return the seconds until *cost* could be taken; 0.0 for now."""
        if now >= self._at:
            if self._due <= now:
                self._expire(now)
            if now >= self._next and self._used + cost <= self._ceiling:
                return 0.0
        paused = self._paused(now)
        ready = at = max(now, self._at)
        if cost:
            if self._due <= (told := now if paused else at):
                self._expire(told)
            ready = max(at, self._next)
            wanted = self._used + min(cost, self._limit)
            if wanted > self._ceiling:
                ready = max(ready, self._when_free(wanted - self._limit))
        return padded(ready - now, now) if paused or ready > at else 0.0

    def charge(self, cost: float, now: float) -> None:
        """Take *cost* whatever the level."""
        self._log(cost, self._tell(now))

    def give(self, cost: float, now: float, at: float | None = None) -> None:
        """Hand back an unused permit of *cost*, taken at *at*."""
        self.adjust(-cost, now, at)

    def adjust(self, delta: float, now: float, at: float | None = None) -> None:
        """Settle by *delta* the permit taken at *at*; one that has left the window is past correcting.

        Without *at* a charge is logged at *now* and a refund taken from the oldest entries: both forget late.
        """
        paused = self._paused(now)
        told = self._tell(now)
        if at is not None:
            if at > self._forgotten:
                self._correct(bisect_left(self._stamps, at), delta)
        elif delta > 0.0:
            self._log(delta, told)
        else:
            self._refund_oldest(-delta)
        if paused and self._paced:
            self._next = max(self._next, self._until)

    def learn(self, remaining: float, now: float, *, raise_to: float | None = None) -> None:
        """Lower the level to *remaining*; raise it to *raise_to* if given, but not above our own log's."""
        now = self._tell(now)
        own = self._used - self._foreign
        foreign = self._foreign
        if self._limit - own - remaining > foreign:
            foreign = self._limit - own - remaining
            self._foreign_until = now + self._span
        if raise_to is not None:
            foreign = max(0.0, min(foreign, self._limit - own - raise_to))
        self._foreign = foreign
        self._used = own + foreign
        self._look_ahead()

    def pause(self, until: float, now: float) -> None:
        """Admit nothing before *until*; afterwards one permit, and the rest at the pace."""
        if until <= max(now, self._at):
            return
        self._at = self._until = until
        if self._paced:
            self._next = max(self._next, until)

    def resize(self, limit: float, window: float, now: float) -> None:
        """Change limit and window; the log stays, what it has forgotten does not come back.

        A granularity keeps its share of the window.

        Raises:
            ValueError: one of the numbers is not above 0.
        """
        rate_of(limit, window)
        self._tell(now)
        self._specify(limit, window)
        self._granule_end = -math.inf
        self._look_ahead()

    def shift(self, delta: float) -> None:
        """Move every remembered time by *delta*; see :mod:`.limiter`."""
        self._stamps = deque(stamp + delta for stamp in self._stamps)
        self._at += delta
        self._until += delta
        self._next += delta
        self._forgotten += delta
        self._foreign_until += delta
        self._granule_end += delta
        self._look_ahead()

    def largest(self) -> float:
        """Return the limit: larger costs are the caller's to refuse."""
        return self._limit

    def level(self, now: float) -> float:
        """Return what the window still holds at *now*, negative in debt; pacing left aside."""
        if self._due <= now:
            self._expire(now)
        return self._limit - self._used

    def _tell(self, now: float) -> float:
        """Take note of *now*, and return the time that counts."""
        if self._due <= now:
            self._expire(now)
        self._at = max(now, self._at)
        return self._at

    def _log(self, cost: float, now: float) -> None:
        if not cost:
            return
        self._used += cost
        if now < self._granule_end:
            self._stamps[-1] = now
            self._costs[-1] += cost
        else:
            self._stamps.append(now)
            self._costs.append(cost)
            self._granule_end = now + self._granularity
        if len(self._stamps) == 1:
            self._look_ahead()
        # The pace is paid for afterwards: a permit of any size goes out on time, and the next one waits for it.
        earliest = now - self._slack
        ready = self._next
        if ready < earliest:  # noqa: PLR1730 - max() costs a call on the hot path
            ready = earliest
        self._next = ready + cost * self._interval

    def _expire(self, now: float) -> None:
        """Forget what has left the window."""
        stamps, costs, span = self._stamps, self._costs, self._span
        while stamps and stamps[0] + span <= now:
            self._forgotten = stamps.popleft()
            self._used -= costs.popleft()
        if self._foreign_until <= now:
            self._used -= self._foreign
            self._foreign = 0.0
            self._foreign_until = math.inf
        if not stamps:
            self._used = self._foreign  # an empty log holds nothing, whatever rounding made of the sum
            self._granule_end = -math.inf
        self._look_ahead()

    def _look_ahead(self) -> None:
        oldest = self._stamps[0] + self._span if self._stamps else math.inf
        self._due = min(oldest, self._foreign_until)

    def _correct(self, i: int, delta: float) -> None:
        """Add *delta* to entry *i*, which a refund empties at most."""
        if i < len(self._costs):
            change = max(delta, -self._costs[i])
            self._costs[i] += change
            self._used += change
            self._next += change * self._interval

    def _refund_oldest(self, amount: float) -> None:
        for i, cost in enumerate(self._costs):
            if amount <= 0.0:
                return
            self._correct(i, -min(amount, cost))
            amount -= cost

    def _when_free(self, excess: float) -> float:
        """Return the time at which enough has left the window to make up for *excess*."""
        enough = self._limit * EPSILON / 2  # half of what a take forgives: the two sum in different orders
        foreign_until = self._foreign_until
        due = -math.inf
        for stamp, cost in zip(self._stamps, self._costs, strict=True):
            due = stamp + self._span
            if foreign_until <= due:
                excess -= self._foreign
                if excess <= enough:
                    return foreign_until
                foreign_until = math.inf
            excess -= cost
            if excess <= enough:
                return due
        return due if foreign_until == math.inf else foreign_until

    def _paused(self, now: float) -> bool:
        return now < self._until == self._at

    def __repr__(self) -> str:
        paced = "paced" if self._paced else "not paced"
        return f"<SlidingWindow {self._limit - self._used:g} of {self._limit:g} left in {self._span:g} s, {paced}>"
