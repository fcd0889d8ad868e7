"""The embedded provider through the real client."""

import asyncio
import email.utils
import json
import subprocess
import sys
from datetime import UTC, datetime

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from sluiceway.simulator import Behaviour, Simulator, SimulatorProcess

pytestmark = pytest.mark.real

MESSAGES = [{"role": "user", "content": "x" * 40}]


@pytest.fixture
async def sim():
    """A provider without limits or faults."""
    async with Simulator(seed=1) as running:
        yield running


@pytest.fixture
async def client(sim):
    """The real client, without retries of its own."""
    async with AsyncOpenAI(base_url=sim.base_url, api_key="sim", max_retries=0) as real:
        yield real


async def ask(client, **settings):
    """Send one chat completion."""
    return await client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, **settings)


async def exhaust(stream):
    """Read a stream to its end."""
    async for _ in stream:
        pass


async def ended(sim):
    """Wait until the provider has noticed that every request is over."""
    while sim.ledger.in_flight:  # noqa: ASYNC110 - it notices by reading its sockets, which tells nobody
        await asyncio.sleep(0)


async def test_chat_completion(sim, client):
    """A chat completion has text, a finish reason and usage."""
    completion = await ask(client, max_tokens=3, n=2)
    assert [choice.message.content for choice in completion.choices] == ["flow gate pool"] * 2
    assert completion.choices[0].finish_reason == "length"
    assert (10, 6, 16) == (
        completion.usage.prompt_tokens,
        completion.usage.completion_tokens,
        completion.usage.total_tokens,
    )
    assert (10, 6) == (sim.ledger.input_tokens, sim.ledger.output_tokens)


async def test_chat_completion_streamed(sim, client):
    """A stream's pieces add up to the answer, and the last chunk has the usage when asked for."""
    sim.set(answer="You said: {prompt}!", token_gap="1ms")
    stream = await ask(client, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == f"You said: {'x' * 40}!"
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (3, 13) == (chunks[-1].usage.completion_tokens, chunks[-1].usage.total_tokens)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert sim.ledger.answered == 1


async def test_chat_stream_tells_no_usage_unasked(client):
    """Without `include_usage` no chunk has usage."""
    assert [chunk async for chunk in await ask(client, stream=True) if chunk.usage] == []


async def test_headers_are_at_hand_in_streams_and_plain_answers(sim, client):
    """Every answer carries its request's id and what is left of the limits."""
    sim.set(rpm=600, tpm=6000)
    stream = await ask(client, stream=True)
    assert stream.response.headers["x-ratelimit-remaining-requests"] == "599"
    async for _ in stream:
        pass
    raw = await client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
    assert raw.headers["x-ratelimit-limit-tokens"] == "6000"
    assert raw.headers["x-ratelimit-remaining-requests"] == "598"
    assert raw.headers["x-ratelimit-reset-requests"].endswith("ms")
    assert raw.headers["x-request-id"].startswith("req_")


async def test_response(client):
    """A response has text and usage."""
    response = await client.responses.create(model="gpt-4o-mini", input="x" * 40)
    assert response.output_text.startswith("flow gate")
    assert (10, 16, 26) == (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens)


async def test_response_streamed(client):
    """A streamed response has typed events in order, the last one with usage."""
    events = [event async for event in await client.responses.create(model="m", input="hello", stream=True)]
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text
    assert events[-1].response.usage.output_tokens == 16


async def test_response_through_the_stream_helper(client):
    """The client's own accumulation of events accepts ours."""
    async with client.responses.stream(model="m", input="hello") as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    assert final.status == "completed"
    assert final.usage.total_tokens == 18


async def test_response_cut_short(client):
    """A response that reaches `max_output_tokens` is incomplete and says why."""
    response = await client.responses.create(model="m", input="hello", max_output_tokens=2)
    assert ("incomplete", "max_output_tokens") == (response.status, response.incomplete_details.reason)
    events = [e async for e in await client.responses.create(model="m", input="x", max_output_tokens=2, stream=True)]
    assert events[-1].type == "response.incomplete"


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings(sim, client, encoding):
    """There is an embedding for each text, of the dimensions asked for, and no output to bill."""
    made = await client.embeddings.create(
        model="text-embedding-3-small", input=["one", "two"], dimensions=8, encoding_format=encoding
    )
    assert [each.index for each in made.data] == [0, 1]
    assert made.usage.prompt_tokens == 2
    assert sim.ledger.output_tokens == 0
    if encoding == "float":
        assert [len(each.embedding) for each in made.data] == [8, 8]


async def test_embeddings_as_the_client_asks_by_default(client):
    """The client asks for base64 by default and decodes it."""
    made = await client.embeddings.create(model="m", input="one")
    assert len(made.data[0].embedding) == 16


async def test_models(client):
    """Models are listed."""
    assert "gpt-4o-mini" in [model.id async for model in client.models.list()]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
async def test_errors_by_status(sim, client, status, error):
    """An error that was asked for arrives as the client's own class."""
    sim.set(errors={status: 1})
    with pytest.raises(error) as caught:
        await ask(client)
    assert status == caught.value.status_code
    assert (1, 1, 0) == (sim.ledger.accepted, sim.ledger.failed, sim.ledger.input_tokens)


async def test_refusals_say_when_to_come_back(sim, client):
    """A 429 has OpenAI's code and a retry-after in milliseconds and seconds."""
    sim.set(rpm=60, burst="1s")
    await ask(client)
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(client)
    headers = caught.value.response.headers
    assert ("rate_limit_exceeded", "requests") == (caught.value.code, caught.value.type)
    assert 900 <= int(headers["retry-after-ms"]) <= 1001
    assert headers["retry-after"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert sim.ledger.refusals == {"requests": 1}


async def test_refusals_may_lie_or_use_a_date(sim, client):
    """Retry-after may be absurd, or an HTTP date in the future."""
    sim.set(rpm=60, burst="1s", retry_after="86400")
    await ask(client)
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(client)
    assert caught.value.response.headers["retry-after"] == "86400"
    assert "retry-after-ms" not in caught.value.response.headers
    sim.set(retry_after=None, retry_after_form="date")
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(client)
    date = email.utils.parsedate_to_datetime(caught.value.response.headers["retry-after"])
    assert date > datetime.now(UTC)


async def test_a_request_too_large_is_refused_without_a_date(sim, client):
    """What can never be accepted is not told to come back."""
    sim.set(tpm=60)
    with pytest.raises(openai.RateLimitError, match="too large") as caught:
        await ask(client, max_tokens=1000)
    assert "retry-after" not in caught.value.response.headers


async def test_no_money(sim, client):
    """Lack of quota is a 429 with its own code and no retry-after."""
    sim.set(insufficient_quota=True)
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(client)
    assert caught.value.code == "insufficient_quota"
    assert "retry-after" not in caught.value.response.headers
    assert sim.ledger.refusals == {"quota": 1}


async def test_too_many_in_flight(sim, client):
    """Above the most in flight a request is refused; the one in flight is answered."""
    sim.set(max_in_flight=1, latency="50ms")
    outcomes = await asyncio.gather(ask(client), ask(client), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ChatCompletion", "RateLimitError"]
    assert sim.ledger.refusals == {"in_flight": 1}


@pytest.mark.parametrize("how", ["reset", 503])
async def test_outage_and_recovery(sim, client, how):
    """In an outage nothing is answered; after it all is as before."""
    sim.set(outage_as=how)
    sim.outage()
    with pytest.raises(openai.APIError):
        await ask(client)
    sim.outage(False)
    await ask(client)
    assert ({"outage": 1}, 1) == (sim.ledger.refusals, sim.ledger.answered)


async def test_an_outage_may_hang(sim, client):
    """In an outage that hangs, the client waits until it gives up."""
    sim.set(outage=True, outage_as="hang")
    with pytest.raises(openai.APITimeoutError):
        await ask(client, timeout=0.05)


async def test_a_reset_loses_a_paid_answer(sim, client):
    """A reset connection is an error for the client, and the answer is billed."""
    sim.set(reset_rate=1)
    with pytest.raises(openai.APIConnectionError):
        await ask(client)
    assert (1, 16, 0) == (sim.ledger.resets, sim.ledger.output_tokens, sim.ledger.answered)


async def test_a_stream_may_be_reset_half_way(sim, client):
    """A stream reset half-way bills what was generated."""
    sim.set(stream_reset_rate=1, token_gap="1ms")
    stream = await ask(client, stream=True)
    with pytest.raises(openai.APIConnectionError):
        await exhaust(stream)
    assert sim.ledger.resets == 1
    assert 0 <= sim.ledger.output_tokens < 16


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
async def test_a_stream_may_break_with_an_error(sim, client, endpoint):
    """An error event half-way reaches the reader of a stream."""
    sim.set(stream_error_rate=1)
    seen = []
    if endpoint == "chat":
        stream = await ask(client, stream=True)
        seen.append(await anext(stream))
        with pytest.raises(openai.APIError, match="breaks this stream"):
            await exhaust(stream)
    else:
        seen = [event async for event in await client.responses.create(model="m", input="x", stream=True)]
        assert seen[-1].type == "error"
    assert seen
    assert (1, 0) == (sim.ledger.failed, sim.ledger.answered)


async def test_a_client_that_leaves_a_hanging_request_is_noticed(sim, client):
    """A request that hangs is abandoned when its client gives up, and no longer in flight."""
    sim.set(hang_rate=1, hang_for=3600)
    with pytest.raises(openai.APITimeoutError):
        await ask(client, timeout=0.05)
    await ended(sim)
    assert (1, 1, 0) == (sim.ledger.hung, sim.ledger.abandoned, sim.ledger.answered)


async def test_an_endless_stream_ends_when_the_reader_leaves(sim, client):
    """A stream without end goes on past any length and stops with its reader."""
    sim.set(endless_stream=1, answer_tokens=2)
    stream = await ask(client, stream=True)
    for _ in range(20):
        await anext(stream)
    await stream.close()
    await ended(sim)
    assert sim.ledger.abandoned == 1
    assert sim.ledger.output_tokens >= 18


async def test_usage_may_be_missing(sim, client):
    """An answer or stream may tell no usage, even when asked for it."""
    sim.set(missing_usage=1)
    assert (await ask(client)).usage is None
    stream = await ask(client, stream=True, stream_options={"include_usage": True})
    assert [chunk async for chunk in stream if chunk.usage] == []
    assert (await client.responses.create(model="m", input="x")).usage is None


async def test_retries_of_the_sdk_are_seen(sim):
    """Requests that the client's SDK sends again are counted."""
    sim.set(errors={500: 1}, retry_after=0)
    async with AsyncOpenAI(base_url=sim.base_url, api_key="sim", max_retries=2) as retrying:
        retrying._calculate_retry_timeout = lambda *_: 0
        with pytest.raises(openai.InternalServerError):
            await ask(retrying)
    assert (3, 2) == (sim.ledger.offered, sim.ledger.sdk_retries)


async def test_what_makes_no_sense_is_refused(sim, client):
    """An unreadable body is a 400 that says why, an unknown path a 404."""
    with pytest.raises(openai.BadRequestError, match="'max_tokens'"):
        await ask(client, max_tokens=0)
    with pytest.raises(openai.NotFoundError):
        await client.moderations.create(input="x")
    assert (2, 2, {400: 1, 404: 1}) == (sim.ledger.offered, sim.ledger.invalid, sim.ledger.by_status)


async def test_large_prompts_are_served(client):
    """A prompt of several megabytes is no problem."""
    messages = [{"role": "user", "content": "x" * 4_000_000}]
    completion = await client.chat.completions.create(model="m", messages=messages)
    assert completion.usage.prompt_tokens == 1_000_000


async def test_anthropic_shape(sim):
    """A message has Anthropic's body and headers."""
    sim.set(rpm=60, input_tpm=600, output_tpm=300, reserve="prompt")
    body = {"model": "claude-sonnet-4-5", "max_tokens": 2, "messages": MESSAGES}
    async with aiohttp.ClientSession() as session, session.post(f"{sim.base_url}/messages", json=body) as response:
        message = await response.json()
    assert message["content"] == [{"type": "text", "text": "flow gate"}]
    assert message["stop_reason"] == "max_tokens"
    assert (10, 2) == (message["usage"]["input_tokens"], message["usage"]["output_tokens"])
    assert response.headers["anthropic-ratelimit-requests-remaining"] == "59"
    assert response.headers["anthropic-ratelimit-input-tokens-remaining"] == "590"
    assert response.headers["anthropic-ratelimit-output-tokens-limit"] == "300"
    reset = datetime.fromisoformat(response.headers["anthropic-ratelimit-requests-reset"])
    assert reset > datetime.now(UTC)
    assert response.headers["request-id"].startswith("req_")


async def test_anthropic_errors(sim):
    """A refusal has Anthropic's error body and retry-after in seconds; 529 is overloaded_error."""
    sim.set(rpm=60, burst="1s", errors={529: 1})
    body = {"model": "claude-sonnet-4-5", "max_tokens": 2, "messages": MESSAGES}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{sim.base_url}/messages", json=body) as overloaded:
            assert (await overloaded.json())["error"]["type"] == "overloaded_error"
        async with session.post(f"{sim.base_url}/messages", json=body) as refused:
            error = await refused.json()
    assert (529, 429) == (overloaded.status, refused.status)
    assert ("error", "rate_limit_error") == (error["type"], error["error"]["type"])
    assert error["request_id"] == refused.headers["request-id"]
    assert refused.headers["retry-after"] == "1"
    assert "retry-after-ms" not in refused.headers


async def test_anthropic_stream(sim):
    """A streamed message has Anthropic's events, with usage at both ends."""
    body = {"model": "claude-sonnet-4-5", "max_tokens": 2, "messages": MESSAGES, "stream": True}
    async with aiohttp.ClientSession() as session, session.post(f"{sim.base_url}/messages", json=body) as response:
        lines = (await response.text()).splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["usage"]["input_tokens"] == 10
    assert events[-2]["usage"] == {"output_tokens": 2}


async def test_ledger_and_weather_over_http(sim):
    """The ledger and the behaviour can be read, and the behaviour changed, over HTTP."""
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{sim.url}/behaviour", data='{"outage": true, "latency": "5ms"}') as changed:
            behaviour = Behaviour.of(**(await changed.json()))
        async with session.post(f"{sim.url}/behaviour", json={"rmp": 3}) as wrong:
            assert "'rmp' is no setting" in (await wrong.json())["error"]
        async with session.get(f"{sim.url}/ledger") as read:
            ledger = await read.json()
    assert Behaviour.of(outage=True, latency="5ms", seed=1) == behaviour == sim.behaviour
    assert 400 == wrong.status
    assert 0 == ledger["offered"]


async def test_the_end_cuts_what_is_under_way():
    """Leaving the block ends hanging requests; the ledger stays readable and entering again starts afresh."""
    sim = Simulator(hang_rate=1, hang_for=3600)
    async with sim:
        client = AsyncOpenAI(base_url=sim.base_url, api_key="sim", max_retries=0)
        asking = asyncio.create_task(ask(client))
        while not sim.ledger.in_flight:  # noqa: ASYNC110 - it notices by reading its sockets, which tells nobody
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="running already"):
            await sim.__aenter__()
    with pytest.raises(openai.APIConnectionError):
        await asking
    await client.close()
    assert (1, 0) == (sim.ledger.abandoned, sim.ledger.in_flight)
    sim.set(hang_rate=0)
    async with sim:
        assert sim.ledger.offered == 0


def test_what_needs_a_running_server_says_so():
    """Before the start there is neither a URL nor a ledger."""
    sim = Simulator()
    with pytest.raises(RuntimeError, match="async with"):
        _ = sim.base_url
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = sim.ledger
    assert "not running" in repr(sim)


@pytest.mark.parametrize("make", [Simulator, SimulatorProcess])
async def test_without_aiohttp_the_error_says_what_to_install(make, monkeypatch):
    """A missing extra is an ImportError that names it."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ImportError, match=r"pip install 'sluiceway\[simulator\]'"):
        await make().__aenter__()


def test_importing_it_is_cheap():
    """Importing the simulator imports neither aiohttp nor the client."""
    code = "import sys, sluiceway.simulator; print({'aiohttp', 'openai', 'click'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "set()" == printed.strip()


async def test_a_taken_port_is_an_error(sim):
    """A port that is taken is an OSError, and leaves nothing running."""
    with pytest.raises(OSError, match="address already in use"):
        await Simulator(port=int(sim.url.rpartition(":")[2])).__aenter__()


@pytest.mark.parametrize("arguments", [{"port": -1}, {"port": 70_000}, {"rpm": -1}])
def test_nonsense_is_refused_at_construction(arguments):
    """Ports and settings are checked when the object is made."""
    with pytest.raises(ValueError, match="="):
        Simulator(**arguments)
