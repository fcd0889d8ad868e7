"""What a response says about itself, for spans: its id, the model that answered, why it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .shapes import Fields, opened


@dataclass(frozen=True, slots=True)
class ResponseFacts:
    """What a response says about itself.

    Attributes:
        id: the provider's id of it; None for embeddings.
        model: the model that answered, more exact than the one asked for.
        finish_reasons: why each choice ended: `stop`, `length`, `tool_calls`, ... (chat completions), `end_turn`,
            `max_tokens`, ... (messages), `completed` or what cut it short (responses).
    """

    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()


def response_facts(value: Any) -> ResponseFacts | None:
    """Return the facts in *value*, something a provider returned, or None if it names no model. Never raises."""
    fields = opened(value)
    if fields is None:
        return None
    model = fields.get("model")
    if not isinstance(model, str):
        return None
    own_id = fields.get("id")
    return ResponseFacts(own_id if isinstance(own_id, str) else None, model, finish_reasons(fields))


def finish_reasons(fields: Fields) -> tuple[str, ...]:
    """Return why the response with *fields* ended, one reason a choice; () if it does not say."""
    choices = fields.get("choices")
    if isinstance(choices, list):
        reasons = [choice.get("finish_reason") for each in choices if (choice := opened(each)) is not None]
        return tuple(reason for reason in reasons if isinstance(reason, str))
    details = opened(fields.get("incomplete_details"))
    cut = None if details is None else details.get("reason")
    for reason in (fields.get("stop_reason"), cut, fields.get("status")):
        if isinstance(reason, str):
            return (reason,)
    return ()
