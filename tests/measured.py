"""Metrics in memory: what one provider's reader collects."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader


class Collected:
    """What one provider's reader collects."""

    def __init__(self):
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader], shutdown_on_exit=False)

    def metric(self, name):
        data = self.reader.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == f"sluiceway.{name}"
        ]
        return found[0] if found else None

    def points(self, name):
        """The values (sums of histograms) of a metric, with their labels cut to the last word."""
        metric = self.metric(name)
        return [
            ({label.rpartition(".")[2]: value for label, value in point.attributes.items()}, _value(point))
            for point in (metric.data.data_points if metric else ())
        ]


def _value(point):
    return (point.count, point.sum) if hasattr(point, "bucket_counts") else point.value
