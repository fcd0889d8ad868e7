"""Usage gathered from the chunks of streams as they pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseCompletedEvent, ResponseTextDeltaEvent

from sluiceway.providers.facts import ResponseFacts
from sluiceway.providers.stream_usage import StreamUsage
from sluiceway.providers.usage import Usage
from sluiceway.testing import chunks


def noted(items):
    """Return what a `StreamUsage` knows after *items*."""
    reader = StreamUsage()
    for item in items:
        reader.note(item)
    return reader


def as_dicts(items):
    return [item.model_dump() for item in items]


@pytest.mark.parametrize("make", [lambda items: items, as_dicts], ids=["objects", "dicts"])
def test_chat_chunks(make):
    """A chat stream's usage stands in its last chunk; id, model and finish reason in the others."""
    items = make(chunks("one two three", prompt_tokens=11, completion_tokens=3, cached_tokens=4, real=True))
    reader = noted(items)
    assert (Usage(11, 3, 4), len(items)) == (reader.usage, reader.items)
    assert ResponseFacts("chatcmpl-scripted", "gpt-4o-mini", ("stop",)) == reader.facts


@pytest.mark.parametrize("make", [lambda items: items, as_dicts], ids=["objects", "dicts"])
def test_chat_chunks_without_usage(make):
    """Where nobody asked for the usage there is none, and the output is guessed from its characters."""
    reader = noted(make(chunks(["x" * 80, "y" * 20], usage=False, real=True)))
    assert (None, 25) == (reader.usage, reader.estimated_output)


def test_the_first_chunk_of_azure_names_no_model():
    """It is about the prompt; a deployment's own name has no price, so that the stream had none at all."""
    about = {"id": "", "model": "", "object": "", "created": 0, "choices": [], "prompt_filter_results": []}
    reader = noted([about, *as_dicts(chunks("one", real=True))])
    assert ResponseFacts("chatcmpl-scripted", "gpt-4o-mini", ("stop",)) == reader.facts


def test_each_chunk_is_at_least_a_token():
    """Short pieces, as of Chinese, are guessed a token each."""
    reader = noted(chunks(["人", "人", "生", "而"], usage=False))
    assert reader.estimated_output == 4


def test_tool_calls_are_output():
    """The arguments of a tool call were generated as well."""
    call = {"index": 0, "function": {"arguments": "x" * 40}}
    reader = noted([{"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}])
    assert reader.estimated_output == 10


def test_several_choices():
    """With n > 1 every choice's reason for its end is kept."""
    reader = noted(
        {"model": "m", "choices": [{"index": i, "delta": {}, "finish_reason": reason}]}
        for i, reason in enumerate(["stop", "length"])
    )
    assert ResponseFacts(None, "m", ("stop", "length")) == reader.facts


RESPONSE = {
    "id": "resp_1",
    "model": "gpt-4o-mini",
    "status": "completed",
    "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
}
EVENTS = [
    {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-4o-mini", "status": "in_progress"}},
    {"type": "response.output_text.delta", "delta": "x" * 12},
    {"type": "response.output_text.done", "text": "x" * 12},
]


def test_events_of_responses():
    """The usage of a streamed response stands in its last event."""
    reader = noted([*EVENTS, {"type": "response.completed", "response": RESPONSE}])
    assert Usage(5, 7) == reader.usage
    assert ResponseFacts("resp_1", "gpt-4o-mini", ("completed",)) == reader.facts


def test_unfinished_response():
    """A response that breaks off has no usage; what it said so far is guessed by its characters."""
    reader = noted(EVENTS)
    assert (None, 3) == (reader.usage, reader.estimated_output)


def test_event_objects_of_openai():
    """The real event classes are read like dicts."""
    delta = ResponseTextDeltaEvent.model_construct(type="response.output_text.delta", delta="four", sequence_number=1)
    end = ResponseCompletedEvent.model_construct(type="response.completed", response=RESPONSE, sequence_number=2)
    reader = noted([delta, end])
    assert (Usage(5, 7), 1) == (reader.usage, reader.estimated_output)


MESSAGE = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "model": "claude",
            "stop_reason": None,
            "usage": {
                "input_tokens": 3,
                "cache_read_input_tokens": 10,
                "cache_creation_input_tokens": 0,
                "output_tokens": 1,
            },
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
]


def test_events_of_messages():
    """Anthropic tells the input at the start of the stream and the output at its end."""
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
    reader = noted([*MESSAGE, end, {"type": "message_stop"}])
    assert Usage(13, 9, 10) == reader.usage
    assert ResponseFacts("msg_1", "claude", ("end_turn",)) == reader.facts


def test_messages_that_repeat_their_input():
    """Where the end tells the input too, cumulative as it is, the end is believed."""
    end = {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 20, "output_tokens": 9}}
    assert Usage(20, 9) == noted([*MESSAGE, end]).usage


def test_unfinished_message():
    """The output that a message starts with is no usage: the answer has hardly begun."""
    reader = noted(MESSAGE)
    assert (None, 3) == (reader.usage, reader.estimated_output)


def test_plain_text():
    """A generator of plain text is guessed by its characters."""
    reader = noted(["Hello, ", "world", ""])
    assert (None, 3, 3) == (reader.usage, reader.items, reader.estimated_output)


@pytest.mark.parametrize(
    "item", [None, 7, [1.5], object(), {}, {"choices": []}, {"choices": 3}, {"delta": 5}, {"type": None}]
)
def test_other_items(item):
    """Items of no known shape are counted, mean no output, and hurt nobody."""
    reader = noted([item])
    assert (None, 1, 0) == (reader.usage, reader.items, reader.estimated_output)


def test_nothing_yet():
    """Before the first chunk nothing is known."""
    reader = StreamUsage()
    assert (None, 0, ResponseFacts()) == (reader.usage, reader.estimated_output, reader.facts)


names = st.sampled_from(
    ["choices", "delta", "usage", "type", "response", "message", "finish_reason", "content", "text"]
)
items = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(items, max_size=4))
def test_never_raises(stream):
    """Whatever passes by, noting it raises nothing and counts it."""
    reader = noted(stream)
    assert len(stream) == reader.items
