"""The shorter way for measurements: what is collected is what the public way gives, whatever there is to collect it."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View

from sluiceway.telemetry.recording import Labels, Recorder

DELTA = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)


def recorded(way, *, views=(), readers=1, temporality=None, exemplars=None):
    """Record a story by *way*, collecting in between; return all that was collected, without times."""
    found = [InMemoryMetricReader(preferred_temporality=temporality) for _ in range(readers)]
    provider = MeterProvider(found, views=views, exemplar_filter=exemplars, shutdown_on_exit=False)
    meter = provider.get_meter("story")
    instruments = [
        meter.create_histogram("length", explicit_bucket_boundaries_advisory=[1, 2, 4]),
        meter.create_counter("cost"),
    ]
    record = [way(instrument) for instrument in instruments]
    labels = [Labels({"name": name, "status": status}) for name in ("a", "b") for status in (200, 429)]
    story = random.Random(5)
    collected = []
    for _ in range(3):
        for _ in range(50):
            story.choice(record)(story.choice([0, 0.5, 1, 3, 100]), story.choice(labels))
        collected += [told(reader) for reader in found]
    return collected


def told(reader):
    data = reader.get_metrics_data()
    return [
        (
            metric.name,
            sorted(
                (
                    sorted(point.attributes.items(), key=str),
                    getattr(point, "bucket_counts", None),
                    getattr(point, "sum", None) if hasattr(point, "sum") else point.value,
                    [exemplar.value for exemplar in point.exemplars][:1] and True,
                )
                for point in metric.data.data_points
            )
            if hasattr(metric.data, "data_points")
            else None,
        )
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]


def publicly(instrument):
    return getattr(instrument, "record", None) or instrument.add


def shortly(instrument):
    return Recorder(instrument).record


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"readers": 2},
        {"temporality": DELTA},
        {"views": [View(instrument_name="length", attribute_keys={"name"})]},
        {"views": [View(instrument_name="length", name="renamed"), View(instrument_name="length")]},
        {"views": [View(instrument_name="cost", aggregation=DropAggregation())]},
        {"exemplars": AlwaysOnExemplarFilter()},
    ],
    ids=["cumulative", "two readers", "delta", "labels cut", "two views", "dropped", "exemplars"],
)
def test_both_ways_collect_the_same(settings):
    """Sums, buckets, labels and exemplars, over several collections."""
    assert recorded(shortly, **settings) == recorded(publicly, **settings)


def test_a_cumulative_reader_gets_its_measurements_by_the_shorter_way():
    """That is the usual case: from the second measurement on, the SDK does not look for the place."""
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    recorder = Recorder(provider.get_meter("story").create_counter("cost"))
    labels = Labels({"name": "a"})
    recorder.record(1, labels)
    recorder._take = None  # would raise
    recorder.record(1, labels)
    assert len(labels.bound[recorder].aggregations) == 1


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_what_the_sdk_refuses_is_refused(value, caplog):
    """A value that is none is the SDK's to warn of, and is not added up."""
    reader = InMemoryMetricReader()
    recorder = Recorder(MeterProvider([reader], shutdown_on_exit=False).get_meter("story").create_counter("cost"))
    labels = Labels({"name": "a"})
    recorder.record(2, labels)
    recorder.record(value, labels)
    ((_, [(_, _, total, _)]),) = told(reader)
    assert total == 2
    assert len(caplog.records) == 1


def test_another_sdk_is_asked_the_public_way():
    """What has none of the SDK's inside gets every measurement by its own method."""
    heard = []
    recorder = Recorder(SimpleNamespace(record=lambda value, labels: heard.append((value, labels))))
    labels = Labels({"name": "a"})
    for value in (1, 2, 3):
        recorder.record(value, labels)
    assert heard == [(1, labels), (2, labels), (3, labels)]


def test_too_many_labels_go_where_the_sdk_puts_them():
    """Past the SDK's limit of label sets, what comes is counted together by it, not by us."""
    totals = []
    for way in (publicly, shortly):
        reader = InMemoryMetricReader()
        take = way(MeterProvider([reader], shutdown_on_exit=False).get_meter("story").create_counter("cost"))
        labels = [Labels({"name": number}) for number in range(2_050)]
        for _ in range(2):
            for each in labels:
                take(1, each)
        ((_, points),) = told(reader)
        totals.append((len(points), sum(point[2] for point in points)))
    assert totals[0] == totals[1]
    assert totals[0][1] == 4_100
