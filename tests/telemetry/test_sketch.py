"""Percentiles in bounded memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.telemetry.sketch import ACCURACY, BATCH, LARGEST, SMALLEST, Latency, Sketch, summarize

durations = st.floats(min_value=0, max_value=1e6, allow_nan=False)


def sketch_of(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(st.lists(durations, min_size=1, max_size=700))
def test_a_percentile_is_off_by_at_most_one_percent(values):
    """Each percentile lies within 1 % of the value of its rank, what is below a microsecond counting as 0."""
    found = summarize([sketch_of(values)])
    ordered = sorted(values)
    for share, estimate in ((0.50, found.p50), (0.95, found.p95), (0.99, found.p99)):
        exact = ordered[int(share * (len(ordered) - 1))]
        assert estimate == pytest.approx(exact, rel=ACCURACY * 1.001, abs=SMALLEST)


@given(st.lists(durations, min_size=1, max_size=700))
def test_count_mean_and_maximum_are_exact(values):
    """The count, the mean and the longest are those of the values themselves."""
    found = summarize([sketch_of(values)])
    assert len(values) == found.count
    assert math.fsum(values) / len(values) == pytest.approx(found.mean)
    assert max(values) == found.max


@given(st.lists(st.lists(durations, max_size=50), min_size=1, max_size=6))
def test_several_sketches_read_as_one(parts):
    """Reading sketches together gives what one sketch of all their values gives."""
    apart = summarize([sketch_of(part) for part in parts])
    together = summarize([sketch_of([value for part in parts for value in part])])
    assert (together.count, together.max) == (apart.count, apart.max)
    assert (together.p50, together.p95, together.p99) == (apart.p50, apart.p95, apart.p99)
    assert together.mean == pytest.approx(apart.mean)


def test_nothing_measured_is_none_not_zero():
    """Where nothing was measured there is no percentile."""
    assert Latency(count=0, mean=None, p50=None, p95=None, p99=None, max=None) == summarize([Sketch()])


def test_reading_leaves_the_sketch_as_it_was():
    """Reading twice gives the same, and what comes afterwards is added."""
    sketch = sketch_of([1.0, 2.0, 3.0])
    assert summarize([sketch]) == summarize([sketch])
    sketch.add(4.0)
    assert 4 == summarize([sketch]).count


def test_memory_is_bounded_whatever_comes():
    """No more than a batch of values and 1,500 bins are kept, over 20 orders of magnitude."""
    sketch = Sketch()
    for value in range(40_000):
        sketch.add(10.0 ** (value % 400 / 20 - 9))
        assert len(sketch.new) < BATCH
    bins, zeros, _, longest = sketch.read()
    assert len(bins) < 1500
    assert 40_000 == zeros + bins.total()
    assert longest > LARGEST


def test_what_another_thread_adds_meanwhile_is_counted():
    """Event loops of several threads share a process-wide session's sketches: each duration counts once, as itself."""
    sketch = Sketch()

    class Interrupted(float):
        def __gt__(self, other):
            if other == SMALLEST and not meanwhile:
                meanwhile.append(None)
                sketch.add(100.0)
                sketch.fold()
            return float(self) > other

    meanwhile = []
    sketch.add(Interrupted(1.0))
    found = summarize([sketch])
    assert meanwhile
    assert (found.count, found.mean, found.max) == (2, 50.5, 100.0)
    assert found.p50 == pytest.approx(1.0, rel=ACCURACY)
