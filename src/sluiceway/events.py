"""The facts that layers report.

An event is frozen, is made when its fact is complete, and goes to every sink that hears the call: spans, metrics, logs
and statistics. Times (`at`, `started_at`) are seconds of the event loop's clock. No event carries a prompt, an answer
or a key in its repr; `call` leads to the call's arguments for code that was asked to look at them.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeAlias

from .facts import fact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .call import Attempt, Call
    from .errors import Rejected

Sink: TypeAlias = "Callable[[Event], None]"
"""Who hears events. It must not block; what it raises is logged once and never reaches a call."""


@fact
class Event:
    """Something that happened at the time `at`, in `call` if it happened inside one."""

    at: float
    call: Call | None = field(repr=False)


@fact
class CallStarted(Event):
    """A call entered its outermost layer."""


@fact
class CallFinished(Event):
    """A call is over, its stream read to the end or abandoned.

    `outcome` is `"ok"`, `"error"`, `"rejected"` (a layer refused it and that was the end), `"timed out"` (one of our
    limits was the end) or `"cancelled"` (by the caller, or a reader who left its stream).
    """

    outcome: str
    error: BaseException | None = field(repr=False)
    latency: float


@fact
class AttemptStarted(Event):
    """A trip to the provider begins; `attempt` is its record, still being filled."""

    attempt: Attempt = field(repr=False)


@fact
class FirstItem(Event):
    """The first item of a stream came, `latency` seconds after its attempt began."""

    attempt: Attempt = field(repr=False)
    latency: float


@fact
class AttemptFinished(Event):
    """A trip to the provider is over; `attempt` holds its times, outcome, usage, status."""

    attempt: Attempt = field(repr=False)


@fact
class Phase(Event):
    """A layer's own part of a call, from `started_at` to `at`: what a flat span is made of.

    Attributes:
        layer: the layer's name, such as `"bounded"`.
        name: the phase in words, such as `"bounded wait"`.
        attributes: what the span says, under their full names (`"sluiceway.bounded.limit"`).
        error: the error with which the phase ended, if that was its own doing.
    """

    started_at: float
    layer: str
    name: str
    attributes: Mapping[str, Any]
    error: BaseException | None = field(default=None, repr=False)


@fact
class Measured(Phase):
    """A layer measured what ran inside it: the phase covers the others, and the attempts, of that time."""


@fact
class Waited(Phase):
    """A call waited (or not: a phase of no length) for a permit; `reason` is the layer's name."""

    reason: str = ""
    granted: bool = True
    queue_depth: int = 0


@fact
class BackedOff(Phase):
    """A retry waited `delay` seconds before attempt number `attempt`, after `cause`."""

    delay: float = 0.0
    source: str = "backoff"
    cause: BaseException | None = field(default=None, repr=False)
    attempt: int = 2


@fact
class CallRejected(Event):
    """A layer refused the call before it reached the provider."""

    layer: str
    error: Rejected = field(repr=False)


@fact
class CircuitChanged(Event):
    """A circuit went from one state to another."""

    layer: str
    key: object = field(repr=False)
    old: str
    new: str
    reason: str


@fact
class LimitPaused(Event):
    """A key of a limiter takes no calls for `seconds`, since the provider said so."""

    layer: str
    key: object = field(repr=False)
    seconds: float
    source: str


@fact
class StoreChanged(Event):
    """A store that processes share (`store`, its class) went `"away"` for `reason`, or came `"back"`.

    While it is away `policy` holds: `"local_share"`, `"open"` or `"closed"`.
    """

    store: str
    state: str
    policy: str
    reason: str


@fact
class Settled(Event):
    """A reservation was replaced by what the call really took.

    `basis` is `"usage"` (known), `"estimate"` (kept, usage unknown), `"refund"` (never sent), `"refused"` (429: the
    request is spent, the tokens came back) or `"possibly billed"` (failed after sending, kept).
    """

    layer: str
    key: object = field(repr=False)
    basis: str
    reserved: Mapping[str, float]
    actual: Mapping[str, float]


@fact
class ErrorRateHigh(Event):
    """More than `threshold` of the calls of the last minute failed."""

    session: str
    rate: float
    calls: int
    threshold: float


@fact
class SdkRetries(Event):
    """The provider's SDK retries under our own retries: they multiply. Reported once."""

    retries: int


@fact
class FellBack(Event):
    """What was asked failed with `cause`, and another is asked instead: names of models or functions."""

    layer: str
    failed: str
    to: str
    cause: BaseException = field(repr=False)


@fact
class PassedOver(Event):
    """A deployment refused a call or failed it with `cause`; another one gets it if there is one left."""

    layer: str
    deployment: str
    cause: BaseException = field(repr=False)


@fact
class BudgetSpent(Event):
    """A call was charged to a budget, `basis` as in `Settled`; what is spent and still reserved after it, by unit."""

    layer: str
    key: object = field(repr=False)
    basis: str
    spent: Mapping[str, float]
    reserved: Mapping[str, float]
    limit: Mapping[str, float]


@fact
class CacheHit(Phase):
    """A call was answered from a cache, with what was stored `age` seconds (of the wall clock) before."""

    age: float = 0.0


@fact
class NotCached(Event):
    """An answer could not be stored, or the store failed; `reason` is told once for each layer."""

    layer: str
    reason: str


@fact
class HedgeSent(Event):
    """A further attempt began beside the first, which is slow: `delay` seconds after that began."""

    layer: str
    attempt: Attempt = field(repr=False)
    delay: float


@fact
class HedgeLost(Event):
    """An attempt was cut off, or answered in vain, since another one of its call came first: what it used is wasted."""

    layer: str
    attempt: Attempt = field(repr=False)


@fact
class Coalesced(Event):
    """A call took the answer to `leader`, an equal one under way, instead of an attempt of its own."""

    layer: str
    waited: float
    leader: Call | None = field(default=None, repr=False)


@fact
class RateAdapted(Event):
    """An `adaptive_rate` moved its rate, in requests a second.

    `reason` is `"429"`, `"timeout"`, `"error"`, or `"growth"`, which is told when it has come to 5 %.
    """

    layer: str
    key: object = field(repr=False)
    old: float
    new: float
    reason: str


@fact
class BoundAdapted(Event):
    """An `adaptive_bound` moved its limit, in calls in flight; `reason` as in `RateAdapted`."""

    layer: str
    key: object = field(repr=False)
    old: float
    new: float
    reason: str


@fact
class ConfigReloaded(Event):
    """A file of pipelines was read again, and counts from now on.

    `changed` names the pipelines that did; `warnings` tell what is unwise about them now.
    """

    source: str
    changed: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@fact
class ConfigRejected(Event):
    """A file of pipelines was changed and cannot be used, so that all stays as it was; `error` tells why."""

    source: str
    error: BaseException
