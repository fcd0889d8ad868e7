"""Every error that sluiceway raises itself.

A provider's own error passes through unchanged; these are what the layers add::

    SluicewayError
    |-- Rejected                    the call was refused before it reached the provider
    |   |-- RateLimited             it would wait longer for a rate limit than it may
    |   |-- BoundExceeded           it would wait longer for a place in flight than it may
    |   |-- QueueFull               too many calls wait already
    |   |-- CostTooLarge            it costs more than the whole limit: waiting cannot help
    |   |-- CircuitOpen             the circuit is open
    |   |-- Overloaded              it would wait too long, with so many waiting before it
    |   |-- BudgetExceeded          it may cost more than what is left of a budget
    |   `-- SessionClosed           the session drains or has ended
    |-- TimedOut (TimeoutError)     a limit of `timed` or a deadline passed
    |-- ConfigError (ValueError)    a file of pipelines cannot be used
    |-- ReentrantUse (RuntimeError) a call waits for a permit that itself holds
    `-- MissingExtra (ImportError)  an optional dependency is not installed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class SluicewayError(Exception):
    """Base of every error that sluiceway raises itself."""


class Rejected(SluicewayError):
    """The call was refused before it reached the provider: nothing was sent, nothing is owed.

    Attributes:
        retry_after: seconds after which trying again makes sense; None if unknown or never.
        layer: the name of the layer that refused.
        whose: the key whose limit it was, as the message quotes it; empty without one. It may be somebody's API key,
            so that telemetry leaves it out.
    """

    whose = ""

    def __init__(self, message: str, *, layer: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.layer = layer
        self.retry_after = retry_after


class RateLimited(Rejected):
    """The call would wait longer for a rate limit than its `max_wait` allows."""


class BoundExceeded(Rejected):
    """The call would wait longer for a place in flight than its `max_wait` allows."""


class QueueFull(Rejected):
    """As many calls wait for this limit as its `max_queue` allows."""


class CostTooLarge(Rejected):
    """The call alone costs more than the whole limit, so that no wait could ever admit it.

    Attributes:
        cost: what the call would take.
        limit: all that there is per `window`.
        unit: `"requests"`, `"tokens"`, `"input tokens"` or `"output tokens"`.
        window: seconds that the limit is for.
    """

    def __init__(
        self,
        message: str,
        *,
        layer: str = "",
        cost: float = 0.0,
        limit: float = 0.0,
        unit: str = "",
        window: float = 0.0,
    ) -> None:
        super().__init__(message, layer=layer)
        self.cost = cost
        self.limit = limit
        self.unit = unit
        self.window = window


class CircuitOpen(Rejected):
    """The circuit is open: the provider failed too often lately, or somebody isolated it by hand."""


class Overloaded(Rejected):
    """More calls come than go, and this one would wait too long; `retry_after` says when it would not."""


class BudgetExceeded(Rejected):
    """The call may cost more than what is left of a budget, or nobody knows what it costs.

    Attributes:
        unit: `"usd"` or `"tokens"`.
        cost: what the call would probably take; nan if nobody knows.
        limit: the whole budget; spent: what of it is gone; reserved: what calls in flight may take.
    """

    def __init__(
        self,
        message: str,
        *,
        layer: str = "",
        retry_after: float | None = None,
        unit: str = "",
        cost: float = 0.0,
        limit: float = 0.0,
        spent: float = 0.0,
        reserved: float = 0.0,
    ) -> None:
        super().__init__(message, layer=layer, retry_after=retry_after)
        self.unit = unit
        self.cost = cost
        self.limit = limit
        self.spent = spent
        self.reserved = reserved


class SessionClosed(Rejected):
    """The session drains or has ended and takes no new calls."""


class TimedOut(SluicewayError, TimeoutError):
    """A time limit passed.

    Attributes:
        limit: the limit in seconds.
        kind: `"total"` (a limit of `timed`), `"first item"`, `"idle"` or `"deadline"`.
        elapsed: seconds from the start of what was limited until it ended.
        spent: where the time of the call went, seconds by layer or attempt.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: float = 0.0,
        kind: str = "total",
        elapsed: float = 0.0,
        spent: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.kind = kind
        self.elapsed = elapsed
        self.spent = dict(spent or {})


class ConfigError(SluicewayError, ValueError):
    """A file of pipelines cannot be used; the message tells all that is wrong with it, each with its place.

    Attributes:
        problems: what is wrong, one by one; `str` of each names the place, the offending value and what is allowed.
    """

    def __init__(self, problems: Iterable[object]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        super().__init__(lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} problems", *lines]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[object, ...]]]:
        return type(self), (self.problems,)


class ReentrantUse(SluicewayError, RuntimeError):
    """A call asks for a permit of a bound that it holds already, and would wait for itself."""


class MissingExtra(SluicewayError, ImportError):
    """An optional dependency is not installed; the message says which command installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'sluiceway[{extra}]'")
        self.what = what
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.what, self.extra)
