"""What `sluiceway top` shows, as lines of text with a style each."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sluiceway.money import dollars

from .holding import said

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PLAIN: Final = 120
"""Characters of a line where there is no terminal."""
_NAME: Final = 26
_MOST: Final = 8  # errors, and slow calls
_HEADS: Final = ("in flight", "answers/s", "ok, 1 min", "p50", "p95", "requests/min", "tokens/min", "cost")


class Line(NamedTuple):
    """One line, and what it is like: `"heading"`, `"call"`, `"good"`, `"wait"`, `"bad"`, `"dim"` or `""`.

    Attributes:
        call_id: stands at its end, however narrow the screen is: half of one cannot be asked for.
    """

    text: str
    style: str = ""
    call_id: str = ""

    def within(self, width: int) -> Line:
        """Return the line in at most *width* characters."""
        left = max(1, width - len(self.call_id))
        text = self.text if len(self.text) <= left else f"{self.text[: left - 2].rstrip()}… "
        return Line(f"{text[:left]}{self.call_id}", self.style)


def lines(state: Mapping[str, Any], url: str, width: int) -> list[Line]:
    """Return what *state*, as `telemetry.inspect` serves it, looks like in lines of at most *width* characters."""
    found = [Line(_title(state, url), "heading"), Line("")]
    if not state["calls"]:
        found.append(Line("no calls yet, since this was opened", "dim"))
    else:
        found.append(Line(_row("call", _HEADS), "dim"))
        for call in state["calls"]:
            found += _call(call)
    found += _errors(state["errors"])
    found += _slowest(state["slowest"])
    return [line.within(width) for line in found]


def _title(state: Mapping[str, Any], url: str) -> str:
    at = datetime.fromtimestamp(state["at"]).astimezone()
    where = url.removeprefix("http://")
    return f"{where}   pid {state['pid']}   watched for {seconds(state['seconds'])}   {at:%H:%M:%S}"


def _row(name: str, cells: tuple[str, ...]) -> str:
    shown = name if len(name) < _NAME else f"{name[: _NAME - 2]}…"
    widths = [max(10, len(head) + 2) for head in _HEADS]
    return f"{shown:<{_NAME}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _call(call: Mapping[str, Any]) -> Iterator[Line]:
    rate = call["error_rate"]
    cells = (
        f"{call['in_flight']:,}",
        f"{call['answers_per_second']:.1f}",
        "-" if rate is None else f"{100 * (1 - rate):.1f} %",
        seconds(call["latency"]["p50"]),
        seconds(call["latency"]["p95"]),
        f"{call['requests_per_minute']:,.0f}",
        f"{call['tokens_per_minute']:,.0f}",
        "unknown" if call["cost"] is None else dollars(call["cost"]),
    )
    yield Line(_row(call["name"], cells), "bad" if rate is not None and rate > 0.05 else "call")
    for layer in call["layers"]:
        place = f"{layer['deployment']}: " if layer["deployment"] else ""
        for name, text, style in said(layer):
            yield Line(f"  {place + name:<{_NAME}}{text}", style)


def _errors(errors: list[Mapping[str, Any]]) -> Iterator[Line]:
    if not errors:
        return
    counts = Counter((each["call"], each["what"].partition(" ")[0], each["kind"]) for each in errors)
    last: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for each in errors:  # the newest first
        last.setdefault((each["call"], each["what"].partition(" ")[0], each["kind"]), each)
    yield Line("")
    yield Line("recent errors", "dim")
    for key, newest in list(last.items())[:_MOST]:
        at = datetime.fromtimestamp(newest["at"]).astimezone()
        call, what, kind = key
        yield Line(f"  {at:%H:%M:%S}  x{counts[key]:<5}{call:<20} {what:<8} {kind}   ", "bad", newest["call_id"])


def _slowest(calls: list[Mapping[str, Any]]) -> Iterator[Line]:
    if not calls:
        return
    yield Line("")
    yield Line("slowest of the last calls (--explain CALL_ID says why)", "dim")
    for call in calls[:_MOST]:
        ended = call["outcome"] if call["error"] is None else f"{call['outcome']} ({call['error']})"
        yield Line(f"  {seconds(call['seconds']):>8}  {call['call']:<20} {ended:<28} ", call_id=call["call_id"])


def seconds(value: float | None) -> str:
    """Return a length of time to three digits."""
    if value is None:
        return "-"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if value < 600:
        return f"{value:.3g} s"
    return f"{value / 60:,.0f} min" if value < 36_000 else f"{value / 3600:,.1f} h"
