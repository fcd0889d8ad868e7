"""Which words each endpoint uses: bodies and headers, in OpenAI's or in Anthropic's shape."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from sluiceway.simulator import anthropic_wire, chat, embeddings, openai_wire, responses
from sluiceway.simulator.coming_back import retry_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sluiceway.algorithms.provider_meters import Level
    from sluiceway.simulator.answer import Answer
    from sluiceway.simulator.asked import Asked
    from sluiceway.simulator.behaviour import Behaviour
    from sluiceway.simulator.service import Refusal

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
MODELS = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small", "claude-sonnet-4-5")

_BUSY = (429, 503, 529)
_MADE = 1_700_000_000


class EventStream(Protocol):
    """How an endpoint writes a stream: events before the text, for each piece of it, and after it."""

    def opening(self) -> Iterator[bytes]:
        """Yield what comes before the text."""

    def piece(self, text: str) -> bytes:
        """Return the next piece of text."""

    def closing(self, tokens: int) -> Iterator[bytes]:
        """Yield what follows *tokens* of text."""

    def failing(self, message: str) -> bytes:
        """Return the event that breaks the stream off."""


_WHOLE: Mapping[str, Callable[[Asked, Answer], dict[str, Any]]] = {
    "chat": chat.whole,
    "responses": responses.whole,
    "embeddings": embeddings.whole,
    "messages": anthropic_wire.whole,
}
_STREAMS: Mapping[str, Callable[[Asked, Answer], EventStream]] = {
    "chat": chat.ChatStream,
    "responses": responses.ResponseStream,
    "messages": anthropic_wire.MessageStream,
}


def whole(asked: Asked, answer: Answer) -> bytes:
    """Return the body of a plain answer."""
    return json.dumps(_WHOLE[asked.endpoint](asked, answer)).encode()


def streams(asked: Asked) -> bool:
    """Whether *asked* wants a stream from an endpoint that has one."""
    return asked.stream and asked.endpoint in _STREAMS


def stream(asked: Asked, answer: Answer) -> EventStream:
    """Return the writer of a streamed answer."""
    return _STREAMS[asked.endpoint](asked, answer)


def headers(endpoint: str, levels: Mapping[str, Level], behaviour: Behaviour, request_id: str) -> dict[str, str]:
    """Return the headers of any reply: the request's id and what is left of the limits."""
    if endpoint != "messages":
        return {"x-request-id": request_id, **openai_wire.limit_headers(levels, behaviour.header_style)}
    told = {} if behaviour.header_style == "none" else anthropic_wire.limit_headers(levels, datetime.now(UTC))
    return {"request-id": request_id, **told}


def refusal(endpoint: str, refused: Refusal, status: int, behaviour: Behaviour, request_id: str) -> bytes:
    """Return the body of a refusal."""
    if refused.reason == "limit":
        level = refused.levels.get(refused.resource)
        body = openai_wire.too_fast(refused.resource, level, refused.retry_after or 0.0, refused.requested)
    elif refused.reason == "in_flight":
        body = openai_wire.too_many_at_once(status, behaviour.max_in_flight or 0)
    elif refused.reason == "quota":
        body = openai_wire.no_money()
    else:
        body = openai_wire.fault(status)
    return _in_the_shape_of(endpoint, status, body, request_id)


def fault(endpoint: str, status: int, request_id: str) -> bytes:
    """Return the body of an error that was drawn."""
    return _in_the_shape_of(endpoint, status, openai_wire.fault(status), request_id)


def invalid(endpoint: str, status: int, message: str, request_id: str) -> bytes:
    """Return the body of an answer to a request that makes no sense."""
    body = openai_wire.error(message, "invalid_request_error", None)
    return _in_the_shape_of(endpoint, status, body, request_id)


def _in_the_shape_of(endpoint: str, status: int, body: dict[str, Any], request_id: str) -> bytes:
    if endpoint == "messages":
        body = anthropic_wire.error(status, body["error"]["message"], request_id)
    return json.dumps(body).encode()


def come_back(endpoint: str, status: int, seconds: float | None, behaviour: Behaviour) -> dict[str, str]:
    """Return the headers that say when to come back, where the status is one that says so."""
    if status not in _BUSY:
        return {}
    form = behaviour.retry_after_form
    if endpoint == "messages" and form == "both":
        form = "seconds"
    return retry_headers(seconds, form, behaviour.retry_after, time.time())


def models() -> bytes:
    """Return the list of models; requests may name any other."""
    data = [{"id": name, "object": "model", "created": _MADE, "owned_by": "simulator"} for name in MODELS]
    return json.dumps({"object": "list", "data": data}).encode()
