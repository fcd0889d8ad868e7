"""Answers and errors in the shape of OpenAI's chat completions, without importing openai.

They have the attributes that code reads from the real ones, and spare a test run the import of those, which
takes over half a second. With ``real=True`` they are openai's own, for code that asks ``isinstance``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sluiceway.providers.openai_errors import Headers, StatusError, openai_error

if TYPE_CHECKING:
    from collections.abc import Sequence

_CREATED = 1_700_000_000  # a fixed moment: answers to the same script are equal


def completion(
    text: str = "ok",
    *,
    prompt_tokens: int = 10,
    completion_tokens: int | None = None,
    cached_tokens: int = 0,
    model: str = "gpt-4o-mini",
    finish_reason: str = "stop",
    usage: bool = True,
    real: bool = False,
) -> Any:
    """Return a chat completion that says *text*: ``.choices[0].message.content``, ``.usage``, ``.model``.

    Args:
        text: The answer.
        prompt_tokens: What the usage says about the prompt.
        completion_tokens: What it says about the answer; None counts a token per four characters, at least 1.
        cached_tokens: How many of the prompt's tokens came from the provider's cache.
        model: The model that answered.
        finish_reason: Why the answer ended.
        usage: Whether the answer has a usage at all; else it is None.
        real: Make an ``openai.types.chat.ChatCompletion``.
    """
    message = {"role": "assistant", "content": text}
    data = _envelope("chat.completion", model) | {
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message, "logprobs": None}],
        "usage": _usage(prompt_tokens, completion_tokens, cached_tokens, text) if usage else None,
    }
    if real:
        from openai.types.chat import ChatCompletion  # noqa: PLC0415 - only for those who ask for it

        return ChatCompletion.model_validate(data)
    return _object(data)


def chunks(
    pieces: str | Sequence[str] = "ok",
    *,
    prompt_tokens: int = 10,
    completion_tokens: int | None = None,
    cached_tokens: int = 0,
    model: str = "gpt-4o-mini",
    finish_reason: str = "stop",
    usage: bool = True,
    real: bool = False,
) -> list[Any]:
    """Return the chunks of a streamed chat completion, to be played by `stream`.

    One chunk per piece (``.choices[0].delta.content``), one with the reason for the end and, as a stream with
    ``include_usage`` has it, a last one without choices and with the ``.usage``.

    Args:
        pieces: The answer in pieces; a string is cut after each space.
        prompt_tokens: What the usage says about the prompt.
        completion_tokens: What it says about the answer; None counts a token per four characters, at least 1.
        cached_tokens: How many of the prompt's tokens came from the provider's cache.
        model: The model that answered.
        finish_reason: Why the answer ended.
        usage: Whether there is a last chunk with the usage.
        real: Make ``openai.types.chat.ChatCompletionChunk`` objects.
    """
    parts = _words(pieces) if isinstance(pieces, str) else list(pieces)
    head = _envelope("chat.completion.chunk", model) | {"usage": None}
    deltas: list[tuple[dict[str, str], str | None]] = [({"content": part}, None) for part in parts]
    if deltas:
        deltas[0][0]["role"] = "assistant"
    deltas.append(({}, finish_reason))
    data = [
        head | {"choices": [{"index": 0, "delta": {"content": None} | delta, "finish_reason": reason}]}
        for delta, reason in deltas
    ]
    if usage:
        spent = _usage(prompt_tokens, completion_tokens, cached_tokens, "".join(parts))
        data.append(head | {"choices": [], "usage": spent})
    if real:
        from openai.types.chat import ChatCompletionChunk  # noqa: PLC0415 - only for those who ask for it

        return [ChatCompletionChunk.model_validate(each) for each in data]
    return [_object(each) for each in data]


def _envelope(kind: str, model: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": _CREATED, "model": model}


def _usage(prompt: int, answer: int | None, cached: int, text: str) -> dict[str, Any]:
    spent = max(1, len(text) // 4) if answer is None else answer
    return {
        "prompt_tokens": prompt,
        "completion_tokens": spent,
        "total_tokens": prompt + spent,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _words(text: str) -> list[str]:
    *words, last = text.split(" ")
    return [*(f"{word} " for word in words), last]


def _object(data: Any) -> Any:
    if isinstance(data, dict):
        return SimpleNamespace(**{name: _object(value) for name, value in data.items()})
    return [_object(each) for each in data] if isinstance(data, list) else data


__all__ = ["Headers", "StatusError", "chunks", "completion", "openai_error"]
