"""What a provider accepts, refuses and charges when several limits meet."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.provider_limits import ChargePolicy, ProviderLimits
from sluiceway.algorithms.provider_meters import Limit

RPM = Limit(600, window=1.0)
TPM = Limit(6000, window=1.0)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 150)), max_size=80))
def test_a_request_is_charged_to_all_limits_or_to_none(history):
    """A refusal by one limit leaves every level as it was."""
    limits, now = ProviderLimits({"requests": RPM, "tokens": TPM}), 0.0
    for gap, tokens in history:
        now += gap
        before = {name: level.remaining for name, level in limits.levels(now).items()}
        verdict = limits.ask(now, {"requests": 1, "tokens": tokens})
        after = {name: level.remaining for name, level in limits.levels(now).items()}
        assert verdict.accepted == (after != before)


@pytest.mark.parametrize("metering", ["bucket", "rolling"])
@given(
    history=st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 100)), max_size=80),
    refusals_count=st.booleans(),
    start=st.floats(0, 1e7),
)
def test_retry_after_is_true(metering, history, refusals_count, start):
    """Whoever waits as long as the refusal says is accepted then, if nobody else comes."""
    limits = ProviderLimits(
        {"requests": Limit(600, metering, 1.0), "tokens": Limit(6000, metering, 1.0)},
        refusals_count=refusals_count,
    )
    now = start
    for gap, tokens in history:
        now += gap
        verdict = limits.ask(now, {"requests": 1, "tokens": tokens})
        if not verdict.accepted:
            now += verdict.retry_after
            assert limits.ask(now, {"requests": 1, "tokens": tokens}).accepted


@given(st.integers(11, 200))
def test_refusals_that_count_keep_a_hammering_client_out(hammered):
    """Where a refusal also consumes, a client that hammers faster than the limit is refused throughout."""
    limits = ProviderLimits({"requests": Limit(600, "rolling", 1.0)}, refusals_count=True)
    answers = [limits.ask(number / 11, {"requests": 1}).accepted for number in range(hammered)]
    assert 10 == sum(answers)


def test_a_refusal_names_every_exhausted_resource_and_waits_for_the_last():
    """The wait is the latest of the exhausted resources, not the earliest."""
    limits = ProviderLimits({"requests": Limit(60, window=1.0), "tokens": TPM})
    limits.ask(0.0, {"requests": 1, "tokens": 50})
    verdict = limits.ask(0.0, {"requests": 1, "tokens": 100})
    assert ("requests", "tokens") == verdict.exhausted
    assert pytest.approx(1.0, abs=1e-5) == verdict.retry_after


def test_a_request_too_large_is_told_to_wait_for_ever():
    """A cost above a whole minute's worth is refused with an infinite wait."""
    verdict = ProviderLimits({"tokens": TPM}).ask(0.0, {"tokens": 6001})
    assert math.inf == verdict.retry_after


def test_settling_twice_is_refused():
    """A reservation is settled once."""
    limits = ProviderLimits({"tokens": TPM})
    reservation = limits.ask(0.0, {"tokens": 100}).reservation
    limits.settle(0.0, reservation, {"tokens": 10})
    assert 90 == limits.levels(0.0)["tokens"].remaining
    with pytest.raises(RuntimeError, match="settled before"):
        limits.settle(0.0, reservation, {"tokens": 10})


def test_changing_limits_keeps_what_was_taken():
    """Raising a limit half-way does not give back what was used; another metering starts afresh."""
    limits = ProviderLimits({"requests": RPM, "tokens": TPM})
    limits.ask(0.0, {"requests": 4, "tokens": 30})
    changed = {"requests": Limit(1200, window=1.0), "tokens": Limit(6000, "rolling", 1.0)}
    limits.change(0.0, changed, refusals_count=True)
    levels = limits.levels(0.0)
    assert (6, 100) == (levels["requests"].remaining, levels["tokens"].remaining)


@pytest.mark.parametrize(
    ("reserve", "tokens", "output"),
    [("max", 800, 800), ("sum", 1000, 800), ("prompt", 200, 0)],
)
def test_what_is_reserved_at_the_door(reserve, tokens, output):
    """OpenAI takes the larger of prompt and max_tokens, Azure both, Anthropic the prompt alone."""
    expected = {"requests": 1, "tokens": tokens, "input_tokens": 200, "output_tokens": output}
    assert expected == ChargePolicy(reserve).at_the_door(200, 800)


def test_what_is_charged_afterwards():
    """A policy that settles charges the usage; one that does not keeps the reservation."""
    assert {"tokens": 250, "input_tokens": 200, "output_tokens": 50} == ChargePolicy().afterwards(200, 50)
    assert {} == ChargePolicy(settle=False).afterwards(200, 50)


def test_an_unknown_reserve_is_refused():
    """A charge policy names what is allowed."""
    with pytest.raises(ValueError, match="'min'"):
        ChargePolicy("min")
