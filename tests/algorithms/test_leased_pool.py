"""LeasedPool: permits that a store has promised, as a limiter."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.leased_pool import LeasedPool


def pool(*limits, fresh=math.inf):
    calls = []
    made = LeasedPool(limits or (100.0,), fresh, lambda: calls.append(1))
    return made, calls


def test_what_is_promised_holds_from_its_moment_on():
    """The wait is that until enough is there; None if it never is."""
    made, hungry = pool()
    assert made.take([1.0], 0.0) is None
    assert [1] == hungry
    made.deliver(5.0, [1.0])
    made.deliver(7.0, [2.0])
    assert 5.0 == pytest.approx(made.take([1.0], 0.0))
    assert 7.0 == pytest.approx(made.wait([3.0], 0.0))
    assert made.wait([4.0], 0.0) is None
    assert 0.0 == made.take([1.0], 5.0)
    assert 0.0 == made.take([2.0], 7.0)


def test_several_resources_are_taken_at_once_or_not_at_all():
    """A request is not taken while tokens are short."""
    made, _ = pool(10.0, 1_000.0)
    made.deliver(0.0, [1.0, 50.0])
    assert made.take([1.0, 60.0], 1.0) is None
    assert [1.0, 50.0] == made.held()
    assert 0.0 == made.take([1.0, 50.0], 1.0)


def test_promises_that_come_late_are_put_in_order():
    """An earlier time may be promised after a later one, when something came back."""
    made, _ = pool()
    made.deliver(9.0, [1.0])
    made.deliver(3.0, [1.0])
    assert 3.0 == pytest.approx(made.wait([1.0], 0.0))
    assert 9.0 == made.last_due()


def test_of_an_exact_window_what_is_not_used_in_time_goes_back():
    """With its own time, by which the store finds its entry."""
    made, _ = pool(fresh=0.02)
    made.deliver(1.0, [1.0])
    made.deliver(2.0, [1.0])
    assert 0.0 == made.take([1.0], 1.01)
    assert made.take([1.0], 2.03) is None
    assert [(2.0, [-1.0])] == made.changes


def test_a_permit_that_was_not_used_is_in_hand_again():
    """For the next one, and not for the store, as long as somebody may want it."""
    made, _ = pool()
    made.deliver(0.0, [1.0])
    made.take([1.0], 1.0)
    made.give([1.0], 2.0, 1.0)
    assert [] == made.changes
    assert 0.0 == made.take([1.0], 2.0)


def test_everything_goes_back_when_asked():
    """What is in hand and what is to come."""
    made, _ = pool()
    made.deliver(0.0, [2.0])
    made.deliver(9.0, [3.0])
    made.take([1.0], 1.0)
    made.put_back(1.0)
    assert [[-1.0], [-3.0]] == [deltas for _, deltas in made.changes]
    assert [0.0] == made.held()


def test_a_pause_holds_what_is_in_hand():
    """And is to be told to the store."""
    made, hungry = pool()
    made.deliver(0.0, [5.0])
    made.pause(4.0, 1.0)
    assert (4.0, [1]) == (made.pause_asked, hungry)
    assert 3.0 == pytest.approx(made.take([1.0], 1.0))
    assert 0.0 == made.take([1.0], 4.0)


def test_settling_is_the_stores():
    """It changes nothing here, waits to be told, and the first of several says that there is something."""
    made, hungry = pool()
    made.adjust([3.0], 2.0, 1.0)
    made.adjust([-1.0], 2.0)
    assert [(1.0, [3.0]), (2.0, [-1.0])] == made.changes
    assert [1] == hungry


def test_an_open_pool_lets_everything_pass():
    """While the store is away and that was asked for."""
    made, _ = pool()
    made.open = True
    assert 0.0 == made.take([50.0], 0.0) == made.wait([50.0], 0.0)


def test_what_passed_an_open_pool_does_not_come_back_into_hand():
    """Nor is it settled: nothing was taken for it. A circuit that refuses all that passes would fill the hand."""
    made, _ = pool()
    made.deliver(0.0, [5.0])
    assert 0.0 == made.take([1.0], 1.0)
    made.let_pass()
    for now in (2.0, 3.0):
        made.take([1.0], now)
        made.give([1.0], now, now)
    made.take([1.0], 4.0)
    made.open = False
    made.give([1.0], 5.0, 4.0)
    made.adjust([-3.0], 5.0, 3.0)
    assert ([4.0], []) == (made.held(), made.changes)
    made.give([1.0], 5.0, 1.0)
    assert [5.0] == made.held()


@given(
    promised=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), max_size=20),
    taken=st.lists(st.tuples(st.floats(0, 200), st.integers(1, 4)), max_size=30),
)
def test_nothing_is_handed_out_that_was_not_promised_for_then(promised, taken):
    """At no time more than what was promised for that time or an earlier one."""
    made, _ = pool()
    for at, amount in promised:
        made.deliver(at, [float(amount)])
    out = 0
    for now, cost in sorted(taken):
        if made.take([float(cost)], now) == 0.0:
            out += cost
        assert out <= sum(amount for at, amount in promised if at <= now)
    assert sum(made.held()) + out == pytest.approx(sum(amount for _, amount in promised))
