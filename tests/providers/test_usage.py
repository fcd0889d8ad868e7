"""Usage, read from every shape that providers and their clients give it."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from sluiceway.providers import shapes
from sluiceway.providers.usage import Usage, usage_of

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 5},
    },
}
CHAT_USAGE = Usage(100, 20, 60, 5, 10)
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-4o-mini",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "status": "completed",
    "usage": {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 39,
    },
}
EMBEDDING = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [],
    "usage": {"prompt_tokens": 12, "total_tokens": 12},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "model": "claude",
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 7,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
        "output_tokens": 50,
    },
}


def namespace(data):
    """Make an object of the same shape: what a client library that is not installed returns."""
    if isinstance(data, dict):
        return SimpleNamespace(**{name: namespace(value) for name, value in data.items()})
    return [namespace(each) for each in data] if isinstance(data, list) else data


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        (ChatCompletion.model_validate(CHAT), CHAT_USAGE),
        (Response.model_validate(RESPONSE), Usage(30, 9, 8, 4)),
        (CreateEmbeddingResponse.model_validate(EMBEDDING), Usage(12, 0)),
        (CHAT, CHAT_USAGE),
        (RESPONSE, Usage(30, 9, 8, 4)),
        (EMBEDDING, Usage(12)),
        (namespace(CHAT), CHAT_USAGE),
    ],
    ids=["chat", "response", "embedding", "chat dict", "response dict", "embedding dict", "look-alike"],
)
def test_openai(value, usage):
    """Chat completions, responses and embeddings are read, as objects and as dicts."""
    assert usage == usage_of(value)


@pytest.mark.parametrize("value", [MESSAGE, namespace(MESSAGE)], ids=["dict", "object"])
def test_anthropic_counts_the_cache_in(value):
    """Anthropic's input leaves the cache out; ours is what the model read and the bill shows."""
    assert Usage(1107, 50, 1000, 0, 100) == usage_of(value)


def test_total_and_sum():
    """Usages add up field by field, from nothing too, and their total is input and output."""
    added = sum([CHAT_USAGE, Usage(1, 2, 3, 4, 5)], Usage())
    assert (Usage(101, 22, 63, 9, 15), 123) == (added, added.total)


def test_usages_add_to_usages_only():
    """Adding a number to a usage is an error and not a guess."""
    with pytest.raises(TypeError):
        Usage() + 1


@dataclass
class Answer:
    text: str
    usage: object


@dataclass(slots=True)
class SlottedAnswer:
    text: str
    usage: object


JSON_TYPE = {"content-type": "application/json"}


class Pair(NamedTuple):
    text: str
    usage: object


class Property:
    @property
    def usage(self):
        return CHAT["usage"]


@pytest.mark.parametrize(
    "value",
    [
        CHAT_USAGE,
        Answer("hi", CHAT_USAGE),
        Answer("hi", CHAT["usage"]),
        SlottedAnswer("hi", CHAT["usage"]),
        Pair("hi", CHAT["usage"]),
        Property(),
        ("hi", CHAT),
        (["parsed"], ChatCompletion.model_validate(CHAT)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_functions_return_around_it(value):
    """A function that returns its own object, or a tuple with the completion, is still counted."""
    assert CHAT_USAGE == usage_of(value)


def test_instructor():
    """An object parsed by Instructor carries the completion it came from."""
    parsed = SimpleNamespace(name="Ada", _raw_response=ChatCompletion.model_validate(CHAT))
    assert CHAT_USAGE == usage_of(parsed)


def test_error_with_a_completion():
    """An answer cut off by its limit is raised, but it was paid for."""
    error = openai.LengthFinishReasonError(completion=ChatCompletion.model_validate(CHAT))
    assert CHAT_USAGE == usage_of(error)


async def test_raw_responses():
    """What `with_raw_response` returns is read, once, so that the caller's own `parse` costs nothing more."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=CHAT))
    http = httpx2.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(api_key="x", base_url="http://provider.test", http_client=http) as api:
        raw = await api.chat.completions.with_raw_response.create(model="m", messages=[])
        assert CHAT_USAGE == usage_of(raw)
        assert raw.parse() is raw.parse()


async def test_unreadable_raw_responses():
    """A raw response that cannot be parsed has no usage, and fails in the caller's own hands."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=b"{torn", headers=JSON_TYPE))
    http = httpx2.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(api_key="x", base_url="http://provider.test", http_client=http) as api:
        raw = await api.chat.completions.with_raw_response.create(model="m", messages=[])
        assert usage_of(raw) is None
        with pytest.raises(ValueError, match="Expecting property name"):
            raw.parse()


async def test_raw_streams_are_left_alone():
    """A raw response whose body has not been read is the caller's to read."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=_events()))
    http = httpx2.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(api_key="x", base_url="http://provider.test", http_client=http) as api:
        raw = await api.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
        assert usage_of(raw) is None
        assert [] == [chunk async for chunk in raw.parse()]


async def _events():
    yield b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        b"bytes",
        7,
        1.5,
        True,
        [CHAT],
        {"usage": "how to use it"},
        {"usage": {"words": 7}},
        {"usage": {"prompt_tokens": "7"}},
        {"usage": None},
        {},
        object(),
        SimpleNamespace(),
        SimpleNamespace(usage=SimpleNamespace(seconds=3)),
        (),
        ("a", "b"),
        ((CHAT,),),
        ValueError("no"),
        Usage,
        test_openai,
    ],
    ids=repr,
)
def test_nothing_to_read(value):
    """What reports no token counts has no usage, whatever it is."""
    assert usage_of(value) is None


class Trouble:
    @property
    def usage(self):
        raise RuntimeError("not now")


def test_properties_that_raise():
    """A property that raises is as good as none: the answer in hand matters more."""
    assert usage_of(Trouble()) is None


@pytest.mark.parametrize("count", [None, -3, 2.5, "9", True])
def test_counts_that_are_none(count):
    """A count that is no positive int counts as 0 beside one that is."""
    assert Usage(10, 0) == usage_of({"usage": {"prompt_tokens": 10, "completion_tokens": count}})


def test_types_are_forgotten_in_the_end(monkeypatch):
    """A program that makes types without end does not fill the memory with them."""
    monkeypatch.setattr(shapes, "_MANY", 10)
    for i in range(30):
        usage_of(type(f"T{i}", (), {})())
    assert len(shapes.openers) <= 10


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["usage", "prompt_tokens", "input_tokens", "prompt_tokens_details", "x"]), inner
        )
    ),
    max_leaves=8,
)


@given(json)
def test_never_raises(value):
    """Whatever a provider sends, reading its usage raises nothing."""
    for shape in (value, namespace(value)):
        usage = usage_of(shape)
        assert usage is None or usage.total >= 0
