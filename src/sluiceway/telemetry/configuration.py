"""What the application says about telemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .logs import log
from .metrics import metering
from .nested import NestedTrace
from .spans import CallTrace, tracing

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

DETAILS: Final = ("full", "compact", "nested")


def style(detail: str) -> tuple[type[CallTrace], bool]:
    """Return what draws the spans of *detail*, and whether phases without length become some.

    Raises:
        ValueError: *detail* is none of the three.
    """
    if detail not in DETAILS:
        raise ValueError(f"detail={detail!r} must be one of {', '.join(map(repr, DETAILS))}")
    return NestedTrace if detail == "nested" else CallTrace, detail != "compact"


def configure(
    *,
    detail: str = "full",
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    capture_content: bool = False,
    spans: bool = True,
    metrics: bool = True,
    logs: bool = True,
) -> None:
    """Say what shall be told of calls that start from now on; what is not given goes back to its default.

    Nothing needs to be said where the application sets OpenTelemetry's global providers or configures structlog,
    before or after importing this. No global is ever set here.

    Args:
        detail: `"full"` makes a span of every phase of every layer; `"compact"` leaves out those under 1 ms, which
            costs a third; `"nested"` shows each layer inside the one around it, to look at their order.
        tracer_provider: makes the spans, instead of the global one.
        meter_provider: makes the instruments, instead of the global one.
        capture_content: put messages and tracebacks of foreign errors into spans. A provider's message may quote
            the prompt, which is why they stay out unless asked for.
        spans: False makes none.
        metrics: False records none.
        logs: False writes no line, not even a warning.

    Raises:
        ValueError: *detail* is none of the three.
    """
    draws, detailed = style(detail)
    tracing.set(
        follow=draws,
        detailed=detailed,
        provider=tracer_provider,
        content=capture_content,
        on=spans,
    )
    metering.set(provider=meter_provider, on=metrics)
    log.on = logs
