"""`Stats` as a table of plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.money import dollars

from .showing import printable
from .stats import Figures, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .sketch import Latency
    from .stats import Stats, Waits

_NAME = 22  # characters of the first column
_CELL = 11  # of all others: seven of them make 99, which a terminal of 100 does not break
_ROWS = 12  # of models, tenants, errors; the rest is counted in one line


def render(stats: Stats) -> str:
    """Return *stats* in aligned columns, sections that have nothing to say left out."""
    blocks = [
        [_headline(stats)],
        _outcomes(stats),
        _spent(stats),
        _latencies(stats),
        _waits(stats.waits),
        _counts("calls ended with", stats.errors),
        _counts("attempts failed with", stats.attempt_errors),
        _counts("refused by", stats.refusals),
        _figures("model", stats, stats.by_model, "(unknown)"),
        _figures("tenant", stats, stats.by_tenant, "(none)"),
    ]
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block)


def _headline(stats: Stats) -> str:
    parts = [
        f"session {printable(stats.name)}".strip(),
        f"{_seconds(stats.elapsed)}",
        f"{_number(stats.throughput)} answers/s",
    ]
    if stats.recent_throughput:
        parts.append(f"{_number(stats.recent_throughput)}/s in the last 10 s")
    if stats.error_rate:
        parts.append(f"{_share(stats.error_rate)} errors in the last minute")
    return "   ".join(parts)


def _outcomes(stats: Stats) -> list[str]:
    lines = [_row("calls", f"{stats.calls:,}")]
    over = stats.calls - stats.in_flight
    for name in ("succeeded", "failed", "rejected", "timed_out", "cancelled"):
        count = getattr(stats, name)
        if count or name == "succeeded":
            lines.append(_row(f"  {name.replace('_', ' ')}", f"{count:,}", _share(count / over) if over else ""))
    if stats.in_flight:
        lines.append(_row("  in flight", f"{stats.in_flight:,}"))
    return lines


def _spent(stats: Stats) -> list[str]:
    tokens = stats.tokens
    more = {"retries": stats.retries, "hedges": stats.hedges, "in vain": stats.wasted_attempts}
    lines = [_row("attempts", f"{stats.attempts:,}", note=_listed(more))]
    spared = stats.cache_hits + stats.coalesced
    if spared:
        how = {"from a cache": stats.cache_hits, "coalesced": stats.coalesced}
        lines.append(_row("calls without one", f"{spared:,}", note=_listed(how)))
    billed = f"{stats.possibly_billed:,} failed attempts may be billed" if stats.possibly_billed else ""
    unmetered = f"{stats.unmetered:,} answers did not say" if stats.unmetered else ""
    if tokens.total or stats.unmetered:
        lines.append(_row("tokens", f"{tokens.total:,}", note=unmetered))
        lines.append(_row("  input", f"{tokens.input:,}", note=f"{tokens.cached:,} cached" if tokens.cached else ""))
        reasoning = f"{tokens.reasoning:,} reasoning" if tokens.reasoning else ""
        lines.append(_row("  output", f"{tokens.output:,}", note=reasoning))
    if stats.wasted.total:
        lines.append(_row("  in vain", f"{stats.wasted.total:,}", note="of attempts that another one beat"))
    if tokens.total:
        unpriced = (
            f"{stats.unpriced:,} answers of unknown price left out" if stats.unpriced and stats.cost is not None else ""
        )
        lines.append(_row("cost", _money(stats), note="; ".join(part for part in (unpriced, billed) if part)))
    return lines


def _latencies(stats: Stats) -> list[str]:
    found: list[tuple[str, Latency]] = [("latency", stats.latency), ("first item", stats.first_item)]
    rows = [
        _row(name, *(_seconds(value) for value in (each.mean, each.p50, each.p95, each.p99, each.max)))
        for name, each in found
        if each.count
    ]
    return [_row("", "mean", "p50", "p95", "p99", "max"), *rows] if rows else []


def _waits(waits: Mapping[str, Waits]) -> list[str]:
    rows = [
        _row(reason, f"{each.count:,}", _seconds(each.mean), _seconds(each.longest), _seconds(each.seconds))
        for reason, each in sorted(waits.items(), key=lambda pair: -pair[1].seconds)
    ]
    return [_row("waited for", "times", "mean", "longest", "together"), *_most(rows)] if rows else []


def _counts(title: str, counts: Mapping[str, int]) -> list[str]:
    rows = [_row(name, f"{count:,}") for name, count in counts.items()]
    return [_row(title), *_most(rows)] if rows else []


def _figures(title: str, stats: Stats, by_name: Mapping[str, Figures], nameless: str) -> list[str]:
    """Show *by_name*, and under *nameless* what of *stats* belongs to none of them, so that columns add up."""
    if not by_name:
        return []
    heads = ("calls", "success", "attempts", "tokens", "cost", "p50", "p95")
    rows = _most([_columns(name, each) for name, each in by_name.items()])
    rest = _rest(stats, by_name.values())
    return [_row(title, *heads), *rows, *([_columns(nameless, rest)] if rest.calls or rest.attempts else [])]


def _columns(name: str, each: Figures) -> str:
    return _row(
        name,
        f"{each.calls:,}",
        "" if each.success_rate is None else _share(each.success_rate),
        f"{each.attempts:,}",
        f"{each.tokens.total:,}",
        _money(each),
        _seconds(each.latency.p50),
        _seconds(each.latency.p95),
    )


def _rest(stats: Stats, named: Iterable[Figures]) -> Figures:
    """Return what of *stats* is over and in none of *named*; no latencies, which cannot be told apart."""
    every = tuple(named)

    def less(name: str) -> int:
        return int(getattr(stats, name) - sum(getattr(each, name) for each in every))

    spent = (stats.cost or 0.0) - sum(each.cost or 0.0 for each in every)
    unpriced = less("unpriced")
    known = spent > 1e-9 or not unpriced  # USD; less is what adding floats leaves over
    return Figures(
        calls=less("calls") - stats.in_flight,
        succeeded=less("succeeded"),
        failed=less("failed"),
        rejected=less("rejected"),
        timed_out=less("timed_out"),
        cancelled=less("cancelled"),
        attempts=less("attempts"),
        tokens=Tokens(stats.tokens.total - sum(each.tokens.total for each in every)),
        cost=max(0.0, spent) if known else None,
        unpriced=unpriced,
    )


# ------------------------------------------------------------------ cells


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _row(name: str, *cells: str, note: str = "") -> str:
    """Put *cells* into columns; a long *name* takes the blanks before the first of them."""
    name = printable(name)
    first = cells[0] if cells else ""
    room = _NAME + _CELL - len(first) - 2
    shown = name if len(name) <= room else f"{name[: room - 1]}…"
    line = f"{shown}{first:>{_NAME + _CELL - len(shown)}}" + "".join(f"{cell:>{_CELL}}" for cell in cells[1:])
    return f"{line}   {note}" if note else line


def _most(rows: Sequence[str]) -> Iterable[str]:
    return rows if len(rows) <= _ROWS else (*rows[: _ROWS - 1], f"... and {len(rows) - _ROWS + 1:,} more")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(value: float) -> str:
    """Show a share so that neither the first failure nor the last success is rounded away."""
    percent = 100 * value
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def _money(figures: Figures) -> str:
    if figures.cost is None:
        return "unknown"
    more = "+" if figures.unpriced else ""
    return f"${figures.cost:,.2f}{more}" if figures.cost >= 10 else f"{dollars(figures.cost)}{more}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if value < 99.95:
        return f"{value:.3g} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:,.0f} min" if value < 36000 else f"{value / 3600:,.1f} h"
