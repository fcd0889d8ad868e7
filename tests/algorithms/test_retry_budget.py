"""Repetition is a bounded share of the work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.retry_budget import RetryBudget


@given(
    st.integers(0, 5),
    st.floats(0, 1),
    st.lists(st.sampled_from(["enter", "enter", "leave", "spend", "spend", "give back"]), max_size=200),
)
def test_no_retry_begins_above_the_budget(minimum, ratio, steps):
    """One more begins exactly when it leaves at most `max(minimum, ratio * calls)` in flight."""
    budget, calls, spent = RetryBudget(minimum, ratio), 0, 0
    for step in steps:
        if step == "enter":
            budget.enter()
            calls += 1
        elif step == "leave" and calls:
            budget.leave()
            calls -= 1
        elif step == "spend":
            allowed = spent + 1 <= max(minimum, ratio * calls) + 1e-9
            assert allowed == budget.try_spend()
            spent += allowed
        elif step == "give back" and spent:
            budget.give_back()
            spent -= 1
        assert (calls, spent) == (budget.calls, budget.spent)


def test_a_quiet_program_may_retry():
    """Three at once are always allowed, with a single call in flight too."""
    budget = RetryBudget()
    budget.enter()
    assert [True, True, True, False] == [budget.try_spend() for _ in range(4)]


def test_a_fifth_of_the_calls_may_be_repeated():
    """With 100 calls in flight 20 retries are, and the budget shrinks as calls leave."""
    budget = RetryBudget()
    for _ in range(100):
        budget.enter()
    assert 20 == sum(budget.try_spend() for _ in range(100))
    for _ in range(50):
        budget.leave()
    budget.give_back()
    assert (10.0, 19, False) == (budget.limit, budget.spent, budget.try_spend())
    assert "<RetryBudget 19 of 10, 50 calls in flight>" == repr(budget)


def test_giving_back_what_was_not_taken_is_said():
    """A call that leaves twice or a retry given back twice would widen the budget for good."""
    budget = RetryBudget()
    with pytest.raises(RuntimeError, match="none is inside"):
        budget.leave()
    with pytest.raises(RuntimeError, match="none is in flight"):
        budget.give_back()


@pytest.mark.parametrize("settings", [{"minimum": -1}, {"ratio": -0.1}, {"ratio": float("nan")}])
def test_bad_settings_are_refused(settings):
    """Minimum and ratio are at least 0 and finite."""
    with pytest.raises(ValueError, match="must be at least 0"):
        RetryBudget(**settings)
