"""Several machines, one answer."""

import pytest

from sluiceway.algorithms.composite import Composite
from sluiceway.algorithms.gcra import Gcra
from sluiceway.algorithms.in_flight import InFlight
from sluiceway.algorithms.sliding_window import SlidingWindow


def make():
    """Two requests a second and three a day, with one place."""
    return Composite([Gcra(120, 60), SlidingWindow(3, 86_400, paced=False), InFlight(1)])


def test_all_are_taken_at_once():
    """A take that fits takes from each machine."""
    limiter = make()
    assert 0.0 == limiter.take([1, 1, 1], 0.0)
    assert (0.8, 2.0, 0.0) == pytest.approx(limiter.levels(0.0))


def test_none_is_taken_if_one_refuses():
    """Whichever machine refuses, first, middle or last, the others are untouched."""
    for i, costs in enumerate([[5, 1, 1], [1, 3, 1], [1, 1, 1]]):
        limiter = make()
        limiter.machines[i].charge([1, 1, 1][i], 0.0)
        before = limiter.levels(0.0)
        assert 0.0 != limiter.take(costs, 0.0)
        assert before == limiter.levels(0.0)


def test_the_wait_is_the_longest():
    """Who waits for the shortest wakes too soon."""
    limiter = Composite([Gcra(60, 60), Gcra(6, 60)])
    limiter.take([1, 1], 0.0)
    assert 10.0 == pytest.approx(limiter.wait([1, 1], 0.0))
    assert 0.0 == limiter.take([1, 1], limiter.wait([1, 1], 0.0))


def test_where_a_leaver_is_needed_no_time_helps():
    """A full house outweighs every wait."""
    limiter = make()
    assert 0.0 == limiter.take([1, 1, 1], 0.0)
    assert limiter.take([1, 1, 1], 0.0) is None
    assert limiter.wait([1, 1, 1], 1e6) is None
    limiter.give([0, 0, 1], 1.0)
    assert 0.0 == limiter.take([1, 1, 1], 1.0)


def test_handing_back_reaches_every_machine():
    """A permit never used returns to each level, in a log to the entry of its time."""
    limiter = make()
    limiter.take([1, 1, 1], 5.0)
    limiter.give([1, 1, 1], 6.0, 5.0)
    assert (1.8, 3.0, 1.0) == pytest.approx(limiter.levels(6.0))


def test_settling_learning_and_pausing_reach_the_machines():
    """Each machine gets its own delta; a pause stops all; a remaining count goes to the one it is about."""
    limiter = Composite([Gcra(120, 60), SlidingWindow(1000, 60, paced=False)])
    limiter.take([1, 100], 0.0)
    limiter.adjust([0, -40], 1.0, 0.0)
    assert (1.8, 940.0) == pytest.approx(limiter.levels(1.0))
    limiter.learn(1, 500, 1.0)
    assert (1.8, 500.0) == pytest.approx(limiter.levels(1.0))
    limiter.pause(31.0, 1.0)
    assert 30.0 == pytest.approx(limiter.wait([1, 10], 1.0))
    assert (120, 1000) == (limiter.largest(0), limiter.largest(1))


def test_one_machine_is_enough():
    """A composite of one behaves as that one."""
    limiter = Composite([Gcra(60, 60)])
    assert 0.0 == limiter.take([1], 0.0)
    assert 1.0 == pytest.approx(limiter.take([1], 0.0))
    assert "<Composite <Gcra 60 at 1/s, burst 0.9 s>>" == repr(limiter)


def test_it_needs_machines_and_different_ones():
    """No machine limits nothing; the same one twice would be charged twice and asked once."""
    with pytest.raises(ValueError, match="at least one"):
        Composite([])
    one = Gcra(1, 1)
    with pytest.raises(ValueError, match="different ones"):
        Composite([one, one])
