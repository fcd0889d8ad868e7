"""OpenAI's headers and errors."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.algorithms.provider_meters import Level
from sluiceway.simulator.coming_back import retry_headers
from sluiceway.simulator.openai_wire import fault, go_duration, limit_headers, too_fast


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (0.9999, "1s"),
        (1.5, "1.5s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (3_723.25, "1h2m3.25s"),
        (86_400, "24h0m0s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds, written):
    """Resets are written with units, rounded up to a millisecond."""
    assert written == go_duration(seconds)


@given(st.floats(0, 1e6))
def test_durations_are_never_too_short(seconds):
    """What is written is at least the duration and at most a millisecond more."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    parts = re.findall(r"([\d.]+)(ms|[smh])", go_duration(seconds))
    read = sum(float(number) * units[unit] for number, unit in parts)
    assert seconds - 1e-6 <= read <= seconds + 0.0011


def test_headers_tell_limit_remaining_and_reset():
    """Requests and tokens have three headers each; what remains is rounded down."""
    levels = {"requests": Level(6000, 99.7, 0.003), "tokens": Level(30_000, 0.2, 59.99)}
    assert limit_headers(levels, "openai") == {
        "x-ratelimit-limit-requests": "6000",
        "x-ratelimit-remaining-requests": "99",
        "x-ratelimit-reset-requests": "3ms",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "59.99s",
    }


def test_azure_writes_seconds_and_some_write_nothing():
    """Azure's resets are whole seconds under the same names; headers can be switched off."""
    levels = {"requests": Level(6000, 99, 0.003)}
    assert limit_headers(levels, "azure")["x-ratelimit-reset-requests"] == "1"
    assert limit_headers(levels, "none") == {}


def test_the_tightest_token_limit_is_told():
    """Where input and output tokens are limited apart, the headers tell the one with the least left."""
    levels = {"input_tokens": Level(1000, 500, 1.0), "output_tokens": Level(100, 5, 1.0)}
    assert limit_headers(levels, "openai")["x-ratelimit-limit-tokens"] == "100"


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", None),
        (404, "invalid_request_error", "model_not_found"),
        (429, "requests", "rate_limit_exceeded"),
        (500, "server_error", None),
        (529, "overloaded_error", "overloaded"),
    ],
)
def test_errors_have_a_type_and_a_code(status, kind, code):
    """An error's body is OpenAI's for its status."""
    body = fault(status)["error"]
    assert (kind, code) == (body["type"], body["code"])


def test_a_refusal_says_when_to_come_back():
    """The message of a refusal names the limit, its numbers and the wait."""
    body = too_fast("tokens", Level(30_000, 12, 1.0), 0.4, 500)["error"]
    assert (body["type"], body["code"]) == ("tokens", "rate_limit_exceeded")
    assert "tokens per min (TPM). Limit 30000, remaining 12, requested 500." in body["message"]
    assert "try again in 400ms" in body["message"]
    assert "too large" in too_fast("tokens", None, math.inf, 500)["error"]["message"]


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ("both", {"retry-after-ms": "1201", "retry-after": "2"}),
        ("ms", {"retry-after-ms": "1201"}),
        ("seconds", {"retry-after": "2"}),
        ("date", {"retry-after": "Sun, 09 Sep 2001 01:46:43 GMT"}),
        ("none", {}),
    ],
)
def test_retry_after_has_many_forms_and_all_are_true(form, headers):
    """Milliseconds, seconds and dates are rounded up."""
    assert headers == retry_headers(1.2001, form, None, 1_000_000_000.0)


def test_retry_after_may_lie_or_be_silent():
    """A lie is sent as it is; what is unknown or would be never is not sent."""
    assert retry_headers(1.0, "both", "86400", 0.0) == {"retry-after": "86400"}
    assert retry_headers(None, "both", -1, 0.0) == {"retry-after": "-1"}
    assert retry_headers(None, "both", None, 0.0) == {}
    assert retry_headers(math.inf, "date", None, 0.0) == {}
