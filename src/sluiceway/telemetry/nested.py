"""`detail="nested"`: spans inside each other as the layers are, to look at their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import set_span_in_context

from sluiceway import events

from .conventions import PHASE_SECONDS
from .spans import GAP, CallTrace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from sluiceway.call import Run

    from .spans import Tracing


class NestedTrace(CallTrace):
    """The spans of one call: what a layer did contains what the layers inside it did until the attempt is over.

    The span of a phase stays open until then, so its own length is in `sluiceway.phase.seconds`. A phase that ends
    after its attempt began (a time limit's) and a backoff stand beside the others. Concurrent attempts of one call
    share the nest.
    """

    __slots__ = ("_open",)

    def __init__(self, span: Span, run: Run, session: str | None, settings: Tracing) -> None:
        super().__init__(span, run, session, settings)
        self._open: list[tuple[Span, Context]] = []

    def parent(self) -> Context:
        """Return where the next span hangs: in the innermost open phase."""
        return self._open[-1][1] if self._open else self._context

    def phase(self, event: events.Phase) -> None:
        """Draw what a layer did as a span around what is to come."""
        if type(event) is events.BackedOff or event.started_at < self._reached:
            super().phase(event)
            return
        start = self._begin(event.started_at)
        span = self._start(event.name, self.parent(), attributes=event.attributes, start_time=start)
        end = self._end(event.at, start)
        span.set_attribute(PHASE_SECONDS, event.at - event.started_at)
        if event.error is not None:
            self._failed(span, event.error, end)
        self._open.append((span, set_span_in_context(span, self._context)))

    def attempt_finished(self, event: events.AttemptFinished) -> None:
        """Close the span of an attempt and of the phases around it."""
        super().attempt_finished(event)
        self._close()

    def call_finished(self, event: events.CallFinished) -> None:
        """Close what is open."""
        self._end(event.at, 0)
        self._close()
        super().call_finished(event)

    def _close(self) -> None:
        while self._open:
            self._drawn += GAP
            self._open.pop()[0].end(self._drawn)


NestedTrace.draw = {
    **CallTrace.draw,
    events.Phase: NestedTrace.phase,
    events.Measured: NestedTrace.phase,
    events.Waited: NestedTrace.phase,
    events.BackedOff: NestedTrace.phase,
    events.AttemptFinished: NestedTrace.attempt_finished,
    events.CallFinished: NestedTrace.call_finished,
}
