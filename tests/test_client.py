"""A real `AsyncOpenAI` whose calls run through a pipeline, and which is otherwise itself."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from unittest.mock import AsyncMock

import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from mock_openai import Server, client_of
from sluiceway import Pipeline, bounded, layers_of, timed
from spies import Observed, Passing, Stream

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


class Answer(BaseModel):
    """What a structured answer is parsed into."""

    answer: int


@pytest.fixture
def server():
    return Server('{"answer": 4}')


@pytest.fixture
def bound():
    return bounded(2)


@pytest.fixture
async def client(server, bound):
    async with Pipeline(timed(60), bound, name="openai").wrap(client_of(server)) as client:
        yield client


async def test_it_is_taken_for_the_client_it_wraps(client):
    """`isinstance`, attributes and settings are the client's own; so are those of its resources."""
    assert isinstance(client, openai.AsyncOpenAI)
    assert isinstance(client.chat.completions, type(client.__wrapped__.chat.completions))
    assert "x" == client.api_key
    assert 0 == client.max_retries
    assert "http://provider/v1/" == str(client.base_url)
    assert not client.is_closed()
    client.api_key = "y"
    assert "y" == client.__wrapped__.api_key


ASKING = {
    "chat.completions.create": lambda c: c.chat.completions.create(**CHAT),
    "chat.completions.parse": lambda c: c.chat.completions.parse(**CHAT, response_format=Answer),
    "beta.chat.completions.parse": lambda c: c.beta.chat.completions.parse(**CHAT, response_format=Answer),
    "responses.create": lambda c: c.responses.create(model="gpt-4o-mini", input="hello"),
    "responses.parse": lambda c: c.responses.parse(model="gpt-4o-mini", input="hello", text_format=Answer),
    "embeddings.create": lambda c: c.embeddings.create(model="text-embedding-3-small", input="hello"),
    "with_raw_response": lambda c: c.chat.completions.with_raw_response.create(**CHAT),
    "client.with_raw_response": lambda c: c.with_raw_response.chat.completions.create(**CHAT),
    "with_options": lambda c: c.with_options(timeout=5).chat.completions.create(**CHAT),
    "copy": lambda c: c.copy(timeout=5).with_options(max_retries=0).responses.create(model="m", input="hello"),
}


@pytest.mark.parametrize("way", ASKING)
async def test_every_way_to_ask_runs_through_the_pipeline_once(client, way):
    """One call with one attempt, named by the pipeline, whose answer is openai's own object."""
    with Observed() as observed:
        result = await ASKING[way](client)
    assert {"CallStarted": 1, "AttemptStarted": 1, "AttemptFinished": 1, "CallFinished": 1} == {
        kind: count
        for kind, count in observed.counts().items()
        if kind in ("CallStarted", "AttemptStarted", "AttemptFinished", "CallFinished")
    }
    assert "openai" == observed.events[0].call.name
    assert result is observed.events[0].call.run.last.result


async def test_answers_are_openais_own_objects(client):
    """Plain, parsed and raw."""
    answer = await client.chat.completions.create(**CHAT)
    assert isinstance(answer, ChatCompletion)
    parsed = await client.chat.completions.parse(**CHAT, response_format=Answer)
    assert Answer(answer=4) == parsed.choices[0].message.parsed
    response = await client.responses.parse(model="gpt-4o-mini", input="hello", text_format=Answer)
    assert Answer(answer=4) == response.output_parsed
    raw = await client.chat.completions.with_raw_response.create(**CHAT)
    assert 200 == raw.status_code
    assert '{"answer": 4}' == raw.parse().choices[0].message.content


async def test_usage_is_known_for_each_kind_of_answer(client):
    """Chat completions, responses, embeddings and raw responses report what they took."""
    with Observed() as observed:
        for way in ("chat.completions.create", "responses.create", "embeddings.create", "with_raw_response"):
            await ASKING[way](client)
    attempts = [event.attempt for event in observed.events if type(event).__name__ == "AttemptFinished"]
    assert [True] * 4 == [attempt.usage is not None and attempt.usage.input_tokens > 0 for attempt in attempts]


async def test_a_streamed_create_holds_its_permit_until_it_is_read(client, bound):
    """The stream is openai's `AsyncStream`, its call over at its end."""
    stream = await client.chat.completions.create(**CHAT, stream=True)
    assert isinstance(stream, openai.AsyncStream)
    assert 1 == bound.snapshot()[0].in_flight
    chunks = [chunk async for chunk in stream]
    assert "one two three" == "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert 0 == bound.snapshot()[0].in_flight


async def test_a_streamed_create_in_a_block_is_closed_by_it(client, bound):
    """`async with await create(stream=True)` as openai's documentation writes it."""
    async with await client.chat.completions.create(**CHAT, stream=True) as stream:
        async for _ in stream:
            break
    assert 0 == bound.snapshot()[0].in_flight


async def test_all_resources_and_copies_share_the_pipelines_state(client, bound):
    """A bound of two holds two calls, whatever way they are made."""
    most = []

    class Slow(Server):
        def handle(self, request):
            most.append(bound.snapshot()[0].in_flight)
            return super().handle(request)

    client = Pipeline(bound).wrap(client_of(Slow()))
    await asyncio.gather(
        client.chat.completions.create(**CHAT),
        client.with_options(timeout=1).chat.completions.create(**CHAT),
        client.responses.create(model="m", input="x"),
        client.embeddings.create(model="m", input="x"),
    )
    assert 4 == len(most)
    assert max(most) <= 2
    await client.close()


async def test_what_is_no_call_to_a_model_is_the_clients_own(client):
    """Listing, retrieving, posting by hand: not through the pipeline, and not changed."""
    assert client.models.list == client.__wrapped__.models.list
    assert client.post == client.__wrapped__.post
    assert () == layers_of(client.chat.completions.list)


async def test_functions_found_on_it_look_like_the_clients(client):
    """Instructor asks for signatures and names."""
    create = client.chat.completions.create
    raw = client.__wrapped__.chat.completions.create
    assert inspect.signature(raw) == inspect.signature(create)
    assert raw.__name__ == create.__name__
    assert 2 == len(layers_of(create))
    assert create is client.chat.completions.create


async def test_wrapping_twice_puts_the_second_pipeline_in_front(server):
    """One call through both, not a call inside of a call."""
    outer, inner = Passing(), bounded(1)
    client = Pipeline(outer).wrap(Pipeline(inner).wrap(client_of(server)))
    assert (outer, inner) == layers_of(client.chat.completions.create)
    with Observed() as observed:
        await client.chat.completions.create(**CHAT)
    assert 1 == observed.counts()["CallStarted"]
    await client.close()


async def test_a_replaced_method_is_the_one_that_is_called(client, bound, monkeypatch):
    """A test that patches `create` on the wrapped client is obeyed, and finds all as before when it is over."""

    async def fake(**kwargs):
        return f"fake, {bound.snapshot()[0].in_flight} in flight"

    await client.chat.completions.create(**CHAT)
    with monkeypatch.context() as patch:
        patch.setattr(client.chat.completions, "create", fake)
        assert "fake, 1 in flight" == await client.chat.completions.create(**CHAT)
    assert isinstance(await client.chat.completions.create(**CHAT), ChatCompletion)
    assert 2 == len(layers_of(client.chat.completions.create))


async def test_the_block_of_the_client_closes_it(server):
    """`async with pipeline.wrap(client) as c` gives the wrapped one and closes the client."""
    plain = client_of(server)
    async with Pipeline(Passing()).wrap(plain) as client:
        assert client is not plain
        assert layers_of(client.chat.completions.create)
    assert plain.is_closed()


def test_a_synchronous_client_is_refused():
    """The error names the asynchronous one."""
    client = client_of(Server(), openai.OpenAI)
    with pytest.raises(TypeError, match=r"OpenAI is synchronous.*use AsyncOpenAI"):
        Pipeline(bounded(1)).wrap(client)
    client.close()


@pytest.mark.parametrize("thing", [5, None, SimpleNamespace(chat=None), openai.AsyncOpenAI], ids=str)
def test_what_is_no_client_is_refused(thing):
    """Neither `chat.completions` nor `responses` nor `messages`: nothing there could run through layers."""
    with pytest.raises(TypeError, match=r"no chat\.completions, responses or messages"):
        Pipeline(bounded(1)).wrap(thing)


async def test_a_client_of_another_provider_is_told_by_its_shape():
    """`messages.create`, as anthropic's client has it, runs through the pipeline, streams too."""

    class AsyncMessagesResource:
        async def create(self, *, stream=False):
            return Stream() if stream else "a message"

    class AsyncProvider:
        messages = AsyncMessagesResource()

    bound = bounded(1)
    client = Pipeline(bound).wrap(AsyncProvider())
    assert isinstance(client, AsyncProvider)
    assert "a message" == await client.messages.create()
    stream = await client.messages.create(stream=True)
    assert 1 == bound.snapshot()[0].in_flight
    assert [1, 2, 3] == [item async for item in stream]


async def create(**_):
    return "an answer"


class Completions:
    """As clients have it whose classes are not called resources."""

    async def create(self, **_):
        return await create()


class AsyncChat:
    """A group, made anew by each look at it."""

    @property
    def completions(self):
        return Completions()


class AsyncOther:
    """A client of another make."""

    api_key = "x"
    beta = True

    def __init__(self):
        self.chat = AsyncChat()
        self.rerank = Completions()


@pytest.mark.parametrize(
    "plain",
    [AsyncOther(), SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create))), AsyncMock()],
    ids=["classes", "namespaces", "mocks"],
)
async def test_no_call_of_a_client_of_another_make_goes_past_the_layers(plain):
    """It was accepted, and none of its calls went through, as its resources are not called so."""
    bound = bounded(1)
    client = Pipeline(bound).wrap(plain)
    assert (bound,) == layers_of(client.chat.completions.create)
    await client.chat.completions.create(model="m")
    assert 1 == bound.snapshot()[0].limit


async def test_what_stands_beside_the_calls_of_another_client_is_its_own():
    """Groups by any name have their calls wrapped; a flag and a key are what they were."""
    bound = bounded(1)
    plain = AsyncOther()
    client = Pipeline(bound).wrap(plain)
    assert (bound,) == layers_of(client.rerank.create)
    assert "x" == client.api_key
    assert client.beta is True
    mock = Pipeline(bound).wrap(AsyncMock())
    assert mock.close is mock.__wrapped__.close


async def test_an_empty_pipeline_makes_calls_too(server):
    """Without layers the client's calls are still told to whoever listens."""
    async with Pipeline(name="watched").wrap(client_of(server)) as client:
        with Observed() as observed:
            await client.chat.completions.create(**CHAT)
    assert ["watched"] == [event.call.name for event in observed.events if type(event).__name__ == "CallFinished"]
