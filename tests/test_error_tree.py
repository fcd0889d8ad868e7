"""The tree of errors: what can be caught together, and what each carries."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from sluiceway import errors
from sluiceway.errors import (
    BoundExceeded,
    BudgetExceeded,
    CircuitOpen,
    ConfigError,
    CostTooLarge,
    MissingExtra,
    Overloaded,
    QueueFull,
    RateLimited,
    ReentrantUse,
    Rejected,
    SessionClosed,
    SluicewayError,
    TimedOut,
)

MADE = [
    SluicewayError("text"),
    Rejected("text", layer="bounded", retry_after=1.5),
    RateLimited("text", layer="rate_limited", retry_after=3.0),
    BoundExceeded("text", layer="bounded"),
    QueueFull("text", layer="bounded"),
    CostTooLarge("text", layer="rate_limited", cost=9.0, limit=5.0, unit="tokens", window=60.0),
    CircuitOpen("text", layer="circuit_breaker", retry_after=30.0),
    Overloaded("text", layer="shed", retry_after=2.5),
    BudgetExceeded("text", layer="budgeted", unit="usd", cost=2.0, limit=5.0, spent=3.5, reserved=1.0),
    SessionClosed("text"),
    TimedOut("text", limit=5.0, kind="idle", elapsed=5.1, spent={"attempt 1": 5.1}),
    ConfigError(["text", "more"]),
    ReentrantUse("text"),
    MissingExtra("the simulator", "simulator"),
]


def test_everything_that_is_raised_is_a_sluiceway_error():
    """One `except` catches all of ours and nothing of a provider's."""
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__name__ != "Mapping"]
    assert all(issubclass(kind, SluicewayError) for kind in classes)
    assert {type(error) for error in MADE} == set(classes)


def test_refusals_are_rejections_and_the_rest_is_not():
    """What was refused before anything was sent is told apart by one class."""
    refusals = {RateLimited, BoundExceeded, QueueFull, CostTooLarge, CircuitOpen, SessionClosed, Rejected}
    refusals |= {BudgetExceeded, Overloaded}
    assert refusals == {type(error) for error in MADE if isinstance(error, Rejected)}


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(TimedOut, TimeoutError), (ReentrantUse, RuntimeError), (MissingExtra, ImportError), (ConfigError, ValueError)],
)
def test_some_are_builtin_errors_too(kind, builtin):
    """Code that knows nothing of sluiceway catches a timeout as a timeout."""
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_and_copying(error):
    """Between processes the type, the text and every attribute stay."""
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(error) is type(twin)
        assert str(error) == str(twin)
        assert vars(error) == vars(twin)


def test_what_each_carries_is_there_as_attributes():
    """Numbers to act on, not text to parse."""
    assert ("bounded", 1.5) == (MADE[1].layer, MADE[1].retry_after)
    assert ("", None) == (Rejected("text").layer, Rejected("text").retry_after)
    assert (9.0, 5.0, "tokens", 60.0) == (MADE[5].cost, MADE[5].limit, MADE[5].unit, MADE[5].window)
    limit = next(error for error in MADE if isinstance(error, TimedOut))
    assert (5.0, "idle", 5.1, {"attempt 1": 5.1}) == (limit.limit, limit.kind, limit.elapsed, limit.spent)
    budget = next(error for error in MADE if isinstance(error, BudgetExceeded))
    assert ("usd", 2.0, 5.0, 3.5, 1.0) == (budget.unit, budget.cost, budget.limit, budget.spent, budget.reserved)


def test_what_was_spent_is_the_errors_own():
    """Changing the mapping afterwards does not change the error."""
    spent = {"attempt 1": 1.0}
    error = TimedOut("text", spent=spent)
    spent.clear()
    assert {"attempt 1": 1.0} == error.spent
    assert {} == TimedOut("text").spent


def test_a_missing_extra_says_which_command_brings_it():
    """The message is the solution."""
    error = MissingExtra("the simulator", "simulator")
    assert "the simulator needs an optional dependency: pip install 'sluiceway[simulator]'" == str(error)
    assert "simulator" == error.extra


def test_the_tree_in_the_docstring_is_the_tree():
    """Each class stands in it, in the order of the file."""
    tree = errors.__doc__.partition("::")[2]
    places = [tree.index(type(error).__name__) for error in MADE]
    assert places == sorted(places)
