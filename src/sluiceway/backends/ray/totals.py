"""The numbers of several actors, as one session's."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sluiceway.telemetry.sketch import Latency
from sluiceway.telemetry.stats import Figures, Stats, Tokens, Waits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COUNTS: Final = (
    *("calls", "succeeded", "failed", "rejected", "timed_out", "cancelled"),
    *("attempts", "retries", "unpriced", "unmetered"),
)
_STATS_COUNTS: Final = ("in_flight", "possibly_billed", "cache_hits", "coalesced", "hedges", "wasted_attempts")
_BY_KIND: Final = ("errors", "attempt_errors", "refusals")


def total(name: str, elapsed: float, latency: Latency, parts: Sequence[Mapping[str, Any]]) -> Stats:
    """Return what *parts*, each as `Stats.to_dict` has it, come to.

    Percentiles cannot be added up: `latency` is that of the rows, which somebody has measured in one place, and of
    models and tenants there are mean and maximum alone. `error_rate` is that of the worst.
    """
    figures = _figures(parts)
    rates = [part["error_rate"] for part in parts if part.get("error_rate") is not None]
    counts: dict[str, Any] = {
        **{each: sum(part.get(each, 0) for part in parts) for each in _STATS_COUNTS},
        **{each: MappingProxyType(_summed(part.get(each, {}) for part in parts)) for each in _BY_KIND},
    }
    return Stats(
        **{**figures, **counts, "latency": latency},
        name=name,
        elapsed=elapsed,
        throughput=figures["succeeded"] / elapsed if elapsed else 0.0,
        recent_throughput=sum(part.get("recent_throughput", 0.0) for part in parts),
        error_rate=max(rates, default=None),
        wasted=_tokens([part["wasted"] for part in parts if "wasted" in part]),
        waits=MappingProxyType(_by_name("waits", parts, _waits)),
        by_model=MappingProxyType(_by_name("by_model", parts, lambda each: Figures(**_figures(each)))),
        by_tenant=MappingProxyType(_by_name("by_tenant", parts, lambda each: Figures(**_figures(each)))),
    )


def _figures(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    costs = [part["cost"] for part in parts if part.get("cost") is not None]
    return {
        **{each: sum(part.get(each, 0) for part in parts) for each in _COUNTS},
        "tokens": _tokens([part["tokens"] for part in parts if "tokens" in part]),
        "cost": sum(costs) if costs or not parts else None,
        "latency": _latency([part["latency"] for part in parts if "latency" in part]),
        "first_item": _latency([part["first_item"] for part in parts if "first_item" in part]),
    }


def _tokens(parts: Sequence[Mapping[str, int]]) -> Tokens:
    return Tokens(*(sum(part[kind] for part in parts) for kind in ("input", "output", "cached", "reasoning")))


def _latency(parts: Sequence[Mapping[str, Any]]) -> Latency:
    counted = [part for part in parts if part["count"]]
    count = sum(part["count"] for part in counted)
    if not count:
        return Latency()
    mean = sum(part["mean"] * part["count"] for part in counted) / count
    return Latency(count, mean, max=max(part["max"] for part in counted))


def _waits(parts: Sequence[Mapping[str, Any]]) -> Waits:
    return Waits(
        sum(part["count"] for part in parts),
        sum(part["seconds"] for part in parts),
        max(part["longest"] for part in parts),
    )


def _by_name(field: str, parts: Sequence[Mapping[str, Any]], merge: Any) -> dict[str, Any]:
    names = dict.fromkeys(name for part in parts for name in part.get(field, {}))
    return {name: merge([part[field][name] for part in parts if name in part.get(field, {})]) for name in names}


def _summed(parts: Any) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part)
    return dict(counts.most_common())
