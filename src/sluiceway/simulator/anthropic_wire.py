"""Anthropic's messages, headers and error bodies, for code that reads them by their shape."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sluiceway.algorithms.provider_meters import Level
    from sluiceway.simulator.answer import Answer
    from sluiceway.simulator.asked import Asked

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def whole(asked: Asked, answer: Answer) -> dict[str, Any]:
    """Return a complete message."""
    content = [{"type": "text", "text": answer.text}]
    message = _message(asked, answer) | {"content": content, "stop_reason": _stop_reason(answer)}
    return message | {"usage": _usage(asked, answer.tokens)} if answer.usage else message


class MessageStream:
    """The server-sent events of one streamed message."""

    def __init__(self, asked: Asked, answer: Answer) -> None:
        self._asked = asked
        self._answer = answer

    def opening(self) -> Iterator[bytes]:
        """Yield what comes before the text."""
        message = _message(self._asked, self._answer)
        if self._answer.usage:
            message["usage"] = _usage(self._asked, 1)
        yield _event("message_start", message=message)
        yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})

    def piece(self, text: str) -> bytes:
        """Return the next piece of text."""
        return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def closing(self, tokens: int) -> Iterator[bytes]:
        """Yield what follows *tokens* of text: why it ended, with the usage."""
        yield _event("content_block_stop", index=0)
        ended: dict[str, Any] = {"delta": {"stop_reason": _stop_reason(self._answer), "stop_sequence": None}}
        if self._answer.usage:
            ended["usage"] = {"output_tokens": tokens}
        yield _event("message_delta", **ended)
        yield _event("message_stop")

    def failing(self, message: str) -> bytes:
        """Return the event that breaks the stream off."""
        return _event("error", error={"type": "overloaded_error", "message": message})


def _message(asked: Asked, answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.identifier}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(asked: Asked, tokens: int) -> dict[str, Any]:
    cache = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": asked.prompt_tokens, **cache, "output_tokens": tokens}


def _stop_reason(answer: Answer) -> str:
    return "max_tokens" if answer.cut else "end_turn"


def _event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def limit_headers(levels: Mapping[str, Level], now: datetime) -> dict[str, str]:
    """Return ``anthropic-ratelimit-*`` of every limit, resets as RFC 3339 times of the wall clock, rounded up."""
    headers = {}
    for resource, level in levels.items():
        prefix = f"anthropic-ratelimit-{resource.replace('_', '-')}"
        full = (now + timedelta(seconds=level.reset + 1)).replace(microsecond=0)
        headers[f"{prefix}-limit"] = str(math.floor(level.limit))
        headers[f"{prefix}-remaining"] = str(math.floor(level.remaining))
        headers[f"{prefix}-reset"] = full.strftime("%Y-%m-%dT%H:%M:%SZ")
    return headers


def error(status: int, message: str, request_id: str) -> dict[str, Any]:
    """Return an error's body."""
    kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
