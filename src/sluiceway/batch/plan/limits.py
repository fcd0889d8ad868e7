"""The limits that a pipeline states, read off its layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.plan.charges import POLICIES, Charges
from sluiceway.batch.target import places_of
from sluiceway.durations import seconds
from sluiceway.layers import adaptive_bound, adaptive_rate, budgeted, rate_limited, routed
from sluiceway.layers.limit_specs import INPUT, OUTPUT, REQUESTS, TOKENS, specify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sluiceway.layer import Layer, Pipeline

_BURST: Final = 0.9
_NAMES: Final = ("rpm", "rps", "rpd", "tpm", "tpd", "input_tpm", "output_tpm")
_UNSEEN: Final = {
    adaptive_rate: "adaptive_rate finds its rate while it runs: no limit is known beforehand",
    adaptive_bound: "adaptive_bound finds its limit while it runs: none is known beforehand",
    budgeted: "budgeted may end the batch before its last row",
    routed: "routed spreads calls over deployments, whose own limits are not added up here",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit on a rate.

    Attributes:
        name: the setting it comes from, such as `"tpm"`.
        unit: `"requests"`, `"tokens"`, `"input tokens"` or `"output tokens"`.
        rate: per second.
        burst: how much may go at once at the start.
    """

    name: str
    unit: str
    rate: float
    burst: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What a pipeline allows.

    Attributes:
        rates: its limits on rates.
        in_flight: calls at a time; None for any number.
        charges: how tokens are charged.
        notes: what it has that cannot be planned with.
    """

    rates: tuple[Limit, ...] = ()
    in_flight: int | None = None
    charges: Charges = field(default_factory=Charges)
    notes: tuple[str, ...] = ()


def limits_of(pipeline: Pipeline) -> Limits:
    """Return the limits of all layers of *pipeline*; several of one kind are all kept, and the tightest binds."""
    rates: list[Limit] = []
    charges = Charges()
    for layer in pipeline.layers:
        settings = layer.settings()
        if isinstance(layer, rate_limited) and not isinstance(layer, adaptive_rate):
            rates += _rates(settings)
            charges = Charges(POLICIES[settings["policy"]], settings["settle"] == "reserve")
    places = list(filter(None, map(places_of, pipeline.layers)))
    return Limits(tuple(rates), min(places, default=None), charges, tuple(_notes(pipeline.layers)))


def _rates(settings: Any) -> list[Limit]:
    given = {name: settings[name] for name in _NAMES}
    burst = _BURST if settings["burst"] == "learn" else seconds(settings["burst"], "burst")
    specs = specify(given, settings["requests"], settings["window"])
    return [
        # What is counted over a long window may all go at once.
        Limit(spec.name, spec.unit, spec.limit / spec.window, spec.limit * (1.0 if spec.long else burst / spec.window))
        for spec in specs
    ]


def _notes(layers: Iterable[Layer]) -> Iterable[str]:
    for layer in layers:
        for kind, note in _UNSEEN.items():
            if isinstance(layer, kind):
                yield note
        if isinstance(layer, rate_limited) and layer.keyed:
            yield "rate_limited has by=: planned as if all rows had one key"


def amount(unit: str, requests: int, input_tokens: float, output_tokens: float, charged: float) -> float:
    """Return how much of *unit* a batch takes."""
    return {REQUESTS: float(requests), TOKENS: charged, INPUT: input_tokens, OUTPUT: output_tokens}[unit]
