"""What a row asks: the argument of a function, or the body of a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sluiceway.batch.errors import BadRow

if TYPE_CHECKING:
    from sluiceway.batch.templates import Template

Endpoint: TypeAlias = Literal["chat", "responses", "embeddings"]

URLS: Final[dict[str, Endpoint]] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
}
ASKS: Final = ("prompt", "messages", "input")
"""Columns that are asked, the first that is there."""
_NEEDS: Final = "a row needs a prompt, messages or input"


@dataclass(frozen=True, slots=True)
class Question:
    """A request as OpenAI's APIs take it: the endpoint, and the body without its model unless the row names one."""

    endpoint: Endpoint
    body: Mapping[str, Any] = field(repr=False)


def argument_of(value: Any, template: Template | None) -> Any:
    """Return what a function is called with for a row: the filled template, else its prompt, messages or input.

    A request in the format of OpenAI's Batch API is its body; a row with none of these, or no mapping, is itself.

    Raises:
        BadRow: the template needs a column that is not there.
    """
    if template is not None:
        return template.fill(value)
    if isinstance(value, Mapping):
        if _is_batch_request(value):
            return value["body"]
        name = next((name for name in ASKS if value.get(name) is not None), None)
        return value if name is None else value[name]
    return value


def question_of(
    value: Any, template: Template | None = None, *, system: str | None = None, endpoint: Endpoint | None = None
) -> Question:
    """Return the request for a row.

    Args:
        value: a prompt; or columns: `prompt`, `messages` or `input`, or a request of OpenAI's Batch API
            (``{"custom_id": ..., "url": "/v1/chat/completions", "body": {...}}``).
        template: makes the prompt instead.
        system: stands before a prompt as the system's message (as `instructions` for responses).
        endpoint: where prompts and inputs go: prompts to `"chat"` by default, inputs to `"responses"`.

    Raises:
        BadRow: nothing of this is there, or not of the type that it must be.
    """
    if template is not None:
        return _of_prompt(template.fill(value), system, endpoint or "chat")
    if isinstance(value, str):
        return _of_prompt(value, system, endpoint or "chat")
    if not isinstance(value, Mapping):
        raise BadRow("no object", f"{_NEEDS}, or must be a str, not {type(value).__name__}")
    if _is_batch_request(value):
        return _of_batch_request(value)
    if value.get("prompt") is not None:
        return _of_prompt(value["prompt"], system, endpoint or "chat")
    if value.get("messages") is not None:
        return _of_messages(value["messages"])
    if value.get("input") is not None:
        where = "responses" if endpoint in (None, "chat") else endpoint
        return Question(where, {"input": value["input"]})
    raise BadRow("missing column", f"{_NEEDS}; it has {', '.join(map(repr, list(value)[:10])) or 'nothing'}")


def _of_prompt(prompt: Any, system: str | None, endpoint: Endpoint) -> Question:
    if not isinstance(prompt, str) or not prompt:
        raise BadRow("bad prompt", f"the prompt must be text, not {'empty' if prompt == '' else type(prompt).__name__}")
    if endpoint == "chat":
        before = [] if system is None else [{"role": "system", "content": system}]
        return Question("chat", {"messages": [*before, {"role": "user", "content": prompt}]})
    also = {"instructions": system} if system is not None and endpoint == "responses" else {}
    return Question(endpoint, {"input": prompt, **also})


def _of_messages(messages: Any) -> Question:
    if isinstance(messages, str):  # a column of a CSV file
        try:
            messages = json.loads(messages)
        except ValueError:
            raise BadRow("bad messages", "the messages are text and no JSON") from None
    if not isinstance(messages, list) or not messages or not all(isinstance(each, Mapping) for each in messages):
        raise BadRow("bad messages", "the messages must be a list of objects with role and content")
    return Question("chat", {"messages": messages})


def _is_batch_request(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("body"), Mapping) and ("custom_id" in value or "url" in value)


def _of_batch_request(value: Mapping[str, Any]) -> Question:
    url = value.get("url", "/v1/chat/completions")
    if not isinstance(url, str) or url not in URLS:
        raise BadRow("bad url", f"url={str(url)[:80]!r} must be one of {', '.join(URLS)}")
    if str(value.get("method", "POST")).upper() != "POST":
        raise BadRow("bad method", "the method must be POST")
    if value["body"].get("stream"):
        raise BadRow("bad body", "a batch takes no streams: leave stream out")
    return Question(URLS[url], value["body"])
