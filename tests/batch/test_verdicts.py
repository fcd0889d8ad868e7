"""What a row's failure means."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.batch.verdicts import Dead, ErrorRate, Stop, Wait, Weather, judge
from sluiceway.errors import BudgetExceeded, CircuitOpen, CostTooLarge, QueueFull, SessionClosed, TimedOut
from sluiceway.testing import openai_error


def verdict(error, *, spent=1, weather=None, now=0.0, waits=0, index=0):
    return judge(error, index, spent, 5, waits, weather or Weather(1800), now, Random(1))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (lambda: openai_error(429, code="insufficient_quota"), "quota"),
        (lambda: openai_error(401), "unauthorized"),
        (lambda: BudgetExceeded("spent", layer="budgeted"), "budget"),
    ],
)
def test_what_no_other_row_could_survive_stops_the_batch(error, kind):
    """No money, no key, no budget: at once, whatever attempts are left."""
    stop = verdict(error())
    assert isinstance(stop, Stop)
    assert kind == stop.kind


def over_budget(**numbers):
    return BudgetExceeded("too little is left", layer="budgeted", unit="usd", limit=1.0, **numbers)


def test_what_is_reserved_is_waited_for_and_what_is_spent_ends_the_batch():
    """Calls in flight take less than they may: the batch ended with 0.004 dollars of one spent."""
    assert Wait("budget reserved", 1.0) == verdict(over_budget(cost=0.04, spent=0.0, reserved=0.97))
    assert isinstance(verdict(over_budget(cost=0.04, spent=0.97, reserved=0.02)), Stop)
    assert isinstance(verdict(over_budget(cost=1.04, spent=0.0, reserved=0.9)), Stop)


def test_an_unknown_price_is_no_matter_of_a_larger_budget():
    """The error says what is to be done."""
    stop = verdict(BudgetExceeded("nobody knows the price", cost=float("nan"), limit=1.0, reserved=0.5))
    assert "nobody knows the price; then run the same command again" == stop.message


@pytest.mark.parametrize(
    "error",
    [lambda: openai_error(400), lambda: openai_error(404), lambda: KeyError("mine"), lambda: CostTooLarge("big")],
)
def test_what_is_the_rows_own_fault_is_dead_at_once(error):
    """Repeating could not help."""
    assert Dead() == verdict(error())


def test_an_open_circuit_is_waited_for_as_long_as_it_says():
    """And a tenth longer at most, so that not all come back at once; it spends no attempt, however many were made."""
    waited = verdict(CircuitOpen("open", retry_after=20.0), spent=99)
    assert isinstance(waited, Wait)
    assert "circuit open" == waited.reason
    assert 20.0 <= waited.seconds <= 22.0


def test_other_refusals_are_waited_for_too():
    """A second where they do not say how long."""
    waited = verdict(QueueFull("full"))
    assert "refused" == waited.reason
    assert 1.0 <= waited.seconds <= 1.1


def test_over_the_retry_budget_a_row_waits():
    """It failed with attempts left, so that was not its last one."""
    assert "retry budget" == verdict(openai_error(503), spent=2).reason


def test_after_its_last_attempt_a_row_is_dead():
    """While others are answered it has only itself to blame."""
    assert Dead() == verdict(openai_error(503), spent=5)


def test_in_an_outage_no_row_dies():
    """Three rows have failed since the last answer to anybody: it is the provider."""
    weather = Weather(1800)
    for index in range(2):
        assert Dead() == verdict(openai_error(503), spent=5, weather=weather, index=index)
    assert "provider down" == verdict(TimedOut("slow"), spent=5, weather=weather, index=2).reason
    weather.answered()
    assert Dead() == verdict(openai_error(503), spent=5, weather=weather, index=2)


def test_an_outage_beyond_all_patience_stops_the_batch():
    """Nobody was answered for longer than that."""
    weather = Weather(60)
    for index in range(5):
        assert isinstance(
            verdict(openai_error(503), spent=5, weather=weather, index=index, now=index), Stop | Wait | Dead
        )
    stop = verdict(openai_error(503), spent=5, weather=weather, index=9, now=61.0)
    assert "provider down" == stop.kind
    assert "nothing was answered for 1 min 01 s, the last error was InternalServerError: " in stop.message


def test_seconds_without_an_answer_are_told_as_seconds():
    """Half a minute is not 0 minutes."""
    weather = Weather(3)
    verdict(openai_error(503), weather=weather)
    assert "for 29.5 s," in verdict(openai_error(503), weather=weather, now=29.5).message


def test_an_outage_is_told_by_the_error_behind_the_refusals():
    """An open circuit is what followed; where nothing else is known since the last answer, it is all there is."""
    weather = Weather(60)
    for index, error in enumerate([openai_error(503), CircuitOpen("open", retry_after=20.0)]):
        verdict(error, weather=weather, index=index)
    assert "last error was InternalServerError" in weather.hopeless(60.0).message
    weather.answered()
    assert weather.hopeless(120.0) is None
    verdict(CircuitOpen("open", retry_after=20.0), weather=weather, now=120.0)
    assert "last error was CircuitOpen" in weather.hopeless(180.0).message


def test_a_quiet_hour_is_no_outage():
    """Patience begins with the first failure and not with the last answer."""
    weather = Weather(60)
    weather.answered()
    assert isinstance(verdict(openai_error(503), weather=weather, now=3600.0), Wait)


@given(st.integers(0, 10**6))
def test_waits_grow_to_half_a_minute(waits):
    """However often a row has waited."""
    waited = verdict(openai_error(503), spent=1, waits=waits)
    assert 0.5 <= waited.seconds <= 30.0


def test_what_the_end_of_a_session_refuses_is_no_row_to_wait_for():
    """Nothing would ever let it through."""
    assert Dead() == verdict(SessionClosed("over"))


@given(st.lists(st.booleans(), max_size=300))
def test_the_error_rate_looks_at_the_last_hundred_rows(dead):
    """More than half of at least fifty ends the batch; as a list of all rows would have it."""
    rate = ErrorRate(0.5)
    for end in range(1, len(dead) + 1):
        last = dead[max(0, end - 100) : end]
        expected = len(last) >= 50 and sum(last) > 0.5 * len(last)
        assert expected == (rate.count(dead=dead[end - 1]) is not None)


def test_an_error_rate_may_be_nobodys_business():
    """None never stops."""
    rate = ErrorRate(None)
    assert [None] * 200 == [rate.count(dead=True) for _ in range(200)]
