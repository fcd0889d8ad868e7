"""Events to spans: a call, its phases side by side, its attempts.

A phase becomes a span when its event comes, with its own start and end; only the span of the call and of an attempt
live while they run, so that what happens inside them (HTTP, other calls) finds its parent. One `CallTrace` a call
keeps what is needed for that. Nothing is made for a call whose span does not record.
"""

from __future__ import annotations

import copy
import traceback
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, Literal

from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from sluiceway import events
from sluiceway.errors import Rejected, SluicewayError

from . import attributes
from .conventions import (
    ERROR_TYPE,
    EXCEPTION,
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
    FALLBACK_FROM,
    FALLBACK_TO,
    type_name,
)
from .shortcut import Shortcut, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider

    from sluiceway.call import Run
    from sluiceway.events import Event

    from .handover import Handover

GAP: Final = 1_000
"""Nanoseconds between a span and the sibling after it: siblings that touch drop out of Jaeger's critical path.

Also the least length of a span: Jaeger warns of any that has none.
"""
SHORT: Final = 0.001
"""Seconds under which `detail="compact"` drops a phase that ended well."""
_INTERNAL: Final = SpanKind.INTERNAL
_NAMES: Final = tuple(f"attempt {number}" for number in range(10))


def _no_span(*_: Any, **__: Any) -> Span:
    return trace.INVALID_SPAN


class Tracing:
    """What was configured for spans.

    Attributes:
        given: whether the application gave us a provider, instead of the global one.
        start: starts a span; the tracer's own `start_span`. A tracer of the API finds the provider that the
            application sets later by itself.
        shortcut: how finished spans may get to the processors.
        follow: makes the trace of a call from its recording span.
        detailed: whether phases without length become spans.
        content: whether messages and tracebacks of foreign errors may stand in spans.
        version: how often settings were taken.
    """

    __slots__ = ("content", "detailed", "follow", "given", "shortcut", "start", "version")

    def __init__(self) -> None:
        self.version = 0
        self.set(follow=CallTrace, detailed=True, provider=None, content=False, on=True)

    def set(
        self,
        *,
        follow: type[CallTrace],
        detailed: bool,
        provider: TracerProvider | None,
        content: bool,
        on: bool,
    ) -> None:
        """Take new settings; calls under way keep theirs."""
        tracer = trace.get_tracer("sluiceway", tracer_provider=provider)
        self.given = provider is not None
        self.start: Callable[..., Span] = tracer.start_span if on else _no_span
        self.shortcut = Shortcut(tracer)
        self.follow = follow
        self.detailed = detailed
        self.content = content
        self.version += 1

    def varied(
        self, style: tuple[type[CallTrace], bool] | None, provider: TracerProvider | None, *, content: bool
    ) -> Tracing:
        """Return a copy with other settings, *style* being `follow` and `detailed`; None, or no *content*, stays."""
        made = copy.copy(self)
        if provider is not None:
            tracer = trace.get_tracer("sluiceway", tracer_provider=provider)
            made.start = tracer.start_span
            made.shortcut = Shortcut(tracer)
        if style is not None:
            made.follow, made.detailed = style
        made.content = content or self.content
        return made


def follow(span: Span, run: Run, session: str | None, settings: Tracing) -> CallTrace | None:
    """Return what makes the spans of the call whose *span* was started; None if it does not record.

    Runs in the call's own context, and attaches *span* there. A span that does not record but has a valid context was
    sampled out: attached all the same, its children inherit the decision.
    """
    if span.is_recording():
        return settings.follow(span, run, session, settings)
    if span.get_span_context().is_valid:
        attach(set_span_in_context(span))
    return None


class CallTrace:
    """The spans of one call, flat.

    Attributes:
        span: the call's; its ids stand in log lines.
        session: the innermost session's id; None outside one.

    Loop times become wall-clock times by one anchor per call, so spans of one call agree with each other to the
    nanosecond, and tests on virtual time see virtual lengths.
    """

    __slots__ = (
        "_anchor",
        "_beside",
        "_context",
        "_detailed",
        "_drawn",
        "_handover",
        "_opened",
        "_reached",
        "_settings",
        "_start",
        "_told",
        "session",
        "span",
    )

    draw: Mapping[type[Event], Callable[[Any, Any], None]]
    """What draws each kind of event."""

    def __init__(self, span: Span, run: Run, session: str | None, settings: Tracing) -> None:
        now = time_ns()
        self._anchor = now - int(run.loop.time() * 1e9)
        self._drawn = now  # where the last sibling ends, in ns
        self._reached = run.started_at  # the same in loop time, before it was pushed aside
        self.span = span
        self.session = session
        self._settings = settings
        self._start = settings.start
        self._detailed = settings.detailed
        self._handover: Handover | Literal[True] | None = True  # not asked for yet
        self._beside = self._opened = False  # of the last attempt
        self._told: BaseException | None = None
        self._context = context = set_span_in_context(span)
        attach(context)

    def hear(self, event: Event) -> None:
        """Draw *event*."""
        draw = self.draw.get(type(event))
        if draw is not None:
            draw(self, event)
        elif isinstance(event, events.Phase):
            self.phase(event)

    # ------------------------------------------------------------------ times

    def _begin(self, at: float) -> int:
        """Return where a span that begins at *at* is drawn: after the last one, unless they overlap in truth."""
        start = self._anchor + int(at * 1e9)
        if at < self._reached:
            return start
        after = self._drawn + GAP
        return max(after, start)

    def _end(self, at: float, start: int) -> int:
        """Return where a span that began at *start* and ends at *at* is drawn to end."""
        end = self._anchor + int(at * 1e9)
        end = max(end, start + GAP)
        if at >= self._reached:
            self._reached = at
            self._drawn = max(self._drawn, end)
        return end

    # ------------------------------------------------------------------ spans

    def phase(self, event: events.Phase) -> None:
        """Draw what a layer did as a span beside the others.

        One that covers the others becomes a point at its end, which says how long it was: Jaeger's critical path
        follows the sibling that ends last, and would find nothing but it.
        """
        error = event.error
        if error is None and not self._detailed and event.at - event.started_at < SHORT:
            return
        said = event.attributes
        start = self._begin(event.at if type(event) is events.Measured else event.started_at)
        end = self._end(event.at, start)
        if error is None and plain(said):
            way = self._shorter()
            if way is not None:
                way.child(event.name, said, start, end)
                return
        span = self._start(event.name, self._context, _INTERNAL, said, (), start)
        if error is not None:
            self._failed(span, error, end)
        span.end(end)

    def _shorter(self) -> Handover | None:
        """Return the shorter way for children of the call's span; None if there is none."""
        way = self._handover
        if way is True:
            self._handover = way = self._settings.shortcut.handover(self.span)
        return way

    def attempt_started(self, event: events.AttemptStarted) -> None:
        """Open the span of an attempt, and make it the current one while the provider runs."""
        call = event.call
        attempt = event.attempt
        assert call is not None
        self._beside, kind, said = attributes.opening(call)
        self._opened = said is not None
        name, parent, start = _attempt_name(attempt.number), self.parent(), self._begin(event.at)
        way = self._shorter() if parent is self._context else None
        if way is None:
            span = self._start(name, parent, kind, said, (), start)
        else:
            span = way.begun(name, kind, said, start, parent)
        attempt.facts = span
        attach(set_span_in_context(span, self._context))

    def attempt_finished(self, event: events.AttemptFinished) -> None:
        """Close the span of an attempt; the call's is the current one again."""
        call = event.call
        attempt = event.attempt
        span: Span | None = attempt.facts
        if span is None or call is None:
            return
        attach(self._context)
        end = self._end(event.at, getattr(span, "start_time", 0))
        if attempt.outcome == "error" and attempt.error is not None:
            self._failed(span, attempt.error, end)
        said = attributes.closing(call, attempt, beside=self._beside or attempt.beside, opened=self._opened)
        if said:
            span.set_attributes(said)
        span.end(end)

    def call_finished(self, event: events.CallFinished) -> None:
        """Close the span of the call, which has failed only if the call has."""
        self._end(event.at, 0)
        span = self.span
        if event.error is not None and event.outcome != "cancelled":
            self._failed(span, event.error, self._drawn)
        self._told = None  # its traceback leads back to us
        span.set_attributes(attributes.call_facts(event, self.session))
        span.end(self._drawn)

    def parent(self) -> Context:
        """Return where the next span hangs."""
        return self._context

    def moment(self, event: Event) -> None:
        """Note on the call's span what happened at one moment; what others go on with may outlive it."""
        if not self.span.is_recording():
            return
        name, said = attributes.moment(event)
        self.span.add_event(name, said, self._anchor + int(event.at * 1e9))

    def fell_back(self, event: events.FellBack) -> None:
        """Note it as a moment, and who is asked now as an attribute of the call, by which it can be found."""
        self.moment(event)
        if self.span.is_recording():
            self.span.set_attributes({FALLBACK_FROM: event.failed, FALLBACK_TO: event.to})

    def coalesced(self, event: events.Coalesced) -> None:
        """Link the call to the one whose answer it took: the attempt is in that trace."""
        facts = None if event.leader is None else event.leader.run.facts
        leader = None if facts is None else facts.span.get_span_context()
        if leader is not None and leader.is_valid:
            self.span.add_link(leader)

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
        content = self._settings.content
        if content:
            said[EXCEPTION_STACKTRACE] = "".join(traceback.format_exception(error))
        if content or isinstance(error, SluicewayError):
            said[EXCEPTION_MESSAGE] = str(error) if content else _without_key(error)
        span.add_event(EXCEPTION, said, at)


def _attempt_name(number: int) -> str:
    return _NAMES[number] if number < len(_NAMES) else f"attempt {number}"


def _without_key(error: BaseException) -> str:
    """Return the message of *error*, one of ours, without the key whose limit refused the call."""
    whose = error.whose if isinstance(error, Rejected) else ""
    return str(error).replace(f" for {whose}", "") if whose else str(error)


def _nothing(_trace: CallTrace, _event: Event) -> None:
    """Draw nothing."""


CallTrace.draw = {
    events.CallStarted: _nothing,
    events.Phase: CallTrace.phase,
    events.Measured: CallTrace.phase,
    events.Waited: CallTrace.phase,
    events.BackedOff: CallTrace.phase,
    events.AttemptStarted: CallTrace.attempt_started,
    events.AttemptFinished: CallTrace.attempt_finished,
    events.CallFinished: CallTrace.call_finished,
    events.CircuitChanged: CallTrace.moment,
    events.LimitPaused: CallTrace.moment,
    events.SdkRetries: CallTrace.moment,
    events.FellBack: CallTrace.fell_back,
    events.PassedOver: CallTrace.moment,
    events.Coalesced: CallTrace.coalesced,
    events.HedgeSent: CallTrace.moment,
    events.HedgeLost: CallTrace.moment,
}

tracing: Final = Tracing()
