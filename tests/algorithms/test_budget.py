"""A budget: reserved before it is spent, never more than there is, nothing lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.budget import Budget

AMOUNTS = st.floats(0, 10, allow_nan=False)


def test_what_is_reserved_cannot_be_reserved_again():
    """Three of four fit twice into seven, and not a third time."""
    budget = Budget([7.0])
    assert [None, None, 0] == [budget.reserve([3.0]) for _ in range(3)]
    assert 1.0 == budget.left(0)


def test_all_amounts_are_reserved_or_none():
    """The first that is short is named, and nothing is taken of the others."""
    budget = Budget([10.0, 1.0])
    assert 1 == budget.reserve([5.0, 2.0])
    assert [0.0, 0.0] == budget.reserved


def test_settling_gives_back_what_was_not_used():
    """And charges what was, more than the estimate if need be."""
    budget = Budget([10.0])
    budget.reserve([6.0])
    budget.settle([6.0], [1.0])
    assert 9.0 == budget.left(0)
    budget.reserve([6.0])
    budget.settle([6.0], [12.0])
    assert -3.0 == budget.left(0)


def test_an_exhausted_budget_reserves_not_even_nothing():
    """A call whose cost is unknown may cost something."""
    budget = Budget([1.0])
    assert budget.reserve([0.0]) is None
    budget.settle([0.0], [1.0])
    assert 0 == budget.reserve([0.0])


def test_settling_twice_is_a_mistake():
    """It would give back what somebody else holds."""
    budget = Budget([1.0])
    with pytest.raises(RuntimeError, match="none is open"):
        budget.settle([0.0], [0.0])


@pytest.mark.parametrize("limit", [0, -1, math.inf, math.nan])
def test_a_limit_is_above_zero(limit):
    """And finite."""
    with pytest.raises(ValueError, match="limit"):
        Budget([limit])


@given(
    st.lists(st.tuples(AMOUNTS, st.floats(0, 1), st.booleans()), max_size=60),
    st.floats(1, 50),
)
def test_no_order_of_calls_spends_more_than_there_is(calls, limit):
    """Where estimates are not too low, spent and reserved never pass the limit, and settled is what was actual."""
    budget = Budget([limit])
    held, spent = [], 0.0
    for cost, used, settles in calls:
        if budget.reserve([cost]) is None:
            held.append((cost, cost * used))
        if settles and held:
            reserved, actual = held.pop(0)
            budget.settle([reserved], [actual])
            spent += actual
        assert budget.spent[0] + budget.reserved[0] <= limit * (1 + 1e-6)
        assert math.isclose(sum(cost for cost, _ in held), budget.reserved[0], rel_tol=1e-9, abs_tol=1e-9)
        assert math.isclose(spent, budget.spent[0], rel_tol=1e-9, abs_tol=1e-9)
        assert len(held) == budget.in_flight
