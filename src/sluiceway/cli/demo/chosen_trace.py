"""Of all traces, the one that is worth looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode

from sluiceway.telemetry.conventions import CALL_OUTCOME, HTTP_STATUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

Worth: TypeAlias = tuple[bool, int, bool, int]
_ENOUGH = 2  # kinds of trouble; more of it makes a longer tree, not a better one
_LONG = 20_000_000  # ns that a wait must last to be seen


class ChosenTrace(SpanProcessor):
    """Keeps the spans of one call: of those that ended well in spite of most kinds of trouble, the shortest trace.

    All others are dropped as their calls end, so that a long run costs no memory.
    """

    def __init__(self) -> None:
        self._under_way: dict[int, list[ReadableSpan]] = {}
        self._best: list[ReadableSpan] = []
        self._worth: Worth | None = None

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The spans of the chosen call; none before one has ended."""
        return self._best

    def on_end(self, span: ReadableSpan) -> None:
        """Take a finished span; the call's own comes last."""
        assert span.context is not None
        spans = self._under_way.setdefault(span.context.trace_id, [])
        spans.append(span)
        if span.parent is None:
            del self._under_way[span.context.trace_id]
            worth = _worth(spans, span)
            if self._worth is None or worth > self._worth:
                self._worth, self._best = worth, spans


def _worth(spans: list[ReadableSpan], call: ReadableSpan) -> Worth:
    """Order calls: first by their end, then by the number of different errors that the provider gave them."""
    statuses = {said[HTTP_STATUS] for span in spans if HTTP_STATUS in (said := span.attributes or {}) and _failed(span)}
    waited = any(span.name.endswith(" wait") and _length(span) > _LONG for span in spans)
    ended_well = (call.attributes or {}).get(CALL_OUTCOME) == "ok"
    return ended_well, min(len(statuses), _ENOUGH), waited, -len(spans)


def _failed(span: ReadableSpan) -> bool:
    return span.status.status_code is StatusCode.ERROR


def _length(span: ReadableSpan) -> int:
    return (span.end_time or 0) - (span.start_time or 0)
