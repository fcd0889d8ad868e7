"""The recommended client, against a real server on both transports."""

import contextlib
import json
from types import SimpleNamespace

import httpx2
import openai
import pytest
from aiohttp import web

from sluiceway import call as call_module
from sluiceway.errors import MissingExtra
from sluiceway.providers import openai as module
from sluiceway.providers.errors import Fault, classify
from sluiceway.providers.headers import read_limits
from sluiceway.providers.openai import client, http_client, note_response
from sluiceway.testing import chunks, completion

LIMITS = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-reset-requests": "120ms",
    "x-request-id": "req_1",
    "set-cookie": "secret=1",
}
TRANSPORTS = ["aiohttp", "httpx"]


class Provider:
    """Answers, streams, or refuses; counts what it was asked."""

    def __init__(self):
        self.requests = 0
        self.refusals = []

    async def chat(self, request):
        self.requests += 1
        if self.refusals:
            status, headers = self.refusals.pop(0)
            if status is None:
                request.transport.abort()
            return web.json_response({"error": {"code": "scripted"}}, status=status, headers=headers)
        if not (await request.json()).get("stream"):
            return web.json_response(completion("hi", real=True).model_dump(), headers=LIMITS)
        response = web.StreamResponse(headers=LIMITS | {"content-type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks("one two", real=True):
            await response.write(f"data: {json.dumps(chunk.model_dump())}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def provider():
    served = Provider()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", served.chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
    yield served
    await runner.cleanup()


@contextlib.contextmanager
def under_way():
    """Stand in for an attempt under way: what the hook fills."""
    attempt = SimpleNamespace(status=None, headers=None, sdk_retries=0)
    token = call_module.current.set(SimpleNamespace(record=attempt))
    try:
        yield attempt
    finally:
        call_module.current.reset(token)


def ask(api, **options):
    return api.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], **options)


@pytest.mark.real
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_attempt_hears_of_the_response(provider, transport):
    """The attempt under way is told status and rate limits of its response, and no cookie."""
    async with client(api_key="x", base_url=provider.url, transport=transport) as api:
        with under_way() as attempt:
            answer = await ask(api)
    assert answer.choices[0].message.content == "hi"
    assert (200, 0, 499) == (attempt.status, attempt.sdk_retries, read_limits(attempt.headers).requests.remaining)
    assert "set-cookie" not in attempt.headers


@pytest.mark.real
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_streams(provider, transport):
    """A stream's attempt hears of its response before the first item."""
    async with client(api_key="x", base_url=provider.url, transport=transport) as api:
        with under_way() as attempt:
            stream = await ask(api, stream=True)
            assert attempt.status == 200
            text = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
    assert "one two" == "".join(piece for piece in text if piece)


@pytest.mark.real
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_retries_of_its_own(provider, transport):
    """A refusal comes straight to the layers, with its wait, after one request."""
    provider.refusals = [(429, {"retry-after": "7"})]
    async with client(api_key="x", base_url=provider.url, transport=transport) as api:
        with under_way() as attempt, pytest.raises(openai.RateLimitError) as caught:
            await ask(api)
    found = classify(caught.value)
    assert (1, 429, Fault.RATE_LIMITED, 7.0) == (provider.requests, attempt.status, found.fault, found.retry_after)


@pytest.mark.real
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sdk_retries_are_noticed(provider, transport):
    """Who asks for the client's own retries gets them, and the attempt hears how many there were."""
    provider.refusals = [(429, {"retry-after-ms": "1"}), (500, {"retry-after-ms": "1"})]
    async with client(api_key="x", base_url=provider.url, transport=transport, max_retries=2) as api:
        with under_way() as attempt:
            await ask(api)
    assert (3, 2, 200) == (provider.requests, attempt.sdk_retries, attempt.status)


@pytest.mark.real
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_broken_attempts_lose_no_answer(provider, transport):
    """Whatever goes wrong while the response is noted, the answer arrives: it is paid for."""
    async with client(api_key="x", base_url=provider.url, transport=transport) as api:
        token = call_module.current.set(object())
        try:
            answer = await ask(api)
        finally:
            call_module.current.reset(token)
    assert answer.choices[0].message.content == "hi"


@pytest.mark.real
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_outside_of_a_call(provider, transport):
    """Without a call around it the client just works."""
    async with client(api_key="x", base_url=provider.url, transport=transport) as api:
        assert (await ask(api)).model == "gpt-4o-mini"


@pytest.mark.real
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_refused_connections_were_not_sent(transport, unused_tcp_port):
    """A connection that nobody accepts is transient, and known never to have carried the request."""
    async with client(api_key="x", base_url=f"http://127.0.0.1:{unused_tcp_port}/v1", transport=transport) as api:
        with pytest.raises(openai.APIConnectionError) as caught:
            await ask(api)
    found = classify(caught.value)
    assert (Fault.TRANSIENT, False) == (found.fault, found.sent)


@pytest.mark.real
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_broken_answers_were_sent(provider, transport):
    """A server that hangs up instead of answering may have worked for us: possibly billed."""
    provider.refusals = [(None, None)]
    async with client(api_key="x", base_url=provider.url, transport=transport) as api:
        with pytest.raises(openai.APIConnectionError) as caught:
            await ask(api)
    found = classify(caught.value)
    assert (Fault.TRANSIENT, True) == (found.fault, found.sent)


async def test_hook_survives_anything():
    """The hook raises nothing, whatever it is given."""
    with under_way() as attempt:
        await note_response(object())
        await note_response(httpx2.Response(503))  # has no request
    assert attempt.status == 503


@pytest.mark.parametrize("limit", [1, 2000, None])
async def test_connections_fit_the_bound(limit):
    """All the connections that a bound needs may be open, and are kept alive."""
    async with http_client(max_connections=limit, transport="httpx") as plain:
        pool = plain._transport._pool
        assert [limit or float("inf")] * 2 == [_number(pool._max_connections), _number(pool._max_keepalive_connections)]
    async with http_client(max_connections=limit, transport="aiohttp") as fast, fast._transport.get_client() as session:
        assert (limit or 0) == session.connector.limit


def _number(limit):
    return float("inf") if limit is None or limit > 10**9 else limit


async def test_defaults():
    """Unless told otherwise the client leaves retries to the layers and takes the faster transport."""
    async with client(api_key="x") as api:
        assert (0, openai.DefaultAioHttpClient) == (api.max_retries, type(api._client))


async def test_options_reach_the_client():
    """What `AsyncOpenAI` takes may be given, a timeout as any duration."""
    async with client(api_key="x", timeout="2m", organization="acme", transport="httpx") as api:
        assert (120.0, "acme") == (api.timeout, api.organization)


async def test_without_aiohttp(monkeypatch):
    """Where aiohttp is not installed `auto` takes httpx, and asking for aiohttp says what to install."""
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    async with client(api_key="x") as api:
        assert type(api._client) is openai.DefaultAsyncHttpxClient
    with pytest.raises(MissingExtra, match=r"sluiceway\[aiohttp\]"):
        client(api_key="x", transport="aiohttp")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_connections": 0}, ValueError, "max_connections=0 must be an int of at least 1, or None"),
        ({"max_connections": "many"}, ValueError, "max_connections='many' must be"),
        ({"transport": "pigeon"}, ValueError, "transport='pigeon' must be 'auto', 'aiohttp' or 'httpx'"),
        ({"timeout": "soon"}, ValueError, "timeout='soon' is not a duration"),
        ({"base_url": "localhost:8911/v1"}, ValueError, "base_url='localhost:8911/v1' must begin with http://"),
        ({"base_url": "https://"}, ValueError, "base_url='https://' must begin with http:// or https:// and a host"),
        ({"http_client": object()}, TypeError, r"AsyncOpenAI\(http_client=..., max_retries=0\)"),
    ],
)
def test_bad_settings(options, error, text):
    """A setting that cannot be right is refused at once, with what is allowed."""
    with pytest.raises(error, match=text):
        client(**{"api_key": "x", **options})


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-sécret", "sk-secret\x00"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key, monkeypatch):
    """Each call would fail with it, after all layers; so does one of the environment, by its name."""
    with pytest.raises(ValueError, match="api_key has a line break") as caught:
        client(api_key=key)
    assert "cret" not in str(caught.value)
    if "\x00" not in key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(ValueError, match="OPENAI_API_KEY has a line break"):
            client()


def test_an_address_of_the_environment_is_looked_at_too(monkeypatch):
    """It is where most addresses come from."""
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8911/v1")
    with pytest.raises(ValueError, match="OPENAI_BASE_URL='localhost:8911/v1' must begin"):
        client(api_key="x")
