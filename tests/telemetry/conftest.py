"""What the tests of telemetry share: spans in memory, layers that only report, everything put back afterwards."""

from __future__ import annotations

import logging
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluiceway import telemetry
from sluiceway.running import switch
from sluiceway.telemetry import attributes, hub, logs


@pytest.fixture(autouse=True)
def _as_imported(monkeypatch):
    """Leave telemetry as an import leaves it."""
    monkeypatch.setattr(switch, "observe", hub.observe)
    logs.log._reported.clear()
    telemetry.configure()
    yield
    telemetry.configure()
    hub._listeners.clear()
    telemetry.process_scopes.clear()
    telemetry.attached.clear()
    attributes._containers.clear()
    if "structlog" in sys.modules:
        sys.modules["structlog"].reset_defaults()


class Spans:
    """The spans of one provider, as they were exported."""

    def __init__(self, **provider):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **provider)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("the application")

    @property
    def all(self):
        """The finished spans, in the order of their starts."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: (span.start_time, span.end_time))

    def one(self, name):
        found = [span for span in self.all if span.name == name]
        assert len(found) == 1, f"{len(found)} spans {name!r} among {[span.name for span in self.all]}"
        return found[0]

    def names(self):
        return [span.name for span in self.all]

    def tree(self):
        """The spans as (name, children), roots first, siblings in the order of their starts."""

        def under(parent):
            return [
                (span.name, under(span.context.span_id)) if under(span.context.span_id) else span.name
                for span in self.all
                if (span.parent.span_id if span.parent else None) == parent
            ]

        return under(None)


@pytest.fixture
def spans():
    """Every call's spans, in memory; `detail="full"`."""
    found = Spans()
    telemetry.configure(tracer_provider=found.provider)
    return found


@pytest.fixture
def make_spans():
    """Make such a collection for a provider with other settings."""
    return Spans


@pytest.fixture
def info(caplog):
    """Every line from INFO on, from the standard logger."""
    caplog.set_level(logging.INFO, logger="sluiceway")
    return caplog
