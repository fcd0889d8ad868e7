"""The charts of a report, by plotly: what they show is decided here, their colours by the page's script."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sluiceway.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluiceway.batch.report.gathered import Gathered, Histogram

_POINTS: Final = 120  # of a line over time, at most
_FEW: Final = 12  # points, which a short batch may have; one of a second each would be all noise
_LONG: Final = 5  # seconds for each of them, from which on there are more
_KINDS: Final = 12  # bars of a chart of kinds
# Stand for colours: the page has one of each for light and for dark, and puts them in.
FIRST, SECOND, LIMIT, SURFACE = "#000001", "#000002", "#000003", "#000004"
_FAR: Final = 3000.0


def charts(found: Gathered) -> Iterator[tuple[str, str, str]]:
    """Yield the title, a sentence below it and the figure in JSON of each chart that has something to show.

    Raises:
        MissingExtra: plotly is not installed.
    """
    try:
        import plotly.graph_objects as go  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("a report's charts", "report") from None
    if found.seconds:
        yield from _rates(found, go)
    if found.histograms["latency"].bins:
        yield "Latency", _latency_note(found), _json(_latency(found, go))
    if found.histograms["input"].bins:
        yield "Tokens of a row", "How many rows have prompts and answers of which length.", _json(_tokens(found, go))
    if found.waits:
        waits = {name.replace("_", " "): seconds for name, seconds in found.waits.items()}
        yield "Waits", "Seconds that all rows together waited for each layer.", _json(_bars(waits, "s", go))
    if found.failed_attempts:
        note = "Attempts that failed, by kind; a retry may have saved their rows."
        yield "Failed attempts", note, _json(_bars(found.failed_attempts, "", go))
    if len(found.models) > 1:
        costs = {name: model.cost for name, model in found.models.items() if model.cost}
        if costs:
            yield "Cost by model", "At list prices, in USD.", _json(_bars(costs, "$", go))


def _rates(found: Gathered, go: Any) -> Iterator[tuple[str, str, str]]:
    moments, requests, tokens, width = _over_time(found)
    note = f"By the time at which rows ended, over {width:g} s each."
    yield "Requests per minute", note, _json(_line(moments, requests, found.limits.get("requests"), found, go))
    if any(tokens):
        yield "Tokens per minute", note, _json(_line(moments, tokens, found.limits.get("tokens"), found, go))


def _over_time(found: Gathered) -> tuple[list[str], list[float], list[float], int]:
    first, last = min(found.seconds), max(found.seconds)
    # Pauses count for nothing: a batch that was resumed the next day would be two points.
    span = int(found.span) - sum(end - start for start, end in found.pauses)
    width = max(1, math.ceil(span / _POINTS), min(_LONG, math.ceil(span / _FEW)))
    requests: dict[int, float] = {}
    tokens: dict[int, float] = {}
    for second, (count, total) in found.seconds.items():
        bucket = (second - first) // width
        requests[bucket] = requests.get(bucket, 0.0) + count
        tokens[bucket] = tokens.get(bucket, 0.0) + total
    skipped = [((start - first) // width + 1, (end - first) // width) for start, end in found.pauses]
    buckets: list[int] = []
    begin = 0
    for pause, on in skipped:
        buckets += range(begin, pause)
        begin = max(pause, on)
    buckets += range(begin, (last - first) // width + 1)
    whole = [min(width, last - first + 1 - n * width) for n in buckets]  # the last one is shorter
    moments = [_iso(first + n * width) for n in buckets]
    return (
        moments,
        [60 * requests.get(n, 0.0) / size for n, size in zip(buckets, whole, strict=True)],
        [60 * tokens.get(n, 0.0) / size for n, size in zip(buckets, whole, strict=True)],
        width,
    )


def _iso(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _line(moments: list[str], values: list[float], limit: float | None, found: Gathered, go: Any) -> Any:
    figure = go.Figure()
    figure.add_scatter(
        x=moments,
        y=values,
        mode="lines" if len(moments) > 1 else "markers",
        line={"color": FIRST, "width": 2},
        marker={"color": FIRST, "size": 8},
        fill="tozeroy" if len(moments) > 1 else None,
        fillcolor=f"{FIRST}22",
        hovertemplate="%{y:,.0f} a minute<extra></extra>",
    )
    if limit is not None:
        text = f"limit {limit:,.0f}"
        figure.add_hline(y=limit, line={"color": LIMIT, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            x=1,
            y=limit,
            xref="paper",
            xanchor="right",
            yanchor="bottom",
            text=text,
            showarrow=False,
            font={"color": LIMIT},
            bgcolor=SURFACE,
            borderpad=1,
            yshift=3,
        )
    highest = max([*values, limit or 0.0], default=0.0) or 1.0
    figure.update_yaxes(range=[0, highest * 1.15], tickformat=_numbers(highest))
    breaks = [{"bounds": [_iso(start + 1), _iso(end)]} for start, end in found.pauses]
    figure.update_xaxes(type="date", rangebreaks=breaks)
    return figure


def _latency_note(found: Gathered) -> str:
    spread, alone = found.latency, found.at_provider
    assert spread.p50 is not None
    assert alone.p50 is not None
    return (
        f"Half of the rows took {spread.p50:.3g} s or less, waiting included, and 95 % {spread.p95:.3g} s; "
        f"at the provider {alone.p50:.3g} s and {alone.p95:.3g} s."
    )


def _latency(found: Gathered, go: Any) -> Any:
    figure = go.Figure()
    _histogram(figure, found.histograms["at provider"], "at the provider", FIRST, "s")
    _histogram(figure, found.histograms["latency"], "with waiting", SECOND, "s")
    _logarithmic(figure, [found.histograms["at provider"], found.histograms["latency"]], "seconds")
    return figure


def _tokens(found: Gathered, go: Any) -> Any:
    figure = go.Figure()
    _histogram(figure, found.histograms["input"], "prompt", FIRST, "tokens")
    _histogram(figure, found.histograms["output"], "answer", SECOND, "tokens")
    _logarithmic(figure, [found.histograms["input"], found.histograms["output"]], "tokens")
    return figure


def _histogram(figure: Any, histogram: Histogram, name: str, color: str, unit: str) -> None:
    """Draw counts as steps: two shapes over one another stay readable where bars would not."""
    bars = histogram.bars()
    if not bars:
        return
    figure.add_scatter(
        x=[bars[0][0], *(low for low, _, _ in bars), bars[-1][1]],
        y=[0, *(count for _, _, count in bars), 0],
        customdata=[["", ""], *([f"{low:.3g}", f"{high:.3g}"] for low, high, _ in bars), ["", ""]],
        name=name,
        mode="lines",
        line={"color": color, "width": 2, "shape": "hv"},
        fill="tozeroy",
        fillcolor=f"{color}22",
        hovertemplate=f"%{{y:,}} rows from %{{customdata[0]}} to %{{customdata[1]}} {unit}<extra>{name}</extra>",
    )


def _logarithmic(figure: Any, histograms: list[Histogram], unit: str) -> None:
    """Label the axes of histograms: plain numbers at 1, 2 and 5, or where that is too close at powers of ten."""
    bars = [bar for histogram in histograms for bar in histogram.bars()]
    low, high = min(bar[0] for bar in bars), max(bar[1] for bar in bars)
    steps = (1, 2, 5) if high / low < _FAR else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    texts = [f"{mark:,.10g}" for mark in marks]
    figure.update_xaxes(type="log", tickvals=marks, ticktext=texts, title_text=unit)
    figure.update_yaxes(title_text="rows", tickformat=_numbers(max(count for _, _, count in bars)), rangemode="tozero")


def _numbers(highest: float) -> str:
    """Return how an axis up to *highest* writes its numbers: 2k, but 0.5 and not 500m."""
    return "~s" if highest >= 1000 else ",~f"


def _bars(amounts: Any, unit: str, go: Any) -> Any:
    shown = sorted(dict(amounts).items(), key=lambda item: -item[1])[:_KINDS]
    before, after = ("$", "") if unit == "$" else ("", f" {unit}" if unit else "")
    figure = go.Figure()
    figure.add_bar(
        x=[amount for _, amount in shown],
        y=[name for name, _ in shown],
        orientation="h",
        marker={"color": FIRST, "cornerradius": 4},
        text=[
            f"{before}{amount:,.4g}{after}" if amount < 1000 else f"{before}{amount:,.0f}{after}" for _, amount in shown
        ],
        textposition="auto",
        hovertemplate=f"%{{y}}: {before}%{{x:,.4~f}}{after}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(tickformat=_numbers(shown[0][1]), rangemode="tozero")
    figure.update_layout(bargap=0.35, meta={"rows": len(shown)})
    return figure


def _json(figure: Any) -> str:
    """Return the figure without plotly's own template, which has colours for a white page."""
    plain = json.loads(figure.to_json())
    plain["layout"].pop("template", None)
    return json.dumps({"data": plain["data"], "layout": plain["layout"]})
