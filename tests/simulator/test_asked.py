"""Reading requests: their size, their wishes and their identity."""

import json

import pytest

from sluiceway.simulator.asked import Unreadable, read

CHAT = "/v1/chat/completions"


def chat(**settings):
    """Return the body of a chat completion's request."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 40}]} | settings).encode()


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        (CHAT, {"messages": [{"content": "x" * 40}, {"content": "y" * 40}]}, 20),
        (CHAT, {"messages": [{"content": [{"type": "text", "text": "x" * 40}, {"type": "image_url"}]}]}, 10),
        (CHAT, {"messages": [{"content": None}]}, 1),
        ("/v1/responses", {"input": "x" * 41, "instructions": "y" * 40}, 21),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x" * 40}]}]}, 10),
        ("/v1/messages", {"system": "s" * 20, "messages": [{"content": "x" * 20}]}, 10),
        ("/v1/embeddings", {"input": "x" * 40}, 10),
        ("/v1/embeddings", {"input": ["x" * 40, "y" * 40]}, 20),
        ("/v1/embeddings", {"input": [5, 6, 7]}, 3),
        ("/v1/embeddings", {"input": [[5, 6], [7]]}, 3),
    ],
)
def test_counts_all_text_of_the_prompt(path, body, tokens):
    """Every text of the prompt counts, at a quarter of a token a character, and token ids count one each."""
    assert tokens == read(path, json.dumps({"model": "m"} | body).encode(), 0.25).prompt_tokens


def test_prompts_may_be_counted_otherwise():
    """The tokens a character are a setting, so that a client's estimate can be wrong."""
    assert read(CHAT, chat(), 0.325).prompt_tokens == 13


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_reads_the_most_tokens_under_any_name(name):
    """Each endpoint's name for the limit of an answer is known."""
    assert read(CHAT, chat(**{name: 7}), 0.25).max_tokens == 7


def test_reads_the_wishes_of_a_stream():
    """Streaming and usage in the last chunk are off unless asked for."""
    plain, asked = read(CHAT, chat(), 0.25), read(CHAT, chat(stream=True, stream_options={"include_usage": True}), 0.25)
    assert (False, False) == (plain.stream, plain.include_usage)
    assert (True, True) == (asked.stream, asked.include_usage)


@pytest.mark.parametrize(("given", "inputs"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2, 3]], 2)])
def test_counts_the_texts_to_embed(given, inputs):
    """A text or a list of token ids is one input, a list of either is many."""
    body = json.dumps({"model": "m", "input": given}).encode()
    assert inputs == read("/v1/embeddings", body, 0.25).inputs


def test_identity_is_made_of_path_and_body():
    """The same body to the same path is the same request; anything else is another."""
    body = json.dumps({"model": "m", "input": "x", "messages": []}).encode()
    identities = {read(path, body, 0.25).identity for path in (CHAT, "/v1/responses", "/v1/responses")}
    assert len(identities) == 2
    assert read(CHAT, chat(), 0.25).identity != read(CHAT, chat(n=2), 0.25).identity


def test_the_prompt_is_not_shown():
    """What was asked does not appear in the representation."""
    assert "xxxx" not in repr(read(CHAT, chat(), 0.25))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (json.dumps({"messages": []}).encode(), "'model'"),
        (json.dumps({"model": "m"}).encode(), "'messages'"),
        (json.dumps({"model": "m", "messages": "hello"}).encode(), "'messages'"),
        (chat(max_tokens=0), "'max_tokens' must be a whole number, at least 1"),
        (chat(n=1000), "from 1 to 128"),
    ],
)
def test_says_what_is_wrong(body, message):
    """An unreadable request names the parameter that is missing or wrong."""
    with pytest.raises(Unreadable, match=message):
        read(CHAT, body, 0.25)
