"""Finished spans as a tree in a terminal, for where no Jaeger is at hand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .conventions import (
    ATTEMPT_OUTCOME,
    CALL_ID,
    CALL_NAME,
    ERROR_TYPE,
    EXCEPTION,
    FINISH_REASONS,
    HTTP_STATUS,
    INPUT_TOKENS,
    OPERATION,
    OUTPUT_TOKENS,
    PROVIDER,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    SESSION_ID,
    WAIT,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.sdk.trace import ReadableSpan

Style: TypeAlias = "Callable[[str, str], str]"
"""Colours a text by what it stands for: `"call"`, `"attempt"`, `"failed"`, `"wait"` or `"other"`."""

_TOLD_BY_OTHERS: Final = frozenset(
    {
        ATTEMPT_OUTCOME,  # error.type says more
        CALL_ID,
        CALL_NAME,  # the span's own name
        FINISH_REASONS,
        OPERATION,
        PROVIDER,
        RESPONSE_ID,
        RESPONSE_MODEL,
        SERVER_ADDRESS,
        SERVER_PORT,
        SESSION_ID,
    }
)
_SHORT: Final = {HTTP_STATUS: "status", ERROR_TYPE: "error", INPUT_TOKENS: "input", OUTPUT_TOKENS: "output"}
"""What is said first, and in a word."""
_GROUP: Final = re.compile(
    r"^(sluiceway\.((bounded|rate_limit|circuit_breaker|retry|timed|call|attempt)\.)?"
    r"|gen_ai\.((usage|request|response)\.)?|http\.response\.)"
)
_UNIT: Final = "sluiceway.rate_limit.unit"
_MOST_NAME: Final = 40
_LENGTH: Final = 9
_BAR: Final = (12, 28)  # characters, at least and at most
_LEAST_WIDTH: Final = 60


def draw(spans: Iterable[ReadableSpan], *, width: int = 100, style: Style | None = None) -> str:
    """Return *spans* as a tree: name, length, a bar on the time line, and attributes under their short names.

    Siblings stand in the order of their starts, and each root has a time line of its own. Spans whose parent is not
    among them are roots. What happened at one moment (a pause of a limit, a change of a circuit) stands among the
    children, but for exceptions, which `error.type` names. Ids, addresses and what the name or length say already is
    left out, and whatever does not fit into *width*.

    Args:
        spans: finished spans of the OpenTelemetry SDK, in any order.
        width: of the longest line, in characters, at least 60.
        style: colours the parts of a line; None for plain text.

    Raises:
        ValueError: *width* is less than 60.
    """
    if width < _LEAST_WIDTH:
        raise ValueError(f"width={width!r} must be at least {_LEAST_WIDTH}")
    lines: list[str] = []
    for root in _roots(spans):
        rows = list(_rows(root, "", ""))
        names = min(_MOST_NAME, max(len(before + node.name) for before, node in rows))
        bar = min(_BAR[1], max(_BAR[0], (width - names - _LENGTH) // 5))
        line = _Line(root, names, bar, width - names - _LENGTH - bar - 4, style or _plain)
        lines += [line.of(before, node) for before, node in rows]
    return "\n".join(lines)


def _plain(text: str, _: str) -> str:
    return text


# ------------------------------------------------------------------ spans to nodes


@dataclass(slots=True)
class _Node:
    """What becomes one line; times in ns."""

    name: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    kind: str
    children: list[_Node] = field(default_factory=list)


def _roots(spans: Iterable[ReadableSpan]) -> list[_Node]:
    found: dict[int, tuple[_Node, int | None]] = {}
    for span in spans:
        if span.context is not None:
            found[span.context.span_id] = (_node(span), None if span.parent is None else span.parent.span_id)
    roots: list[_Node] = []
    for node, parent in found.values():
        siblings = found[parent][0].children if parent in found else roots
        siblings.append(node)
    for node, _ in found.values():
        node.children.sort(key=_order)
    return sorted(roots, key=_order)


def _order(node: _Node) -> tuple[int, int]:
    return node.start, -node.end


def _node(span: ReadableSpan) -> _Node:
    start = span.start_time or 0
    moments = [
        _Node(f"· {event.name}", event.timestamp, event.timestamp, event.attributes or {}, "other")
        for event in span.events
        if event.name != EXCEPTION
    ]
    return _Node(span.name, start, span.end_time or start, span.attributes or {}, _kind(span), moments)


def _kind(span: ReadableSpan) -> str:
    if not span.status.is_ok and not span.status.is_unset:
        return "failed"
    if span.name.endswith(" wait") or span.name == "backoff":
        return "wait"
    if span.name.startswith("attempt "):
        return "attempt"
    return "call" if span.parent is None else "other"


# ------------------------------------------------------------------ nodes to lines


def _rows(node: _Node, before: str, below: str) -> Iterator[tuple[str, _Node]]:
    yield before, node
    for child in node.children:
        last = child is node.children[-1]
        yield from _rows(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))


@dataclass(frozen=True, slots=True)
class _Line:
    """How wide the columns of one tree are, and its time line."""

    root: _Node
    names: int
    bar: int
    rest: int
    style: Style

    def of(self, before: str, node: _Node) -> str:
        """Return the line of *node* behind the branches *before* it."""
        room = self.names - len(before)
        name = f"{_cut(node.name, room):<{room}}"
        length = "" if node.name.startswith("· ") else took(node.end - node.start)
        text = (
            f"{self.style(before, 'other')}{self.style(name, node.kind)}{length:>{_LENGTH}}  "
            f"{self.style(self._bar(node), node.kind)}  {self.style(_said(node, self.rest), 'other')}"
        )
        return text.rstrip()

    def _bar(self, node: _Node) -> str:
        whole = max(1, self.root.end - self.root.start)
        first = min(self.bar - 1, max(0, (node.start - self.root.start) * self.bar // whole))
        cells = round((node.end - node.start) * self.bar / whole)
        drawn = "█" * min(cells, self.bar - first) or "▏"
        return f"{' ' * first}{drawn}".ljust(self.bar)


def _said(node: _Node, room: int) -> str:
    """Return as many attributes as fit; "…" stands for the others."""
    attributes = dict(node.attributes)
    unit = attributes.pop(_UNIT, None)
    keys = [key for key in attributes if key not in _TOLD_BY_OTHERS]
    keys.sort(key=_place)
    words = [f"{_SHORT.get(key) or _GROUP.sub('', key)}={_show(attributes[key])}" for key in keys]
    if unit is not None:
        words = [f"{word} {unit}" if word.startswith("limit=") else word for word in words]
    said = ""
    for word in words:
        if len(said) + len(word) + (word is not words[-1]) * 2 > room:
            return f"{said}…"
        said += f"{word} "
    return said.rstrip()


def _place(key: str) -> int:
    """Put the first things first, and what the spans of the waits say themselves last."""
    return list(_SHORT).index(key) if key in _SHORT else len(_SHORT) + key.startswith(WAIT)


def _show(value: Any) -> str:
    if isinstance(value, float) or (type(value) is int and value >= 1000):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    if isinstance(value, (tuple, list)):
        return ",".join(map(_show, value))
    return str(value)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def took(nanoseconds: int) -> str:
    """Return a length of time in the unit that suits it, to three digits."""
    if nanoseconds < 999_500:
        return f"{nanoseconds / 1e3:.3g} us"
    if nanoseconds < 999_500_000:
        return f"{nanoseconds / 1e6:.3g} ms"
    return f"{nanoseconds / 1e9:.3g} s" if nanoseconds < 100e9 else f"{nanoseconds / 1e9:,.0f} s"
