"""Chat completions as OpenAI writes them, whole and streamed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sluiceway.simulator import openai_wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluiceway.simulator.answer import Answer
    from sluiceway.simulator.asked import Asked

DONE = b"data: [DONE]\n\n"


def whole(asked: Asked, answer: Answer) -> dict[str, Any]:
    """Return a complete chat completion."""
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
        for index in range(asked.choices)
    ]
    completion = _head(asked, answer, "chat.completion") | {"choices": choices}
    return completion | {"usage": _usage(asked, answer.tokens)} if answer.usage else completion


class ChatStream:
    """The server-sent events of one streamed chat completion."""

    def __init__(self, asked: Asked, answer: Answer) -> None:
        self._asked = asked
        self._answer = answer
        self._head = _head(asked, answer, "chat.completion.chunk")
        if asked.include_usage:
            self._head["usage"] = None
        # Only the text differs from piece to piece; writing the rest once makes a piece three times cheaper.
        self._around = [self._delta(index, {"content": "\0"}).split(b'"\\u0000"') for index in range(asked.choices)]

    def opening(self) -> Iterator[bytes]:
        """Yield what comes before the text."""
        for index in range(self._asked.choices):
            yield self._delta(index, {"role": "assistant", "content": "", "refusal": None})

    def piece(self, text: str) -> bytes:
        """Return the next piece of text, for every choice."""
        quoted = json.dumps(text).encode()
        return b"".join(before + quoted + after for before, after in self._around)

    def closing(self, tokens: int) -> Iterator[bytes]:
        """Yield what follows *tokens* of text: why it ended, and the usage if asked for."""
        for index in range(self._asked.choices):
            yield self._delta(index, {}, _finish(self._answer))
        if self._asked.include_usage and self._answer.usage:
            yield _event(self._head | {"choices": [], "usage": _usage(self._asked, tokens)})
        yield DONE

    def failing(self, message: str) -> bytes:
        """Return the event that breaks the stream off."""
        return _event(openai_wire.error(message, "server_error", None))

    def _delta(self, index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event(self._head | {"choices": [choice]})


def _head(asked: Asked, answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answer.identifier}",
        "object": kind,
        "created": answer.created,
        "model": asked.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulator",
    }


def _usage(asked: Asked, tokens: int) -> dict[str, Any]:
    output = tokens * asked.choices
    return {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": output,
        "total_tokens": asked.prompt_tokens + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _finish(answer: Answer) -> str:
    return "length" if answer.cut else "stop"


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()
