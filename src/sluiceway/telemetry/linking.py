"""What the span of a call is linked to, and whose child it is, beyond the current span."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode

from . import conventions as names
from .spans import tracing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .spans import Tracing
    from .stats import Stats

Relation: TypeAlias = Literal["children", "links"]
RELATIONS: Final = ("children", "links")

_links: Final[ContextVar[tuple[Link, ...]]] = ContextVar("sluiceway_links", default=())


@contextmanager
def linked(*spans: Span | SpanContext) -> Iterator[None]:
    """Link the spans of the calls that start inside, also in tasks made there, to *spans*.

    ``with telemetry.linked(batch_span): await ask(prompt)``. A link leads from the trace of a call to whatever else
    led to it: the batch that it is an item of, the message of a queue that it answers. Spans that are not recorded are
    passed over; links of an outer `linked` stay.

    Raises:
        TypeError: one of *spans* is neither a span nor the context of one.
    """
    made = []
    for span in spans:
        context = span.get_span_context() if isinstance(span, Span) else span
        if not isinstance(context, SpanContext):
            raise TypeError(f"{type(span).__name__} object cannot be linked to: give a span or its context")
        if context.is_valid:
            made.append(Link(context))
    token = _links.set((*_links.get(), *made))
    try:
        yield
    finally:
        _links.reset(token)


class SessionSpan:
    """The span of a session while it is open, and how the calls in it stand to it.

    It is not made the current span: a session may be left in another task than it was entered in. Its calls find it
    by the session. A call below a span that is not the session's surroundings, the application's own or an attempt,
    stays there.

    Args:
        name: of the session; may be empty.
        own_id: of the session.
        relation: `"children"` puts the calls into its trace, `"links"` gives each a trace of its own with a link to it.
    """

    def __init__(self, name: str, own_id: str, relation: Relation) -> None:
        self._relation = relation
        self._around = trace.get_current_span().get_span_context().span_id
        self.span = tracing.start(f"session {name}".rstrip(), attributes={names.SESSION_ID: own_id})
        self._context = self.span.get_span_context()

    def place(self) -> tuple[Context | None, Sequence[Link]]:
        """Return the context that a call's span starts in, None for the current one, and the links it has."""
        if not self._context.is_valid:
            return None, ()
        current = trace.get_current_span().get_span_context()
        outside = not current.is_valid or current.span_id == self._around
        if self._relation == "links":
            return (Context() if outside else None), (Link(self._context),)
        return (trace.set_span_in_context(self.span) if outside else None), ()

    def end(self, stats: Stats, error: BaseException | None) -> None:
        """Close it with what was counted; *error* is what the session was left with."""
        said: dict[str, Any] = {
            names.SESSION_CALLS: stats.calls,
            names.SESSION_SUCCEEDED: stats.succeeded,
            names.SESSION_ATTEMPTS: stats.attempts,
            names.SESSION_INPUT_TOKENS: stats.tokens.input,
            names.SESSION_OUTPUT_TOKENS: stats.tokens.output,
        }
        if isinstance(error, Exception):
            said[names.ERROR_TYPE] = names.type_name(error)
            self.span.set_status(Status(StatusCode.ERROR, names.type_name(error)))
        self.span.set_attributes(said)
        self.span.end()


def call_span(settings: Tracing, name: str, scopes: Sequence[object]) -> Span:
    """Start the span *name* of a call in *scopes*, innermost first, where it belongs."""
    links: Sequence[Link] = _links.get()
    context = None
    for scope in scopes:
        session: SessionSpan | None = getattr(scope, "tracing", None)
        if session is not None:
            context, more = session.place()
            links = (*links, *more)
            break
    if context is None and not links:
        return settings.start(name)
    return settings.start(name, context, links=links)
