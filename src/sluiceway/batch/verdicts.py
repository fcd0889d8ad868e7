"""What a row's failure means: it is dead, it waits, or the whole batch stops. Decided apart from doing it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from sluiceway.durations import in_words
from sluiceway.errors import BudgetExceeded, CircuitOpen, CostTooLarge, Rejected, SessionClosed
from sluiceway.providers.errors import Fault, classify

if TYPE_CHECKING:
    from random import Random

REFUSED: Final = "refused"
"""Why a row waits that a layer refused, but for an open circuit: it need not be the provider's doing."""

RESERVED: Final = "budget reserved"
"""Why a row waits for others that are in flight: what they take less than they may is left of the budget for it."""

_BASE: Final = 1.0  # seconds
_CAP: Final = 30.0
_SPREAD: Final = 0.1
_OUTAGE: Final = 3  # rows
_DOUBLINGS: Final = 10

_NO_MONEY = "the provider says that the quota is used up ({code}): add credit, then run the same command again"
_NO_KEY = "the provider refuses the key (401): set another one, then run the same command again"


@dataclass(frozen=True, slots=True)
class Stop:
    """The batch ends before its source does; everything that was answered is saved.

    Attributes:
        kind: `"quota"`, `"unauthorized"`, `"budget"`, `"error rate"`, `"provider down"`, `"source"`, `"disk"` or
            `"signal"`.
        message: a sentence for people.
    """

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Dead:
    """The row is answered by nobody any more."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The row is asked again in `seconds`; it counts as an attempt only if one was made."""

    reason: str
    seconds: float


Verdict: TypeAlias = Stop | Dead | Wait


class Weather:
    """Whether the provider fails a row, or all of them: a machine that is told the time.

    Since the last answer to anybody at least three rows failed: that is an outage, and no row's own fault. A row that
    fails while others are answered has only itself to blame.

    Args:
        patience: seconds without any answer, while rows fail, that the batch waits.
    """

    __slots__ = ("_error", "_failing", "_patience", "_refusal", "_since")

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._failing: set[int] = set()
        self._since: float | None = None
        self._error = self._refusal = ""

    def answered(self) -> None:
        """Somebody was answered."""
        if self._failing:
            self._failing.clear()
        self._since = None
        self._error = ""

    def failed(self, index: int, error: BaseException, now: float) -> None:
        """The row at *index* failed with *error*, or was refused, by no fault of its own."""
        self._failing.add(index)
        if self._since is None:
            self._since = now
        if isinstance(error, Rejected):
            self._refusal = type(error).__name__
        else:
            self._error = type(error).__name__

    @property
    def patience(self) -> float:
        """Seconds that the batch waits for the provider."""
        return self._patience

    @property
    def outage(self) -> bool:
        """Whether it looks like one."""
        return len(self._failing) >= _OUTAGE

    @property
    def until(self) -> float:
        """When patience ends if nobody is answered; never while nobody fails."""
        return math.inf if self._since is None else self._since + self._patience

    def hopeless(self, now: float) -> Stop | None:
        """Return the end of the batch if nobody has been answered for as long as it waits."""
        if self._since is None or now < self.until:
            return None
        return Stop(
            "provider down",
            f"nothing was answered for {in_words(now - self._since)}, the last error was "
            f"{self._error or self._refusal}: run the same command again when the provider is back",
        )


def waited_out(error: BaseException | None) -> bool:
    """Whether *error* is a refusal of ours after which a row waits and is asked again: no call has failed then."""
    return isinstance(error, Rejected) and not isinstance(error, (CostTooLarge, SessionClosed))


def judge(
    error: Exception,
    index: int,
    spent: int,
    most: int,
    waits: int,
    weather: Weather,
    now: float,
    rng: Random,
    *,
    busy: bool = False,
) -> Verdict:
    """Return what is to become of a row that failed with *error*.

    Refusals of our layers (an open circuit, a full queue) cost no attempt, and the row waits as long as they say. While
    other rows are being asked a full queue says nothing of the provider, however long it stays full. What
    can be repeated and still has attempts met the retry budget: it waits. So it does in an outage, however many
    attempts it has had. A budget ends the batch when what is spent leaves too little, not when what is reserved does.
    What a provider asks to wait counts up to the patience; without a word of anybody's a row waits for
    ``U(1/2, 1) * min(30, 2**waits)`` seconds.

    Args:
        error: the row's error.
        index: its place.
        spent: its attempts so far.
        most: the attempts that it may have.
        waits: how often it has waited.
        weather: of the provider; it hears of the failure.
        now: seconds of the same clock that *weather* is told.
        rng: where chance comes from.
        busy: whether other rows are in the layers or at the provider.
    """
    if isinstance(error, CostTooLarge):
        return Dead()
    if isinstance(error, BudgetExceeded):
        return _over_budget(error, _longest(waits))
    found = classify(error)
    if found.fault is Fault.QUOTA:
        return Stop("quota", _NO_MONEY.format(code=found.code or found.status))
    if found.status == 401:
        return Stop("unauthorized", _NO_KEY)
    refused, asked = waited_out(error), found.retry_after
    if refused and busy and not isinstance(error, CircuitOpen):
        return Wait(REFUSED, _a_little_more(asked, rng))
    if not refused and not found.retryable:
        return Dead()
    weather.failed(index, error, now)
    if not refused and spent >= most and not weather.outage:
        return Dead()
    stop = weather.hopeless(now)
    if stop is not None:
        return stop
    if refused:
        return Wait("circuit open" if isinstance(error, CircuitOpen) else REFUSED, _a_little_more(asked, rng))
    seconds = max(min(asked or 0.0, weather.patience), _longest(waits) * (0.5 + rng.random() / 2))
    return Wait("provider down" if weather.outage else "retry budget", seconds)


def _a_little_more(asked: float | None, rng: Random) -> float:
    """Return what a refusal asks to wait, so that not all come back at once."""
    return (_BASE if asked is None else asked) * (1 + _SPREAD * rng.random())


def _longest(waits: int) -> float:
    return min(_CAP, _BASE * 2.0 ** min(waits, _DOUBLINGS))


def _over_budget(error: BudgetExceeded, longest: float) -> Stop | Wait:
    if math.isnan(error.cost):  # nobody knows the price, whatever the budget
        return Stop("budget", f"{error}; then run the same command again")
    if error.reserved > 0 and error.cost <= error.limit - error.spent:
        return Wait(RESERVED, longest)
    return Stop("budget", f"{error}: raise the budget, then run the same command again")


class ErrorRate:
    """The share of dead rows among the last hundred, those that could not be asked included.

    Args:
        over: more than this share of at least 50 rows is too much; None for never.
    """

    __slots__ = ("_dead", "_last", "_over", "_slot")

    _WINDOW: Final = 100
    _LEAST: Final = 50

    def __init__(self, over: float | None) -> None:
        self._over = over
        self._last: list[bool] = []
        self._slot = 0
        self._dead = 0

    def count(self, *, dead: bool) -> Stop | None:
        """Count a row that is over; return the end of the batch if that is one too many."""
        last = self._last
        if len(last) < self._WINDOW:
            last.append(dead)
        else:
            self._dead -= last[self._slot]
            last[self._slot] = dead
            self._slot = (self._slot + 1) % self._WINDOW
        self._dead += dead
        if self._over is None or len(last) < self._LEAST or self._dead <= self._over * len(last):
            return None
        return Stop(
            "error rate",
            f"{self._dead} of the last {len(last)} rows are dead letters, more than abort_over={self._over:g}: "
            "look at the dead letters; retry-dead tries those again that were asked, and the others want a correct "
            "source or template",
        )
