"""Rate-limit headers of three providers in one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.providers.headers import WANTED, Limits, Resource, asked_wait, read_limits, relevant
from sluiceway.providers.retry_after import RetryAfter

NOW = 1_772_366_400.0  # 2026-03-01T12:00:00Z

OPENAI = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-tokens": "6m0s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-03-01T12:00:01Z",
    "anthropic-ratelimit-input-tokens-limit": "40000",
    "anthropic-ratelimit-input-tokens-remaining": "0",
    "anthropic-ratelimit-input-tokens-reset": "2026-03-01T12:00:40Z",
}


def test_openai():
    """OpenAI's six headers are read, with resets as durations."""
    expected = Limits(
        requests=Resource(500, 499, 0.12, "x-ratelimit-reset-requests"),
        tokens=Resource(200_000, 0, 360, "x-ratelimit-reset-tokens"),
    )
    assert expected == read_limits(OPENAI, NOW)


def test_azure():
    """Azure uses OpenAI's names with plain seconds, and need not send all of them."""
    headers = {"x-ratelimit-remaining-tokens": "19913", "x-ratelimit-reset-tokens": "42"}
    expected = Limits(tokens=Resource(None, 19_913, 42, "x-ratelimit-reset-tokens"))
    assert expected == read_limits(headers, NOW)


def test_anthropic():
    """Anthropic's headers are read, with input and output tokens apart and resets as dates."""
    expected = Limits(
        requests=Resource(50, 49, 1, "anthropic-ratelimit-requests-reset"),
        input_tokens=Resource(40_000, 0, 40, "anthropic-ratelimit-input-tokens-reset"),
    )
    assert expected == read_limits(ANTHROPIC, NOW)


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}, {"x-ratelimit-limit": "5"}])
def test_none(headers):
    """Headers that state no remaining requests or tokens state no limits."""
    assert read_limits(headers) is None


def test_large_limits_are_kept():
    """A limit of 150 million tokens a minute is not taken for a delay and cut."""
    limits = read_limits({"x-ratelimit-remaining-tokens": "150000000"})
    assert Limits(tokens=Resource(None, 150_000_000, None, "x-ratelimit-reset-tokens")) == limits


@pytest.mark.parametrize("text", ["-1", "many", "nan", "inf", "1e999", "", "٣"])
def test_unreadable_amounts_are_unknown(text):
    """An amount that is negative or no number is unknown rather than zero: zero would stop the traffic."""
    assert (
        Resource(None, None, None, "x-ratelimit-reset-tokens")
        == read_limits({"x-ratelimit-remaining-tokens": text}).tokens
    )


def test_latest_reset_of_the_exhausted():
    """When several resources are exhausted the wait is the latest reset; at the earliest it would fail again."""
    headers = OPENAI | {"x-ratelimit-remaining-requests": "0"}
    assert RetryAfter(360.0, "x-ratelimit-reset-tokens") == asked_wait(headers)


def test_resets_of_what_remains_do_not_count():
    """A resource of which something remains is not waited for, however late its reset."""
    headers = OPENAI | {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-remaining-tokens": "7",
    }
    assert RetryAfter(0.12, "x-ratelimit-reset-requests") == asked_wait(headers)


def test_exhausted_with_a_reset_of_zero():
    """`0s` means now; it is an answer and not the absence of one."""
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "0s"}
    assert RetryAfter(0.0, "x-ratelimit-reset-requests") == asked_wait(headers)


def test_retry_after_precedes_resets():
    """`retry-after` knows this request; a reset says only when the whole limit is back."""
    assert RetryAfter(3.0, "retry-after") == asked_wait(OPENAI | {"retry-after": "3"})


def test_nothing_exhausted():
    """Without `retry-after` and without an exhausted resource no wait is asked."""
    assert asked_wait(OPENAI | {"x-ratelimit-remaining-tokens": "1"}) is None


def test_relevant_drops_the_rest():
    """Of a response's headers only those that we read are kept, under lower-case names; no cookie stays."""
    kept = relevant({"Retry-After": "3", "Set-Cookie": "secret", "X-RateLimit-Remaining-Tokens": "9"})
    assert kept == {"retry-after": "3", "x-ratelimit-remaining-tokens": "9"}


@pytest.mark.parametrize("library", ["httpx2", "multidict"])
def test_relevant_of_client_libraries(library):
    """The header types of httpx and aiohttp give the same as a dict."""
    module = pytest.importorskip(library)
    make = module.Headers if library == "httpx2" else module.CIMultiDict
    assert relevant(make({"Retry-After": "3", "X-Request-Id": "r1", "A": "b"})) == {
        "retry-after": "3",
        "x-request-id": "r1",
    }


@pytest.mark.parametrize("headers", [None, 7, "retry-after", [("retry-after", "3")]])
def test_relevant_of_no_headers(headers):
    """What is no mapping has no headers."""
    assert relevant(headers) == {}


@given(st.dictionaries(st.sampled_from(sorted(WANTED)), st.text(max_size=40) | st.integers().map(str)))
def test_never_raises(headers):
    """Whatever the values are, reading them raises nothing and a wait is never negative."""
    read_limits(headers, NOW)
    wait = asked_wait(headers, NOW)
    assert wait is None or wait.seconds >= 0
