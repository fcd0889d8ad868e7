"""The shorter way for finished spans: nobody can tell, and it is taken only where nobody can."""

from __future__ import annotations

import json

import pytest
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from reporting import Waits
from sluiceway import telemetry
from sluiceway.layer import Pipeline
from sluiceway.telemetry.shortcut import Shortcut


async def answer():
    return "yes"


def shape(span):
    """What an exporter sees of a span, without what differs from run to run."""
    shown = json.loads(span.to_json())
    for name in ("start_time", "end_time", "context", "parent_id"):
        shown.pop(name)
    shown["attributes"].pop("sluiceway.call.id", None)
    length = (span.end_time - span.start_time) // 1_000_000
    return shown, length, span.instrumentation_scope, span.context.trace_flags, span.context.trace_state


async def waits(found):
    await Pipeline(Waits(1.0), Waits(0.0, "circuit", a="b", c=1, d=2.5, e=True), name="ask")(answer)()
    return found.all


async def test_both_ways_export_the_same_spans(make_spans, monkeypatch):
    """The SDK's own way and the shorter one differ in cost only: names, times, attributes, scope, flags, parents."""
    short, public = make_spans(), make_spans()
    telemetry.configure(tracer_provider=short.provider)
    by_short = await waits(short)
    monkeypatch.setattr(Shortcut, "handover", lambda self, span: None)
    telemetry.configure(tracer_provider=public.provider)
    by_public = await waits(public)
    assert [shape(span) for span in by_short] == [shape(span) for span in by_public]
    assert short.tree() == public.tree()
    assert len({span.context.span_id for span in by_short}) == len(by_short)
    assert len({span.context.trace_id for span in by_short}) == 1


def shortcut_for(found):
    span = found.provider.get_tracer("x").start_span("call")
    way = Shortcut(found.provider.get_tracer("x")).handover(span)
    span.end()
    return way


class Starts(SpanProcessor):
    """Looks at spans when they start, as some vendors' processors do."""

    def on_start(self, span, parent_context=None): ...


class Endings(SpanProcessor):
    """Looks at spans that are about to end."""

    def _on_ending(self, span): ...


class Nowhere(SpanExporter):
    """Exports to nobody."""

    def export(self, spans):
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize(
    "sampler", [sampling.ALWAYS_ON, sampling.DEFAULT_ON, sampling.ParentBased(sampling.TraceIdRatioBased(1.0))]
)
def test_usual_settings_take_the_shorter_way(make_spans, sampler):
    """The SDK's batch and simple processors, and samplers that follow the parent."""
    found = make_spans(sampler=sampler)
    batch = BatchSpanProcessor(Nowhere())
    found.provider.add_span_processor(batch)
    assert shortcut_for(found) is not None
    batch.shutdown()


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": sampling.TraceIdRatioBased(1.0)},
        {"sampler": sampling.ParentBased(sampling.ALWAYS_ON, local_parent_sampled=sampling.TraceIdRatioBased(1.0))},
        {"span_limits": SpanLimits(max_attribute_length=10)},
        {"span_limits": SpanLimits(max_span_attributes=4)},
    ],
)
def test_what_may_decide_about_a_child_is_asked(make_spans, settings):
    """Samplers with a will of their own and limits on attributes get every span the public way."""
    assert shortcut_for(make_spans(**settings)) is None


@pytest.mark.parametrize("processor", [Starts(), Endings()])
def test_a_processor_that_looks_at_living_spans_sees_them(make_spans, processor):
    """Adding one, even later, ends the shorter way."""
    found = make_spans()
    assert shortcut_for(found) is not None
    found.provider.add_span_processor(processor)
    assert shortcut_for(found) is None


def test_another_sdk_gets_its_spans_the_public_way():
    """A recording span of somebody else's making has nothing that the shorter way could reach into."""

    class Span:
        def is_recording(self):
            return True

    assert Shortcut(object()).handover(Span()) is None


async def test_attributes_that_need_cleaning_are_cleaned_by_the_sdk(spans):
    """A list among a phase's attributes becomes a tuple, as the SDK makes it of any span's."""
    await Pipeline(Waits(1.0, names=["a", "b"]), name="ask")(answer)()
    assert spans.one("bounded wait").attributes["names"] == ("a", "b")


async def test_ids_come_from_the_providers_generator(make_spans):
    """Whoever makes ids of his own finds them on every span."""

    class Counts(RandomIdGenerator):
        n = 0

        def generate_span_id(self):
            self.n += 1
            return self.n

    found = make_spans(id_generator=Counts())
    telemetry.configure(tracer_provider=found.provider)
    await waits(found)
    assert sorted(span.context.span_id for span in found.all) == [1, 2, 3, 4]
