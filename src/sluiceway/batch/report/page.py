"""From what was gathered to HTML: one file, which asks nobody for anything."""

from __future__ import annotations

import base64
import gzip
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from sluiceway.batch.batch_api.merging import WAIT
from sluiceway.batch.plan.text import dollars
from sluiceway.batch.report.charts import charts
from sluiceway.durations import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sluiceway.batch.report.gathered import Extreme, Gathered

_HEAD: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
"""
_TAIL: Final = """\
</main>
<script type="application/octet-stream" id="plotly">{plotly}</script>
<script>
{script}
</script>
</body>
</html>
"""


def page(found: Gathered, title: str) -> str:
    """Return the report as a page of HTML, with plotly's script in it, compressed.

    Raises:
        MissingExtra: plotly is not installed.
    """
    drawn = list(charts(found))
    parts = [
        _HEAD.format(title=escape(title), style=_resource("style.css")),
        f"<h1>{escape(title)}</h1>\n",
        f'<p class="subtitle">{escape(_subtitle(found))}</p>\n',
        _cards(found),
        '<noscript><p class="note">The charts need JavaScript; all tables are here without.</p></noscript>\n',
        '<div class="charts">\n',
        *(_chart(number, *chart) for number, chart in enumerate(drawn)),
        "</div>\n",
        *_tables(found),
        _TAIL.format(plotly=_plotly() if drawn else "", script=_resource("script.js")),
    ]
    return "".join(parts)


def _resource(name: str) -> str:
    return (files("sluiceway.batch.report") / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - an extra

    # 4.8 MB plain, 2 MB so: browsers since 2023 inflate it themselves.
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode()


def _subtitle(found: Gathered) -> str:
    parts = [found.source] if found.source else []
    if found.seconds:
        first, last = min(found.seconds), max(found.seconds)
        parts.append(f"{_moment(first)} to {_moment(last)} UTC")
    if len(found.runs) > 1:
        parts.append(f"{len(found.runs)} runs")
    return " · ".join(parts)


def _moment(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _cards(found: Gathered) -> str:
    cards = "".join(
        f'<div class="card"><div class="name">{escape(name)}</div><div class="value">{escape(value)}</div>'
        f'<div class="detail">{escape(detail)}</div></div>\n'
        for name, value, detail in _summary(found)
    )
    return f'<section class="cards">\n{cards}</section>\n'


def _summary(found: Gathered) -> Iterator[tuple[str, str, str]]:
    rows = found.answered + found.dead
    yield "answered", f"{found.answered:,}", f"{found.answered / rows:.1%} of {rows:,} rows" if rows else "no rows"
    yield "dead letters", f"{found.dead:,}", f"{len(found.errors)} kinds" if found.errors else "none"
    pace = f"{60 * found.answered / found.working:,.0f} answers a minute" if found.working else ""
    yield "time", in_words(found.working), pace
    models = found.models.values()
    read, written = sum(m.input_tokens for m in models), sum(m.output_tokens for m in models)
    yield "tokens", f"{read + written:,}", f"{read:,} in, {written:,} out"
    listed = "list prices, half over the Batch API" if WAIT in found.waits else "at list prices"
    unpriced = f"{found.unpriced:,} answers without a known price" if found.unpriced else listed
    yield "cost", "unknown" if found.unpriced == found.answered else dollars(found.cost), unpriced
    again = sum((attempts - 1) * rows for attempts, rows in found.by_attempts.items() if attempts)
    yield "attempts", f"{found.attempts:,}", f"{again:,} of them again, for rows that were answered"


def _chart(number: int, title: str, note: str, figure: str) -> str:
    # "</" would end the script that holds it, "<!--<script" keep it from ever ending; both stand in strings only.
    data = figure.replace("<", "\\u003c")
    return (
        f"<figure><figcaption><h2>{escape(title)}</h2><p>{escape(note)}</p></figcaption>"
        f'<div class="chart" id="chart-{number}" role="img" aria-label="{escape(title)}"></div>'
        f'<script type="application/json" data-chart="chart-{number}">{data}</script></figure>\n'
    )


def _tables(found: Gathered) -> Iterator[str]:
    if found.models:
        yield _table(
            "Models",
            ("model", "rows", "input tokens", "output tokens", "cost", "cost a row"),
            (
                (
                    name,
                    f"{model.rows:,}",
                    f"{model.input_tokens:,}",
                    f"{model.output_tokens:,}",
                    "unknown" if model.unpriced == model.rows else dollars(model.cost),
                    "unknown" if model.unpriced == model.rows else dollars(model.cost / (model.rows - model.unpriced)),
                )
                for name, model in sorted(found.models.items(), key=lambda item: -item[1].cost)
            ),
        )
    if found.errors:
        yield _table("Dead letters", ("error", "rows"), ((kind, f"{n:,}") for kind, n in found.errors.most_common()))
    if len(found.by_attempts) > 1:
        shown = ((f"{attempts}", f"{rows:,}") for attempts, rows in sorted(found.by_attempts.items()))
        yield _table("Answered rows by attempts", ("attempts", "rows"), shown)
    for title, rows in (("Slowest rows", found.slowest), ("Dearest rows", found.dearest)):
        if rows:
            yield _table(title, ("id", "latency", "of it waiting", "tokens", "attempts", "cost"), map(_extreme, rows))
    if found.runs:
        yield _table("Runs", ("began", "took", "answered", "dead letters", "pending", "ended"), map(_run, found.runs))


def _extreme(row: Extreme) -> Sequence[str]:
    times = in_words(row.seconds), in_words(row.waited)
    return (str(row.id)[:80], *times, f"{row.tokens:,}", f"{row.attempts}", dollars(row.cost))


def _run(run: object) -> Sequence[str]:
    assert isinstance(run, dict)
    began = str(run.get("started_at", ""))[:19].replace("T", " ")
    if "ended_at" not in run:
        return (began, "", "", "", "", "killed, or still running")
    stopped = run.get("stopped") or {}
    counts = [f"{run.get(name, 0):,}" for name in ("answered", "dead", "pending")]
    return (began, in_words(run.get("elapsed_s", 0.0)), *counts, str(stopped.get("kind") or "done"))


def _table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return (
        f'<section class="table"><h2>{escape(title)}</h2><div class="scroll"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div></section>\n"
    )
