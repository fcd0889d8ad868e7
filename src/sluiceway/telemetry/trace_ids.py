"""The ids by which an application's own log lines are found from a trace, and the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import get_current_span

from sluiceway.call import current

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def add_trace_ids(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ARG001 - structlog's signature
    """Add `trace_id` and `span_id` to a line of structlog; inside a call also its `call_id`, and `session_id` if any.

    ``structlog.configure(processors=[telemetry.add_trace_ids, ..., JSONRenderer()])``. The ids are those of the span
    that is current where the line is written, in lower-case hexadecimal as Jaeger shows them: in a decorated function
    that of the attempt. What a line says already is kept: sluiceway's own lines have their ids. Without a span, and
    outside of calls, nothing is added. It never raises.
    """
    try:
        span = get_current_span().get_span_context()
        if span.is_valid:
            event_dict.setdefault("trace_id", f"{span.trace_id:032x}")
            event_dict.setdefault("span_id", f"{span.span_id:016x}")
        call = current.get()
        if call is not None:
            event_dict.setdefault("call_id", call.run.id)
            session = getattr(call.run.facts, "session", None)
            if session is not None:
                event_dict.setdefault("session_id", session)
    except Exception:  # noqa: BLE001, S110 - somebody's own span; a line without ids is still a line
        pass
    return event_dict
