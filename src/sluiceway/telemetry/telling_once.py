"""An exporter whose losses are told once, not with every batch."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan


class TellingOnce(SpanExporter):
    """Exports by *inner*, whose own log tells each kind of failure once until a batch arrives again.

    A collector that is down for an hour would fill the log with one line a batch, two in a second under load. What
    fails, and how often, is for the SDK's own metrics (`OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED`).
    """

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner
        self._told = _Told()
        name = getattr(getattr(sys.modules[type(inner).__module__], "_logger", None), "name", type(inner).__module__)
        self._log = logging.getLogger(name)
        self._log.addFilter(self._told)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export *spans*; what raises is the SDK's to tell."""
        result = self.inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._told.kinds.clear()
        return result

    def shutdown(self) -> None:
        """End the exporter; others of its kind log as they did."""
        self.inner.shutdown()
        self._log.removeFilter(self._told)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have nothing to send: batches are the processor's."""
        return self.inner.force_flush(timeout_millis)


class _Told(logging.Filter):
    """Lets the first line of each kind pass, which is the place in the code that writes it: texts differ."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[tuple[str, int]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether *record* is told."""
        kind = (record.pathname, record.lineno)
        if record.levelno < logging.WARNING or kind not in self.kinds:
            self.kinds.add(kind)
            return True
        return False
