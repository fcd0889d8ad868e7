"""What an adaptive rate and an adaptive bound have in common: their settings, and what an error means to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from sluiceway.algorithms.aimd import Aimd
from sluiceway.algorithms.cubic import Cubic
from sluiceway.algorithms.rates import share
from sluiceway.errors import TimedOut
from sluiceway.providers.errors import Classification, Fault

if TYPE_CHECKING:
    from random import Random

    from sluiceway.algorithms.adaptive import Adaptive
    from sluiceway.call import Attempt

Law: TypeAlias = Literal["cubic", "aimd"]

_LAWS: Final[dict[str, type[Cubic | Aimd]]] = {"cubic": Cubic, "aimd": Aimd}
_FAILURES: Final = (Fault.OVERLOADED, Fault.TRANSIENT)


class Falls(Protocol):
    """What can be told of refusals and failures: a pace, or places."""

    def refused(self, started: float, now: float) -> bool:
        """A call that *started* then was refused for being too fast."""

    def eased(self, started: float, now: float, factor: float) -> bool:
        """A call that *started* then failed otherwise."""


class Adapting:
    """The settings of a limit that finds itself, checked; makes the law of each key.

    Raises:
        TypeError: one of them has the wrong type.
        ValueError: one of them is out of range.
    """

    __slots__ = ("_errors", "_law", "_settings", "_timeouts")

    def __init__(
        self,
        initial: float,
        *,
        least: float,
        most: float | None,
        law: str,
        increase: float | None,
        decrease: float,
        timeout_decrease: float,
        error_decrease: float,
        slow_start: bool,
    ) -> None:
        if law not in _LAWS:
            raise ValueError(f"law={law!r} must be one of {', '.join(map(repr, _LAWS))}")
        self._law = _LAWS[law]
        self._timeouts = share(timeout_decrease, "timeout_decrease")
        self._errors = share(error_decrease, "error_decrease")
        self._settings = {
            "initial": initial,
            "least": least,
            "most": math.inf if most is None else most,
            "decrease": decrease,
            "slow_start": slow_start,
        }
        if increase is not None:
            self._settings["increase"] = increase
        self.make()  # so that bad settings are refused here, also where keys come later

    def make(self) -> Adaptive:
        """Return a law at its beginning."""
        return self._law(**self._settings)  # type: ignore[arg-type]  # they are its own arguments, by name

    def judge(self, limit: Falls, fault: Classification, attempt: Attempt, now: float) -> str | None:
        """Tell *limit* how *attempt* failed; return why it fell, None if it did not.

        Neutral are wrong requests, a quota that is used up, exceptions of the user's own code, our own refusals,
        cancellation, a deadline of the caller's, and whatever was never sent.
        """
        kind = fault.fault
        if kind is Fault.RATE_LIMITED:
            return "429" if limit.refused(attempt.started_at, now) else None
        if kind is Fault.TIMEOUT:
            own = isinstance(attempt.error, TimedOut) and attempt.error.kind == "deadline"
            fell = not own and limit.eased(attempt.started_at, now, self._timeouts)
            return "timeout" if fell else None
        if kind in _FAILURES and fault.sent and limit.eased(attempt.started_at, now, self._errors):
            return "error"
        return None


def pause_after(fault: Classification, rng: Random) -> float | None:
    """Return for how long a 429 asks to be left alone, and up to a tenth more; None if *fault* is none that asks.

    The jitter keeps processes apart that were told the same moment; it only ever adds.
    """
    if fault.fault is not Fault.RATE_LIMITED or not fault.retry_after:
        return None
    return fault.retry_after * rng.uniform(1.0, 1.1)
