"""Events to spans: a call, its phases side by side, its attempts.

A phase becomes a span when its event comes, with its own start and end; only the span of the call and of an attempt
live while they run, so that what happens inside them (HTTP, other calls) finds its parent. One `CallTrace` a call
keeps what is needed for that. Nothing is made for a call whose span does not record.
"""

from __future__ import annotations

import traceback
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from sluiceway import events
from sluiceway.errors import SluicewayError

from . import attributes
from .conventions import (
    ERROR_TYPE,
    EXCEPTION,
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
    PHASE_SECONDS,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span, TracerProvider

    from sluiceway.call import Run
    from sluiceway.events import Event

GAP: Final = 1_000
"""Nanoseconds between a span and the sibling after it: siblings that touch drop out of Jaeger's critical path."""
SHORT: Final = 0.001
"""Seconds under which `detail="compact"` drops a phase that ended well."""
_INTERNAL: Final = SpanKind.INTERNAL


def _no_span(*_: Any) -> Span:
    return trace.INVALID_SPAN


class Tracing:
    """What was configured for spans.

    Attributes:
        start: starts a span; the tracer's own `start_span`. A tracer of the API finds the provider that the
            application sets later by itself.
        detail: `"full"`, `"compact"` or `"nested"`.
        detailed: whether phases without length become spans.
        content: whether messages and tracebacks of foreign errors may stand in spans.
    """

    __slots__ = ("content", "detail", "detailed", "start")

    def __init__(self) -> None:
        self.set(detail="full", provider=None, content=False, on=True)

    def set(self, *, detail: str, provider: TracerProvider | None, content: bool, on: bool) -> None:
        """Take new settings; calls under way keep theirs."""
        self.start: Callable[..., Span] = (
            trace.get_tracer("sluiceway", tracer_provider=provider).start_span if on else _no_span
        )
        self.detail = detail
        self.detailed = detail != "compact"
        self.content = content


tracing: Final = Tracing()


def follow(span: Span, run: Run) -> CallTrace | None:
    """Return what makes the spans of the call whose *span* was started; None if it does not record.

    Runs in the call's own context, and attaches *span* there. A span that does not record but has a valid context was
    sampled out: attached all the same, its children inherit the decision.
    """
    if span.is_recording():
        if tracing.detail == "nested":
            return NestedTrace(span, run)
        return CallTrace(span, run)
    if span.get_span_context().is_valid:
        attach(set_span_in_context(span))
    return None


class CallTrace:
    """The spans of one call.

    Loop times become wall-clock times by one anchor per call, so spans of one call agree with each other to the
    nanosecond, and tests on virtual time see virtual lengths.
    """

    __slots__ = ("_anchor", "_context", "_drawn", "_reached", "_span", "_start", "_told", "session")

    def __init__(self, span: Span, run: Run) -> None:
        now = time_ns()
        self.session: str | None = None
        self._span = span
        self._start = tracing.start
        self._anchor = now - int(run.loop.time() * 1e9)
        self._drawn = now  # where the last sibling ends, in ns
        self._reached = run.started_at  # the same in loop time, before it was pushed aside
        self._context = set_span_in_context(span)
        self._told: BaseException | None = None
        attach(self._context)

    def hear(self, event: Event) -> None:
        """Draw *event*."""
        draw = _DRAW.get(type(event))
        if draw is not None:
            draw(self, event)
        elif isinstance(event, events.Phase):
            self._phase(event)

    # ------------------------------------------------------------------ times

    def _begin(self, at: float) -> int:
        """Return where a span that begins at *at* is drawn: after the last one, unless they overlap in truth."""
        start = self._anchor + int(at * 1e9)
        if at < self._reached:
            return start
        return max(start, self._drawn + GAP)

    def _end(self, at: float, start: int) -> int:
        """Return where a span that began at *start* and ends at *at* is drawn to end."""
        end = max(self._anchor + int(at * 1e9), start)
        if at >= self._reached:
            self._reached = at
            self._drawn = max(self._drawn, end)
        return end

    # ------------------------------------------------------------------ spans

    def _phase(self, event: events.Phase) -> None:
        if not tracing.detailed and event.at - event.started_at < SHORT and event.error is None:
            return
        start = self._begin(event.started_at)
        span = self._start(event.name, self._context, _INTERNAL, event.attributes, (), start)
        end = self._end(event.at, start)
        if event.error is not None:
            self._failed(span, event.error, end)
        span.end(end)

    def _attempt_started(self, event: events.AttemptStarted) -> None:
        attempt = event.attempt
        start = self._begin(event.at)
        assert event.call is not None
        kind, said = attributes.opening(event.call)
        attempt.facts = span = self._start(f"attempt {attempt.number}", self._parent(), kind, said, (), start)
        attach(set_span_in_context(span, self._context))

    def _attempt_finished(self, event: events.AttemptFinished) -> None:
        attempt = event.attempt
        span: Span | None = attempt.facts
        if span is None:
            return
        assert event.call is not None
        attach(self._context)
        span.set_attributes(attributes.closing(event.call, attempt))
        end = self._end(event.at, 0)
        if attempt.outcome == "error" and attempt.error is not None:
            self._failed(span, attempt.error, end)
        span.end(end)

    def _call_finished(self, event: events.CallFinished) -> None:
        span = self._span
        end = max(self._end(event.at, 0), self._drawn)
        span.set_attributes(attributes.call_facts(event, self.session))
        if event.error is not None and event.outcome != "cancelled":
            self._failed(span, event.error, end)
        span.end(end)

    def _parent(self) -> Any:
        return self._context

    def _mark(self, event: Event) -> None:
        """Note what happened at one moment on the call's span."""
        name, said = attributes.moment(event)
        self._span.add_event(name, said, self._anchor + int(event.at * 1e9))

    def _failed(self, span: Span, error: BaseException, at: int) -> None:
        """Mark *span* as failed with *error*, which is recorded once in the call: where it happened.

        A foreign error's message may quote the prompt, so only our own errors are quoted unasked.
        """
        name = type_name(error)
        span.set_attribute(ERROR_TYPE, name)
        span.set_status(Status(StatusCode.ERROR, name))
        if error is self._told:
            return
        self._told = error
        said = {EXCEPTION_TYPE: name}
        if tracing.content:
            said[EXCEPTION_STACKTRACE] = "".join(traceback.format_exception(error))
        if tracing.content or isinstance(error, SluicewayError):
            said[EXCEPTION_MESSAGE] = str(error)
        span.add_event(EXCEPTION, said, at)


class NestedTrace(CallTrace):
    """The spans of one call with `detail="nested"`: what a layer did contains what the layers inside it did.

    To look at the order of layers. The span of a phase stays open until the attempt after it is over; its own length
    is in `sluiceway.phase.seconds`. Concurrent attempts of one call share the nest.
    """

    __slots__ = ("_open",)

    def __init__(self, span: Span, run: Run) -> None:
        super().__init__(span, run)
        self._open: list[tuple[Span, Any]] = []

    def _parent(self) -> Any:
        return self._open[-1][1] if self._open else self._context

    def _phase(self, event: events.Phase) -> None:
        if isinstance(event, events.BackedOff) or event.started_at < self._reached:
            super()._phase(event)
            return
        start = self._begin(event.started_at)
        span = self._start(event.name, self._parent(), _INTERNAL, event.attributes, (), start)
        end = self._end(event.at, start)
        span.set_attribute(PHASE_SECONDS, event.at - event.started_at)
        if event.error is not None:
            self._failed(span, event.error, end)
        self._open.append((span, set_span_in_context(span, self._context)))

    def _attempt_finished(self, event: events.AttemptFinished) -> None:
        super()._attempt_finished(event)
        self._close()

    def _call_finished(self, event: events.CallFinished) -> None:
        self._close()
        super()._call_finished(event)

    def _close(self) -> None:
        while self._open:
            self._drawn += GAP
            self._open.pop()[0].end(self._drawn)


_DRAW: Final[dict[type[Event], Callable[[CallTrace, Any], None]]] = {
    events.AttemptStarted: lambda self, event: self._attempt_started(event),
    events.AttemptFinished: lambda self, event: self._attempt_finished(event),
    events.CallFinished: lambda self, event: self._call_finished(event),
    events.CircuitChanged: lambda self, event: self._mark(event),
    events.LimitPaused: lambda self, event: self._mark(event),
    events.SdkRetries: lambda self, event: self._mark(event),
}
