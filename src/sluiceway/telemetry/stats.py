"""What a session counted: frozen numbers for people and dashboards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from .sketch import Latency

OTHER: Final = "other"
"""Where the numbers of a model or tenant go that is one too many."""

_NO_LATENCY: Final = Latency()


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by kind, as the provider reported them.

    Attributes:
        input: what the models read; `cached` is the part of it that came from the provider's cache.
        output: what the models wrote; `reasoning` is the part of it that nobody sees.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output


@dataclass(frozen=True, slots=True)
class Waits:
    """How often calls waited for one reason, for how many seconds together, and the longest of them."""

    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0

    @property
    def mean(self) -> float:
        """Seconds for each that waited; 0 if none did."""
        return self.seconds / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The numbers of some calls: all of a session, those to one model, those of one tenant.

    Of a model or a tenant only calls that are over are counted, so that
    ``calls == succeeded + failed + rejected + timed_out + cancelled``; a session's `Stats` adds those `in_flight`.

    Attributes:
        calls: calls that started. A decorated function that calls another makes two.
        succeeded: calls that returned, or whose stream was read to its end.
        failed: calls that ended with the provider's, or the function's own, error.
        rejected: calls that one of our layers refused in the end.
        timed_out: calls that one of our time limits ended.
        cancelled: calls that their caller cancelled, or whose stream was left.
        attempts: trips to the provider. An attempt that made calls of its own is none: theirs are counted.
        retries: how often a call backed off to try again.
        tokens: as reported by the provider.
        cost: USD, of the attempts whose price is known; None if tokens were used and no price is known at all.
        unpriced: attempts whose tokens are known and whose price is not; `cost` leaves them out.
        unmetered: attempts that were answered without a report of their tokens, so that `tokens` leaves them out.
        latency: of the calls that succeeded, failed or timed out, from start to end, waiting included.
        first_item: of the attempts that streamed, from their start to their first item.
    """

    calls: int = 0
    succeeded: int = 0
    failed: int = 0
    rejected: int = 0
    timed_out: int = 0
    cancelled: int = 0
    attempts: int = 0
    retries: int = 0
    tokens: Tokens = Tokens()
    cost: float | None = 0.0
    unpriced: int = 0
    unmetered: int = 0
    latency: Latency = _NO_LATENCY
    first_item: Latency = _NO_LATENCY

    @property
    def success_rate(self) -> float | None:
        """The share of the calls that are over, without those cancelled, that succeeded; None if there is none."""
        over = self.succeeded + self.failed + self.rejected + self.timed_out
        return self.succeeded / over if over else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Figures):
    """What a session counted; ``str()`` of it is a table, `to_dict` is ready for JSON.

    Attributes:
        name: the session's.
        elapsed: seconds from entering the session to now, or to its end or the last event if that came later.
        in_flight: calls that started and are not over.
        throughput: calls that succeeded per second of `elapsed`.
        recent_throughput: the same over the last ten seconds.
        error_rate: the share of the calls that ended in the last minute, without those cancelled, that did not succeed;
            None if there is none. Of a batch also without the refusals after which its rows wait (open circuits count).
        possibly_billed: attempts that failed after they were sent, for which the provider may charge: known where a
            limiter settles them.
        cache_hits: calls that a cache answered: they made no attempt and cost nothing.
        coalesced: calls that took the answer to an equal one under way: they made no attempt and cost nothing.
        hedges: attempts that were made beside a slow one.
        wasted_attempts: attempts that were cut off or answered in vain, since another one of their call came first.
        wasted: the tokens that those reported, which `tokens` contains too. Most report none when they are cut off; the
            provider may charge for them all the same.
        waits: by reason: a layer's name, or `"backoff"`.
        errors: calls that ended with an error or refusal, by its kind, the most frequent first.
        attempt_errors: attempts that failed, by kind; a retry may have saved their calls.
        refusals: how often each layer refused.
        by_model: calls by the model asked for, else by the one that answered; if neither is known, as of calls that
            were refused or answered from a cache, left out: the table shows them as "(unknown)".
        by_tenant: calls by `hints(tenant=...)`.
    """

    name: str = ""
    elapsed: float = 0.0
    in_flight: int = 0
    throughput: float = 0.0
    recent_throughput: float = 0.0
    error_rate: float | None = None
    possibly_billed: int = 0
    cache_hits: int = 0
    coalesced: int = 0
    hedges: int = 0
    wasted_attempts: int = 0
    wasted: Tokens = Tokens()
    waits: Mapping[str, Waits] = field(default_factory=_nothing)
    errors: Mapping[str, int] = field(default_factory=_nothing)
    attempt_errors: Mapping[str, int] = field(default_factory=_nothing)
    refusals: Mapping[str, int] = field(default_factory=_nothing)
    by_model: Mapping[str, Figures] = field(default_factory=_nothing)
    by_tenant: Mapping[str, Figures] = field(default_factory=_nothing)

    def __str__(self) -> str:
        from .table import render  # noqa: PLC0415 - the table knows this class

        return render(self)

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers in dicts that `json.dumps` takes, with what follows from them."""
        found: dict[str, Any] = _plain(self)
        return {"name": found.pop("name"), "elapsed": found.pop("elapsed"), **found}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    found = {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Tokens):
        found["total"] = value.total
    elif isinstance(value, Figures):
        found["success_rate"] = value.success_rate
    return found
