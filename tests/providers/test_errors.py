"""What errors mean, told by their shape: real ones of installed clients, look-alikes of the others."""

import asyncio
import errno
import socket
import tarfile
from http import HTTPStatus
from types import SimpleNamespace

import aiohttp
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import CircuitOpen, RateLimited, TimedOut
from sluiceway.providers.errors import Classification, Fault, classify, headers_of
from sluiceway.providers.retry_after import LONGEST

NOW = 1_772_366_400.0  # 2026-03-01T12:00:00Z
REQUEST = httpx2.Request("POST", "https://provider.test/v1/chat/completions")


def openai_error(status, body=None, headers=None):
    """Make the exception that the real client makes of a response."""
    response = httpx2.Response(status, headers=headers, request=REQUEST, json=body or {})
    return openai.AsyncOpenAI(api_key="x")._make_status_error_from_response(response)


def error_body(code, kind=None):
    return {"error": {"message": "no", "type": kind or code, "param": None, "code": code}}


def named(name, module, base=Exception, **attributes):
    """Make an exception of a library that is not installed."""
    error = type(name, (base,), {"__module__": module})("no")
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


def caused(error, *causes):
    """Chain *error* to its causes as `raise ... from ...` does."""
    for cause in causes:
        error.__cause__ = cause
        error = cause


STATUSES = {
    400: Fault.OURS_TO_FIX,
    401: Fault.OURS_TO_FIX,
    402: Fault.QUOTA,
    403: Fault.OURS_TO_FIX,
    404: Fault.OURS_TO_FIX,
    408: Fault.TRANSIENT,
    409: Fault.TRANSIENT,
    413: Fault.OURS_TO_FIX,
    422: Fault.OURS_TO_FIX,
    429: Fault.RATE_LIMITED,
    500: Fault.TRANSIENT,
    502: Fault.TRANSIENT,
    503: Fault.OVERLOADED,
    504: Fault.TRANSIENT,
    524: Fault.TRANSIENT,
    529: Fault.OVERLOADED,
}
AGAIN = {Fault.RATE_LIMITED, Fault.TRANSIENT, Fault.OVERLOADED, Fault.TIMEOUT}


@pytest.mark.parametrize(("status", "fault"), STATUSES.items())
def test_status_of_openai(status, fault):
    """A status decides whose fault an error of the real client is, and whether to try again."""
    assert Classification(fault, fault in AGAIN, status) == classify(openai_error(status))


@pytest.mark.parametrize(
    "attributes",
    [
        {"status_code": 503},
        {"status": 503},
        {"response": SimpleNamespace(status_code=503)},
        {"response": SimpleNamespace(status=503)},
        {"response": {"ResponseMetadata": {"HTTPStatusCode": 503}}},
        {"code": HTTPStatus.SERVICE_UNAVAILABLE},
        {"code": "503"},
    ],
    ids=["openai", "aiohttp", "httpx", "response.status", "botocore", "google", "vllm"],
)
def test_status_wherever_it_stands(attributes):
    """The status is found where each library keeps it."""
    found = classify(named("Error", "some.client", **attributes))
    assert (Fault.OVERLOADED, 503) == (found.fault, found.status)


def test_insufficient_quota_is_never_retried():
    """No money is not too fast: one `insufficient_quota` made 12 requests elsewhere."""
    error = openai_error(429, error_body("insufficient_quota"), {"retry-after": "1"})
    found = classify(error)
    assert (Fault.QUOTA, False, "insufficient_quota") == (found.fault, found.retryable, found.code)


def test_should_retry_cannot_revive_a_quota():
    """Even a server that says so does not get a second request without money."""
    error = openai_error(429, error_body("insufficient_quota"), {"x-should-retry": "true"})
    assert not classify(error).retryable


def test_quota_in_type_or_body():
    """The quota is recognised by its type alone, and in a body that nobody unpacked."""
    by_type = openai_error(429, error_body(None, "insufficient_quota"))
    by_body = named("Error", "x", status_code=429, body={"error": {"code": "insufficient_quota"}})
    assert [Fault.QUOTA] * 2 == [classify(by_type).fault, classify(by_body).fault]


@pytest.mark.parametrize(
    ("body", "status", "fault"),
    [
        ({"type": "error", "error": {"type": "overloaded_error"}}, 529, Fault.OVERLOADED),
        ({"type": "error", "error": {"type": "overloaded_error"}}, 500, Fault.OVERLOADED),
        ({"type": "error", "error": {"type": "overloaded_error"}}, 200, Fault.OVERLOADED),
        ({"type": "error", "error": {"type": "api_error"}}, 200, Fault.TRANSIENT),
        ({"type": "error", "error": {"type": "rate_limit_error"}}, 429, Fault.RATE_LIMITED),
        ({"type": "error", "error": {"type": "billing_error"}}, 400, Fault.QUOTA),
        ({"type": "error", "error": {"type": "invalid_request_error"}}, 400, Fault.OURS_TO_FIX),
    ],
)
def test_anthropic(body, status, fault):
    """Anthropic names its errors in the body, and in mid-stream under a status of 200."""
    error = named("APIStatusError", "anthropic", status_code=status, body=body)
    found = classify(error)
    assert (fault, body["error"]["type"]) == (found.fault, found.code)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"type": "server_error", "code": None}, Fault.TRANSIENT),
        ({"type": "requests", "code": "rate_limit_exceeded"}, Fault.RATE_LIMITED),
        ({"type": "InternalServerError", "code": 500}, Fault.TRANSIENT),
        ({"type": None, "code": "content_filter"}, Fault.OURS_TO_FIX),
        ({"message": "?"}, Fault.TRANSIENT),
    ],
)
def test_openai_in_mid_stream(body, fault):
    """An error inside of a stream has no status: its code decides, and what has none is the provider's."""
    assert fault is classify(openai.APIError("no", REQUEST, body=body)).fault


@pytest.mark.parametrize("name", ["ContentFilterFinishReasonError", "LengthFinishReasonError"])
def test_answers_that_cannot_be_used(name):
    """A filtered or cut answer would come out the same again."""
    assert Classification(Fault.OURS_TO_FIX, retryable=False) == classify(named(name, "openai"))


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [("ThrottlingException", 400, Fault.RATE_LIMITED), ("ValidationException", 400, Fault.OURS_TO_FIX)],
)
def test_botocore(code, status, fault):
    """Bedrock calls a request too fast under 400, and names it."""
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert fault is classify(named("ClientError", "botocore.exceptions", response=response)).fault


def test_google():
    """Google gives a number and a word."""
    error = named("ClientError", "google.genai.errors", code=429, status="RESOURCE_EXHAUSTED")
    found = classify(error)
    assert (Fault.RATE_LIMITED, 429, "RESOURCE_EXHAUSTED") == (found.fault, found.status, found.code)


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (ConnectionResetError(), True),
        (BrokenPipeError(), True),
        (ConnectionRefusedError(), False),
        (socket.gaierror(), False),
        (asyncio.IncompleteReadError(b"", 1), True),
        (httpx2.ConnectError("no"), False),
        (httpx2.ConnectTimeout("no"), False),
        (httpx2.PoolTimeout("no"), False),
        (httpx2.ReadTimeout("no"), True),
        (httpx2.ReadError("no"), True),
        (httpx2.RemoteProtocolError("no"), True),
        (httpx2.WriteError("no"), True),
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ClientPayloadError(), True),
        (aiohttp.ClientOSError(errno.ECONNRESET, "no"), True),
        (aiohttp.SocketTimeoutError(), True),
        (aiohttp.ConnectionTimeoutError(), False),
        (openai.APIConnectionError(request=REQUEST), True),
        (openai.APITimeoutError(request=REQUEST), True),
        (named("APIConnectionError", "anthropic"), True),
        (named("ReadTimeout", "httpx"), True),
        (named("ConnectionError", "requests.exceptions"), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_broken_connections(error, sent):
    """A connection that breaks is worth another try, and known is whether the request may have left."""
    assert Classification(Fault.TRANSIENT, retryable=True, sent=sent) == classify(error)


@pytest.mark.parametrize(
    "error", [httpx2.UnsupportedProtocol("no"), httpx2.LocalProtocolError("no"), aiohttp.InvalidURL("x")]
)
def test_wrong_addresses(error):
    """A request that cannot be made is ours to fix, and nothing was sent."""
    assert Classification(Fault.OURS_TO_FIX, retryable=False, sent=False) == classify(error)


@pytest.mark.parametrize(
    ("causes", "sent"),
    [
        ([httpx2.ConnectError("no"), OSError("no")], False),
        ([httpx2.ConnectTimeout("no"), TimeoutError()], False),
        ([httpx2.ConnectTimeout("no"), aiohttp.ServerDisconnectedError()], True),
        ([httpx2.ReadError("no")], True),
        ([], True),
    ],
)
def test_sent_is_told_by_the_deepest_cause(causes, sent):
    """The innermost error tells whether a request left: openai's aiohttp transport calls a hang-up a ConnectTimeout."""
    error = openai.APIConnectionError(request=REQUEST)
    caused(error, *causes)
    assert sent is classify(error).sent


@pytest.mark.parametrize("error", [TimeoutError(), TimedOut("slow", limit=1.0)])
def test_timeouts(error):
    """A `TimeoutError` is a time limit that passed, ours included; it is worth another try."""
    assert Classification(Fault.TIMEOUT, retryable=True) == classify(error)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_cancellation(error):
    """What is no `Exception` is somebody leaving; it is never retried."""
    assert Classification(Fault.CANCELLED, retryable=False) == classify(error)


def test_our_own_refusals():
    """A refusal of ours is neither retried nor sent, and keeps the wait that it names."""
    assert Classification(Fault.REFUSED, retryable=False, sent=False) == classify(CircuitOpen("open"))
    expected = Classification(
        Fault.REFUSED, retryable=False, retry_after=2.5, retry_after_source="retry_after", sent=False
    )
    assert expected == classify(RateLimited("full", retry_after=2.5))


class Shy(Exception):
    """An exception whose every attribute is trouble."""

    def __getattr__(self, name):
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("k"),
        FileNotFoundError(),
        tarfile.ReadError(),
        named("ConnectError", "mine"),
        Exception(),
    ],
)
def test_own_exceptions_are_unknown(error):
    """The caller's own exceptions are not retried, not even with a name that a client library uses."""
    assert Classification(Fault.UNKNOWN, retryable=False) == classify(error)


def test_exceptions_that_raise_when_looked_at():
    """An exception whose attributes raise is unknown, and the look at it does no harm."""
    assert Classification(Fault.UNKNOWN, retryable=False) == classify(Shy())
    assert headers_of(Shy()) == {}


def test_explicit_causes_count():
    """An exception raised from a provider's means what that one means."""
    error = ValueError("could not summarise")
    caused(error, openai_error(429, headers={"retry-after": "3"}))
    found = classify(error)
    assert (Fault.RATE_LIMITED, 429, 3.0) == (found.fault, found.status, found.retry_after)


def test_context_does_not_count():
    """An error that merely happened while another was handled does not mean what that one means."""
    error = ValueError("a bug in the handler")
    error.__context__ = openai_error(429)
    assert Fault.UNKNOWN is classify(error).fault


def test_cancelled_causes_do_not_count():
    """An exception raised from a cancellation is not one."""
    error = ValueError("no")
    caused(error, asyncio.CancelledError())
    assert Fault.UNKNOWN is classify(error).fault


def test_rings_of_causes_end():
    """A chain of causes that bites its tail is left again."""
    first, second = ValueError(), KeyError()
    caused(first, second, first)
    assert Fault.UNKNOWN is classify(first).fault
    assert headers_of(first) == {}


@pytest.mark.parametrize(
    ("status", "said", "retryable"),
    [(400, "true", True), (500, "false", False), (429, "False", False), (500, "perhaps", True), (400, "", False)],
)
def test_should_retry_overrides(status, said, retryable):
    """The server's `x-should-retry` overrides what the status suggests; anything but true and false is ignored."""
    assert retryable is classify(openai_error(status, headers={"x-should-retry": said})).retryable


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, (7.0, "retry-after")),
        ({"retry-after-ms": "1500", "retry-after": "2"}, (1.5, "retry-after-ms")),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:20 GMT"}, (20.0, "retry-after")),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"},
            (0.12, "x-ratelimit-reset-requests"),
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            (360.0, "x-ratelimit-reset-tokens"),
        ),
        (
            {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-03-01T12:00:05Z"},
            (5.0, "anthropic-ratelimit-tokens-reset"),
        ),
        ({"retry-after": "0"}, (0.0, "retry-after")),
        ({"retry-after": "-10"}, (0.0, "retry-after")),
        ({"retry-after": "soon"}, (None, "")),
        ({}, (None, "")),
    ],
)
def test_wait_of_a_429(headers, expected):
    """A 429 asks to wait by header, the finest first, else until the latest reset of what is exhausted."""
    found = classify(openai_error(429, headers=headers), now=NOW)
    assert expected == (found.retry_after, found.retry_after_source)


@pytest.mark.parametrize("lie", ["99999999999", "1e999", "Sun, 01 Mar 2999 12:00:00 GMT"])
def test_lying_retry_after_is_finite(lie):
    """However long a provider says, the answer is a finite number that a caller can cap."""
    assert LONGEST == classify(openai_error(429, headers={"retry-after": lie}), now=NOW).retry_after


def test_resets_matter_to_429_only():
    """A server error is not waited for until the rate limit, which has nothing to do with it, is whole again."""
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}
    assert classify(openai_error(500, headers=headers)).retry_after is None


def test_retry_after_as_an_attribute():
    """An error without headers may name its wait itself."""
    found = classify(named("Busy", "my.client", status_code=429, retry_after=4))
    assert (4.0, "retry_after") == (found.retry_after, found.retry_after_source)


def test_headers_of_any_case():
    """Headers are found in any case, in the error or in its response, through causes, and only those that matter."""
    error = named("ClientResponseError", "aiohttp", status=429, headers={"Retry-After": "3", "Set-Cookie": "s"})
    outer = ValueError()
    caused(outer, error)
    assert headers_of(outer) == {"retry-after": "3"}
    assert classify(outer).retry_after == 3.0
    assert headers_of(openai_error(429, headers={"X-Request-Id": "r1"})) == {"x-request-id": "r1"}


@pytest.mark.parametrize("error", [ValueError(), named("Error", "x", response=SimpleNamespace(headers=7))])
def test_no_headers(error):
    """Without a response there are no headers, and asking hurts nobody."""
    assert headers_of(error) == {}


@pytest.mark.parametrize("code", ["x" * 65, "bad key sk-123 given", "", "ключ"])
def test_codes_are_names(code):
    """What is no short name is not passed on as a code: it might be the prompt."""
    assert classify(named("Error", "x", status_code=400, code=code)).code is None


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dictionaries(st.text(), st.integers())
)


@given(
    st.dictionaries(
        st.sampled_from(["status", "status_code", "code", "type", "body", "response", "headers", "retry_after"]),
        anything,
    )
)
def test_never_raises(attributes):
    """Whatever an exception carries, it is classified."""
    found = classify(named("Error", "x", **attributes))
    assert found.retry_after is None or found.retry_after >= 0
    headers_of(named("Error", "x", **attributes))
