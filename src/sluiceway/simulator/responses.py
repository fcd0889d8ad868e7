"""Responses as OpenAI writes them, whole and as a stream of typed events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluiceway.simulator.answer import Answer
    from sluiceway.simulator.asked import Asked


def whole(asked: Asked, answer: Answer) -> dict[str, Any]:
    """Return a complete response."""
    ended = "incomplete" if answer.cut else "completed"
    response = _response(asked, answer, ended, [_message(answer, "completed", [_text(answer.text)])])
    if answer.usage:
        response["usage"] = _usage(asked, answer.tokens)
    return response


class ResponseStream:
    """The server-sent events of one streamed response."""

    def __init__(self, asked: Asked, answer: Answer) -> None:
        self._asked = asked
        self._answer = answer
        self._number = 0
        self._sent: list[str] = []

    def opening(self) -> Iterator[bytes]:
        """Yield what comes before the text."""
        begun = _response(self._asked, self._answer, "in_progress", [])
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        item = _message(self._answer, "in_progress", [])
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._where(), part=_text(""))

    def piece(self, text: str) -> bytes:
        """Return the next piece of text."""
        self._sent.append(text)
        return self._event("response.output_text.delta", **self._where(), delta=text, logprobs=[])

    def closing(self, tokens: int) -> Iterator[bytes]:
        """Yield what follows *tokens* of text, last the complete response with its usage."""
        text = "".join(self._sent)
        yield self._event("response.output_text.done", **self._where(), text=text, logprobs=[])
        yield self._event("response.content_part.done", **self._where(), part=_text(text))
        item = _message(self._answer, "completed", [_text(text)])
        yield self._event("response.output_item.done", output_index=0, item=item)
        ended = "incomplete" if self._answer.cut else "completed"
        response = _response(self._asked, self._answer, ended, [item])
        if self._answer.usage:
            response["usage"] = _usage(self._asked, tokens)
        yield self._event(f"response.{ended}", response=response)

    def failing(self, message: str) -> bytes:
        """Return the event that breaks the stream off."""
        return self._event("error", code="server_error", message=message, param=None)

    def _where(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self._answer.identifier}", "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **data: Any) -> bytes:
        body = json.dumps({"type": kind, "sequence_number": self._number, **data})
        self._number += 1
        return f"event: {kind}\ndata: {body}\n\n".encode()


def _response(asked: Asked, answer: Answer, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"resp_{answer.identifier}",
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "max_output_tokens": asked.max_tokens,
        "metadata": {},
        "model": asked.model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _message(answer: Answer, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    identifier = f"msg_{answer.identifier}"
    return {"id": identifier, "type": "message", "status": status, "role": "assistant", "content": content}


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(asked: Asked, tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": asked.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked.prompt_tokens + tokens,
    }
