"""A plan for people, and as plain values for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sluiceway.durations import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluiceway.batch.plan.answers import Answers
    from sluiceway.batch.plan.demand import Demands
    from sluiceway.batch.plan.forecast import Cost, Forecast
    from sluiceway.batch.plan.limits import Limits
    from sluiceway.batch.plan.rehearsal import Rehearsal

_WIDTH = 18


def lines_of(demands: Demands, answers: Answers, limits: Limits, forecast: Forecast) -> Iterator[str]:
    """Yield the plan, a line at a time."""
    bad = sum(demands.bad.values())
    told = f"; {bad:,} bad ({', '.join(f'{kind}: {count:,}' for kind, count in demands.bad.items())})" if bad else ""
    yield _row("rows", f"{demands.requests:,} to ask{told}")
    yield _row("input tokens", f"{demands.input_tokens:,} ({_error(demands)})")
    yield _row("output tokens", f"{demands.output_tokens:,.0f} ({_answers(demands, answers)})")
    if demands.requests:
        yield _row("time", f"about {in_words(forecast.shortest)} at the shortest{_why(forecast)}")
        yield from (
            _row("", f"{each.name:<14}{each.limit:<34}{in_words(each.seconds)}") for each in forecast.constraints
        )
        yield from (_row("cost", line) if first else _row("", line) for first, line in _numbered(_costs(forecast)))
        yield _row("Batch API", _batch_api(forecast))
    for note in limits.notes:
        yield _row("note", note)


def rehearsed(rehearsal: Rehearsal) -> Iterator[str]:
    """Yield what a rehearsal showed, a line at a time."""
    ledger = rehearsal.ledger
    failed = "".join(f", {count:,} {name}" for name, count in rehearsal.failed.items())
    stopped = f"; stopped: {rehearsal.stopped}" if rehearsal.stopped else ""
    yield _row("simulated", f"{in_words(rehearsal.seconds)} (in {rehearsal.real_seconds:.1f} s)")
    yield _row("answered", f"{rehearsal.answered:,}{failed}{stopped}")
    share = f" ({ledger.refused / ledger.offered:.2%})" if ledger.offered else ""
    kinds = "".join(f", {name}: {count:,}" for name, count in ledger.refusals.items())
    yield _row("refused", f"{ledger.refused:,} of {ledger.offered:,} requests{share}{kinds}")
    used = [(ledger.utilisation, "requests"), (ledger.token_utilisation, "tokens")]
    told = ", ".join(f"{share:.1%} of the {name}" for share, name in used if share is not None)
    yield _row("used", told or "no limit")
    yield _row("in flight", f"{ledger.peak_in_flight:,} at most")
    for name, each in rehearsal.waits.items():
        yield _row(
            "waits",
            f"{name}: {each.calls:,} calls, {in_words(each.mean)} on average, {in_words(each.longest)} at"
            f" most, {each.deepest:,} in the queue at most",
        )


def as_dict(
    demands: Demands, answers: Answers, limits: Limits, forecast: Forecast, rehearsal: Rehearsal | None
) -> dict[str, Any]:
    """Return the plan as plain values that JSON can hold."""
    binding = forecast.binding
    plain: dict[str, Any] = {
        "requests": demands.requests,
        "bad_rows": dict(demands.bad),
        "input_tokens": demands.input_tokens,
        "input_error": demands.input_error,
        "output_tokens": round(demands.output_tokens),
        "answers": answers.source,
        "shortest_s": forecast.shortest,
        "binding": None if binding is None else binding.name,
        "constraints": [asdict(each) for each in forecast.constraints],
        "costs": [asdict(each) for each in forecast.costs],
        "batches": forecast.parts,
        "notes": list(limits.notes),
    }
    if rehearsal is not None:
        plain["simulated"] = {
            "seconds": rehearsal.seconds,
            "answered": rehearsal.answered,
            "failed": dict(rehearsal.failed),
            "stopped": rehearsal.stopped,
            "waits": {name: asdict(each) for name, each in rehearsal.waits.items()},
            "ledger": rehearsal.ledger.to_dict(),
        }
    return plain


def dollars(usd: float | None) -> str:
    """Write a price with as many digits as tell something."""
    if usd is None:
        return "unknown"
    digits = 2 if usd >= 1 or usd <= 0 else 1 - math.floor(math.log10(usd))
    return f"${usd:,.{max(2, digits)}f}"


def _row(name: str, text: str) -> str:
    return f"{name:<{_WIDTH}}{text}".rstrip()


def _error(demands: Demands) -> str:
    if demands.exact:
        return "by the models' vocabulary: within 1 %"
    low, high = demands.input_error
    how = (
        "by another model's vocabulary" if demands.counted else "by characters: pip install 'sluiceway[tokens]' counts"
    )
    return f"{how}; the truth is from {demands.input_tokens * low:,.0f} to {demands.input_tokens * high:,.0f}"


def _answers(demands: Demands, answers: Answers) -> str:
    low = sum(each.output_low for each in demands.by_model)
    high = sum(each.output_high for each in demands.by_model)
    return f"{answers.source}; from {low:,.0f} to {high:,.0f}"


def _why(forecast: Forecast) -> str:
    return ": nothing limits it" if forecast.binding is None else f", by {forecast.binding.name}"


def _costs(forecast: Forecast) -> Iterator[str]:
    for cost in forecast.costs:
        asked = "" if cost.asked else "  (to compare)"
        yield f"{cost.model:<24}{_range(cost)}{asked}"


def _range(cost: Cost) -> str:
    if cost.usual is None:
        return "price unknown"
    return f"{dollars(cost.usual)} (from {dollars(cost.low)} to {dollars(cost.high)})"


def _batch_api(forecast: Forecast) -> str:
    known = [cost.batch_api for cost in forecast.costs if cost.asked and cost.batch_api is not None]
    money = f"{dollars(sum(known))}, half the price" if known else "half the price"
    return f"{money}; {forecast.parts:,} batch{'es' if forecast.parts != 1 else ''}, each within 24 h"


def _numbered(lines: Iterator[str]) -> Iterator[tuple[bool, str]]:
    for number, line in enumerate(lines):
        yield number == 0, line
