"""Telemetry of one function: who hears its calls, and in what detail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sluiceway.functions import is_plain
from sluiceway.layer import Layer
from sluiceway.telemetry.configuration import style
from sluiceway.telemetry.observation import observation, watched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from sluiceway.call import Call, Proceed
    from sluiceway.events import Sink

T = TypeVar("T")


class observed(Layer):
    """Telemetry of one function, beside what `telemetry.configure` says for all.

    ``@observed(print)`` calls a plain function with every event of the function's calls;
    ``@observed(detail="compact")`` draws their spans shorter; providers and loggers are used for this function alone,
    instead of those of the application. Wherever it stands among the layers, it tells of all of them, and it costs a
    call nothing but the telling. Of two around one function both sinks hear, and for the rest the one nearer to the
    function decides. A function inside, decorated by itself, has calls of its own.

    Args:
        sink: a plain function of one event (see `sluiceway.events`), called where it happens: it must not block. What
            it raises is logged once and reaches neither the call nor anybody else who hears it.
        detail: `"full"`, `"compact"` or `"nested"`, see `telemetry.configure`.
        tracer_provider: makes the spans.
        meter_provider: makes the instruments.
        logger: gets the lines: a standard logger, or a structlog one.
        capture_content: put messages and tracebacks of foreign errors into spans, which may quote the prompt.

    Raises:
        TypeError: *sink* is not callable or is a coroutine function, or *logger* is no logger.
        ValueError: *detail* is none of the three.
    """

    stateful: ClassVar[bool] = False
    takes_functions: ClassVar[bool] = True

    def __init__(
        self,
        sink: Sink | None = None,
        *,
        detail: str | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger: Any = None,
        capture_content: bool = False,
    ) -> None:
        if sink is not None and not is_plain(sink):
            raise TypeError(
                f"sink={sink!r} must be a plain function of one event; or write @observed(), with parentheses"
            )
        if detail is not None:
            style(detail)
        if logger is not None and not all(callable(getattr(logger, name, None)) for name in ("debug", "warning")):
            raise TypeError(f"logger={logger!r} must be a standard logger or one of structlog's")
        self.observation = observation(
            sink, detail, tracer_provider, meter_provider, logger, capture_content=capture_content
        )
        watched.add(type(self))

    def around(self, proceed: Callable[[Call], Awaitable[Any]]) -> Callable[[Call], Awaitable[Any]]:
        """Return *proceed*: who hears a call is found out before its first layer."""
        return proceed

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call*."""
        return await proceed(call)
