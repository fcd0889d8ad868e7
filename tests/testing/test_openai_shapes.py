"""Answers and errors in OpenAI's shape, made without openai and equal to the real ones where it counts."""

import subprocess
import sys

import pytest

from sluiceway.testing import chunks, completion, openai_error

STATUSES = [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503, 529]


def facts(answer):
    usage = answer.usage
    return (
        answer.model,
        answer.object,
        answer.choices[0].message.content,
        answer.choices[0].message.role,
        answer.choices[0].finish_reason,
        usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
        usage and usage.prompt_tokens_details.cached_tokens,
        usage and usage.completion_tokens_details.reasoning_tokens,
    )


def test_completion_says_what_it_was_told():
    """Every argument is found where openai's answer has it."""
    answer = completion("hi", prompt_tokens=3, completion_tokens=4, cached_tokens=2, model="m", finish_reason="length")
    assert ("m", "chat.completion", "hi", "assistant", "length", (3, 4, 7), 2, 0) == facts(answer)


def test_completion_counts_a_token_per_four_characters():
    """Without a number the usage follows the text."""
    assert [1, 1, 25] == [completion(text).usage.completion_tokens for text in ("", "a", "a" * 100)]


@pytest.mark.parametrize("usage", [True, False])
def test_real_completion_is_openais(usage):
    """With real=True the class is openai's and reads the same."""
    from openai.types.chat import ChatCompletion

    real = completion("hi", usage=usage, real=True)
    assert isinstance(real, ChatCompletion)
    assert facts(completion("hi", usage=usage)) == facts(real)


def chunk_facts(chunk):
    choice = chunk.choices[0] if chunk.choices else None
    return (
        chunk.model,
        chunk.object,
        choice and (choice.delta.content, choice.finish_reason),
        chunk.usage and chunk.usage.total_tokens,
    )


def test_chunks_end_with_the_usage():
    """Pieces first, then the reason for the end, then the usage without choices."""
    read = chunks(["Hel", "lo"], prompt_tokens=1, completion_tokens=2, model="m")
    kind = "chat.completion.chunk"
    assert [
        ("m", kind, ("Hel", None), None),
        ("m", kind, ("lo", None), None),
        ("m", kind, (None, "stop"), None),
        ("m", kind, None, 3),
    ] == [chunk_facts(chunk) for chunk in read]
    assert "assistant" == read[0].choices[0].delta.role


def test_chunks_without_usage_end_with_the_reason():
    """A stream that was not asked for its usage has none."""
    last = chunks("hello there", usage=False)[-1]
    assert ("stop", None) == (last.choices[0].finish_reason, last.usage)


@pytest.mark.parametrize("text", ["", "one", "two words", " odd  spaces "])
def test_chunks_lose_nothing_of_the_text(text):
    """A text is cut after its spaces and reads the same when joined."""
    assert text == "".join(c.choices[0].delta.content or "" for c in chunks(text) if c.choices)


def test_real_chunks_are_openais():
    """With real=True the class is openai's and reads the same."""
    from openai.types.chat import ChatCompletionChunk

    real = chunks("to be", real=True)
    assert {ChatCompletionChunk} == {type(chunk) for chunk in real}
    assert [chunk_facts(c) for c in chunks("to be")] == [chunk_facts(c) for c in real]


def error_facts(error):
    return (
        type(error).__name__,
        str(error),
        error.message,
        error.status_code,
        error.response.status_code,
        error.response.headers.get("Retry-After"),
        error.request_id,
        error.code,
        error.type,
        error.param,
        error.body,
    )


@pytest.mark.parametrize("code", [None, "insufficient_quota"])
@pytest.mark.parametrize("status", STATUSES)
def test_errors_equal_openais(status, code):
    """The stand-in has the name, the text and the attributes of openai's own exception."""
    import openai

    headers = {"retry-after": "2", "x-request-id": "req-1"}
    real = openai_error(status, headers=headers, code=code, real=True)
    assert isinstance(real, openai.APIStatusError)
    assert error_facts(real) == error_facts(openai_error(status, headers=headers, code=code))


@pytest.mark.parametrize("status", STATUSES)
def test_error_classes_are_those_the_client_raises(status):
    """The class for a status is the one that the client picks."""
    import httpx2
    import openai

    response = httpx2.Response(status, request=httpx2.Request("POST", "https://provider.test"))
    client = openai.OpenAI(api_key="none")
    made = client._make_status_error("", body=None, response=response)
    client.close()
    assert type(made) is type(openai_error(status, real=True))


def test_errors_have_usual_codes():
    """Without a code, 429 is a rate limit and a client's mistake has none."""
    assert ["rate_limit_exceeded", None] == [openai_error(429).code, openai_error(422).code]


def test_headers_are_read_in_any_case():
    """Headers behave as an HTTP library's do."""
    headers = openai_error(429, headers={"Retry-After-Ms": "20"}).response.headers
    assert ("20", "20", None, ["retry-after-ms"], True) == (
        headers["retry-after-ms"],
        headers.get("RETRY-AFTER-MS"),
        headers.get("retry-after"),
        list(headers),
        "Retry-After-MS" in headers,
    )


@pytest.mark.parametrize("status", [200, 399, 600])
def test_only_errors_are_errors(status):
    """A status that is no error is refused by its number."""
    with pytest.raises(ValueError, match=f"not {status}"):
        openai_error(status)


def test_stand_ins_do_not_import_openai():
    """The kit is as quick to import as it is to run."""
    code = """
import sys
from sluiceway.testing import *
completion(), chunks(), openai_error(429), ScriptedProvider(), faulty(ScriptedProvider(), errors={500: 1})
assert not {"openai", "httpx2", "pytest", "pydantic"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
