"""A batch's progress in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sluiceway.money import dollars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluiceway.batch import Progress
    from sluiceway.cli.batch.gauge import Gauge

_UNITS: Final = {
    "rpm": "requests/min",
    "tpm": "tokens/min",
    "input_tpm": "input tokens/min",
    "output_tpm": "output tokens/min",
}
_SHOWN: Final = 4  # kinds of a thing


def line(gauge: Gauge) -> str:
    """Return the state in one line."""
    now = gauge.now
    parts = [f"{done(now)}{_percent(now)}", ", ".join(rates(gauge)), f"{now.asking:,} in flight"]
    if now.waiting:
        parts.append(f"waiting: {counts(now.waiting)}")
    if now.dead:
        parts.append(f"{now.dead:,} dead letters")
    if now.stats.attempt_errors:
        parts.append(f"{sum(now.stats.attempt_errors.values()):,} attempts failed")
    parts.append(cost(now))
    if now.eta is not None:
        parts.append(f"{duration(now.eta)} left")
    if now.stopping is not None:
        parts.append(f"ending: {now.stopping}")
    return f"{duration(now.elapsed):>8}  {' · '.join(part for part in parts if part)}"


def rows(gauge: Gauge) -> Iterator[tuple[str, str, str]]:
    """Yield a name, a text and a style for each row of the display."""
    now, stats = gauge.now, gauge.now.stats
    left = "" if now.eta is None else f", {duration(now.eta)} left"
    yield "rows", f"{done(now)}{_percent(now)}, {duration(now.elapsed)}{left}", "bold"
    yield "rate", ", ".join(rates(gauge)), ""
    yield "now", f"{now.asking:,} in flight, {now.under_way - now.asking:,} waiting in layers or to be asked again", ""
    if now.waiting:
        yield "paused", counts(now.waiting), "yellow"
    waits = {reason: f"{wait.seconds / wait.count:.2f} s" for reason, wait in stats.waits.items() if wait.count}
    if waits:
        yield "mean wait", ", ".join(f"{reason.replace('_', ' ')} {mean}" for reason, mean in waits.items()), ""
    yield "attempts", f"{stats.attempts:,}, {stats.retries:,} retries", ""
    if stats.attempt_errors:
        yield "errors", counts(stats.attempt_errors), "red"
    if now.dead:
        yield "dead letters", f"{now.dead:,}", "red"
    yield "tokens", f"{stats.tokens.input:,} in, {stats.tokens.output:,} out", ""
    yield "cost", cost(now) or "unknown", ""
    if now.stopping is not None:
        yield "ending", now.stopping, "yellow"


def done(now: Progress) -> str:
    """Return how many rows are settled, and of how many."""
    expected = now.expected
    return f"{now.done:,} rows" if expected is None else f"{now.done:,} of {expected:,.0f} rows"


def _percent(now: Progress) -> str:
    return f" ({now.done / now.expected:.1%})" if now.expected else ""


def rates(gauge: Gauge) -> list[str]:
    """Return each rate against its limit; where there is none, the requests."""
    limits = gauge.now.limits
    measured = gauge.per_minute()
    if not limits:
        return [f"{measured['rpm']:,.0f} {_UNITS['rpm']}"]
    return [
        f"{measured[name]:,.0f} of {limit:,.0f} {_UNITS[name]} ({measured[name] / limit:.0%})"
        for name, limit in limits.items()
    ]


def cost(now: Progress) -> str:
    """Return the money so far and in the end, if it is known; list prices."""
    spent, expected = now.stats.cost, now.expected_cost
    if not spent:
        return ""
    return dollars(spent) + ("" if expected is None else f" of about {dollars(expected)}")


def counts(things: object) -> str:
    """Return the most frequent of some kinds, with how often each."""
    items = sorted(dict(things).items(), key=lambda item: -item[1])  # type: ignore[call-overload]
    shown = ", ".join(f"{name} x{count:,}" for name, count in items[:_SHOWN])
    return shown + (f" and {len(items) - _SHOWN} kinds more" if len(items) > _SHOWN else "")


def duration(seconds: float) -> str:
    """Return *seconds* as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m"
