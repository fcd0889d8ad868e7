"""The provider's decisions and its books, on a clock of our own."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.simulator.asked import read
from sluiceway.simulator.behaviour import Behaviour
from sluiceway.simulator.books import BusiestWindow
from sluiceway.simulator.ledger import Ledger
from sluiceway.simulator.service import Refusal, Service, Ticket

ENDS = ("answered", "failed", "reset", "abandoned")


def request(content="x" * 40, **settings):
    """Return a chat completion's request as it is read; its prompt has ten tokens."""
    body = {"model": "m", "messages": [{"role": "user", "content": content}]} | settings
    return read("/v1/chat/completions", json.dumps(body).encode(), 0.25)


def service(now=0.0, **settings):
    """Return a service that has just started."""
    return Service(Behaviour.of(**settings), now)


def served(provider, now, asked, output=16):
    """Let *provider* answer a request at once, or return its refusal."""
    outcome = provider.arrive(now, asked)
    if isinstance(outcome, Ticket):
        outcome.output = output
        provider.answered(now, outcome)
    return outcome


def test_answers_are_billed_and_counted():
    """An answer is accepted, answered, and billed with what it read and wrote."""
    provider = service(now=100.0, rpm=60, tpm=6000)
    served(provider, 101.0, request())
    ledger = provider.books.snapshot(103.0)
    assert (1, 1, 1, 0) == (ledger.offered, ledger.accepted, ledger.answered, ledger.refused)
    assert (10, 16, 26) == (ledger.input_tokens, ledger.output_tokens, ledger.metered_tokens)
    assert (3.0, 1.0, 1.0) == (ledger.uptime, ledger.first_accepted, ledger.last_accepted)


def test_what_was_billed_and_lost_is_told_apart():
    """Tokens of answers that were reset, abandoned or broke off are billed, and counted as lost as well."""
    provider = service()
    served(provider, 0.0, request("a" * 40))
    for end in (provider.reset, provider.abandoned, provider.failed):
        ticket = provider.arrive(0.0, request("b" * 40))
        ticket.output = 5
        end(ticket)
    ledger = provider.books.snapshot(0.0)
    assert (40, 31) == (ledger.input_tokens, ledger.output_tokens)
    assert (30, 15) == (ledger.lost_input_tokens, ledger.lost_output_tokens)
    assert "lost tokens     30 in, 15 out: billed" in str(ledger)


def test_waiting_as_told_is_enough_for_an_idle_client():
    """Whoever waits for a refusal's retry-after is accepted, whichever limit it was."""
    for settings in ({"rpm": 60}, {"tpm": 660}, {"rpm": 60, "refusals_count": True}):
        for metering in ("bucket", "rolling"):
            provider, now = service(metering=metering, window=1, **settings), 0.0
            while isinstance(outcome := served(provider, now, request(), output=0), Ticket):
                now += 0.01
            assert outcome.reason == "limit"
            now += outcome.retry_after
            assert isinstance(served(provider, now, request(), output=0), Ticket)


def test_a_refusal_names_the_exhausted_limit():
    """The ledger tells refusals by the limit that caused them."""
    provider = service(rpm=6000, tpm=60, metering="rolling", window=60)
    for _ in range(7):
        served(provider, 0.0, request(), output=0)
    assert provider.books.snapshot(0.0).refusals == {"tokens": 1}


def test_what_was_reserved_and_not_used_is_free_after_the_answer():
    """The charge becomes the usage when the answer is complete, unless the policy keeps it."""
    settling = service(tpm=1000, burst="60s")
    outcome = settling.arrive(0.0, request(max_tokens=1000))
    assert isinstance(settling.arrive(0.0, request()), Refusal)
    outcome.output = 20
    settling.answered(0.0, outcome)
    assert settling.books.snapshot(0.0).metered_tokens == 30
    assert isinstance(settling.arrive(0.0, request()), Ticket)
    keeping = service(tpm=1000, burst="60s", settle=False)
    served(keeping, 0.0, request(max_tokens=1000))
    assert isinstance(keeping.arrive(0.0, request()), Refusal)


@given(st.lists(st.sampled_from(ENDS), max_size=60), st.integers(0, 2**32))
def test_every_accepted_request_ends_once(ends, seed):
    """However requests end, and even if two ends are reported, the books add up."""
    provider, rng = service(rpm=1200, burst="1s"), random.Random(seed)
    for number, end in enumerate(ends):
        outcome = provider.arrive(number * 0.01, request(str(number)))
        if isinstance(outcome, Ticket) and rng.random() < 0.8:
            arguments = (number * 0.01, outcome) if end == "answered" else (outcome,)
            getattr(provider, end)(*arguments)
            provider.abandoned(outcome)
    ledger = provider.books.snapshot(1.0)
    assert ledger.offered == ledger.accepted + ledger.refused == len(ends)
    ended = ledger.answered + ledger.failed + ledger.resets + ledger.abandoned
    assert ledger.accepted == ended + ledger.in_flight


def test_too_many_in_flight_are_refused():
    """Above the most in flight requests are refused with the status that was set, and served when a place is free."""
    provider = service(max_in_flight=1, in_flight_status=503)
    first = provider.arrive(0.0, request())
    refused = provider.arrive(0.0, request())
    assert ("in_flight", 503, None) == (refused.reason, refused.how, refused.retry_after)
    provider.answered(0.0, first)
    assert isinstance(provider.arrive(0.0, request()), Ticket)
    assert provider.books.snapshot(0.0).peak_in_flight == 1


def test_outages_and_lack_of_money_come_before_the_limits():
    """A provider that is down or unpaid takes nothing from the limits."""
    provider = service(rpm=60, outages=[(0, 5)], insufficient_quota=1, outage_as="hang")
    assert provider.arrive(1.0, request()).how == "hang"
    assert provider.arrive(5.0, request()).reason == "quota"
    provider.become(5.0, provider.behaviour.but(insufficient_quota=0))
    assert provider.arrive(5.0, request()).levels["requests"].remaining == 59


def test_the_same_request_answered_twice_is_noticed():
    """A request that was answered more than once is counted, one that failed before is not."""
    provider = service()
    provider.failed(provider.arrive(0.0, request("a")))
    for content in ("a", "a", "b", "a"):
        served(provider, 0.0, request(content))
    assert provider.books.snapshot(0.0).answered_twice == 2


def test_retries_by_an_sdk_and_unreadable_requests_are_noticed():
    """Requests that an SDK sent again, and those that made no sense, are counted."""
    provider = service()
    provider.arrive(0.0, request(), sdk_retry=True)
    provider.invalid(0.0)
    ledger = provider.books.snapshot(0.0)
    assert (2, 1, 1) == (ledger.offered, ledger.sdk_retries, ledger.invalid)


def test_using_all_of_a_limit_is_a_utilisation_of_one():
    """Utilisation compares what was accepted with the most that was possible between first and last."""
    provider = service(rpm=6000, burst="1s")
    for _ in range(100):
        served(provider, 0.0, request())
    for number in range(100):
        served(provider, (number + 1) * 0.01001, request())
    ledger = provider.books.snapshot(5.0)
    assert ledger.refused == 0
    assert ledger.utilisation == pytest.approx(1.0, abs=0.001)
    assert ledger.busiest_accepted == 199
    assert ledger.window == 1.0


def test_the_pace_of_an_even_client_is_its_rate():
    """Requests at even distances have a pace of a minute divided by the distance; one request has none."""
    provider = service()
    served(provider, 0.0, request())
    assert provider.books.snapshot(0.0).accepted_per_minute is None
    for number in range(1, 11):
        served(provider, number * 0.5, request())
    assert provider.books.snapshot(9.0).accepted_per_minute == pytest.approx(120)


def test_the_books_follow_a_change_of_limits():
    """After a change of limits the busiest window has the new length."""
    provider = service(rpm=6000, burst="1s")
    served(provider, 0.0, request())
    provider.become(1.0, Behaviour.of(rpm=60, tpm=600, window="10s", token_window="5s"))
    ledger = provider.books.snapshot(1.0)
    assert (10.0, 5.0, 0) == (ledger.window, ledger.token_window, ledger.busiest_accepted)


@given(st.lists(st.tuples(st.floats(0, 0.7), st.integers(1, 5)), min_size=1, max_size=80))
def test_the_busiest_window_is_exact(history):
    """The busiest window is what looking at every window would find."""
    busiest, now, log = BusiestWindow(1.0), 0.0, []
    for gap, amount in history:
        now += gap
        busiest.add(now, amount)
        log.append((now, amount))
    expected = max(sum(amount for at, amount in log if start <= at < start + 1.0) for start, _ in log)
    assert expected == busiest.most


def test_a_seed_repeats_the_faults_in_any_order():
    """With a seed each request meets the same fate, whatever order they come in."""

    def fates(numbers):
        provider = service(seed=5, errors={500: 0.5})
        return {number: provider.arrive(0.0, request(str(number))).fate.error for number in numbers}

    assert fates(range(20)) == fates(reversed(range(20)))


def test_a_ledger_travels_and_reads_well():
    """A ledger goes through JSON unchanged, and its text names the counts."""
    provider = service(rpm=60, burst="1s", tpm=600)
    for _ in range(3):
        served(provider, 0.0, request())
    provider.books.by_status.update([200, 429, 429])
    ledger = provider.books.snapshot(1.0)
    assert ledger == Ledger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    assert ledger.to_dict()["refused"] == 2
    assert "refused         2 (requests: 2)" in str(ledger)
    assert "200: 1, 429: 2" in str(ledger)
    assert "accepted        1 (100.0% of the most that the limit allows)" in str(ledger)
