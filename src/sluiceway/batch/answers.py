"""What of an answer goes into the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

_CALLS: Final = frozenset(("function_call", "custom_tool_call", "tool_use"))
"""Parts of an answer that ask the caller for something; what the provider's own tools did is told by the text."""


def output_of(value: Any) -> Any:
    """Return the answer in *value*: text, where it is a response of a chat, of `responses` or of Anthropic's messages.

    So it is of the old completions. Several choices, or several embeddings, are a list. A message without text, and one
    that calls a tool or refuses whatever text it has beside that, is a mapping. What else a function returns stays as
    it is; pydantic models and dataclasses become mappings. Never raises: an answer that is paid for is worth its repr.
    """
    try:
        return _output(value)
    except Exception:  # noqa: BLE001 - a foreign type, in whatever state
        return repr(value)


def full(value: Any) -> Any:
    """Return all of *value* as JSON has it. Never raises."""
    try:
        return _plain(value)
    except Exception:  # noqa: BLE001 - as above
        return repr(value)


def _output(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool, Mapping, list, tuple)):
        return _plain(value)
    choices = getattr(value, "choices", None)
    if isinstance(choices, list) and choices:
        texts = [_choice(choice) for choice in choices]
        return texts[0] if len(texts) == 1 else texts
    text = getattr(value, "output_text", None)
    if isinstance(text, str):
        return _plain(value) if not text or _calls(getattr(value, "output", None)) else text
    data = getattr(value, "data", None)
    if isinstance(data, list) and data and hasattr(data[0], "embedding"):
        vectors = [each.embedding for each in data]
        return vectors[0] if len(vectors) == 1 else vectors
    content = getattr(value, "content", None)
    if isinstance(content, list):
        text = "".join(getattr(block, "text", "") for block in content)
        if text and not _calls(content):
            return text
    return _plain(value)


def _choice(choice: Any) -> Any:
    if not hasattr(choice, "message"):  # of the old completions
        return choice.text
    message = choice.message
    return message.model_dump(mode="json", exclude_none=True) if _more_than_text(message) else message.content


def _more_than_text(message: Any) -> bool:
    """Whether *message* calls or refuses; by the types of its fields, since a `Mock` has every field."""
    calls, called, refusal = (getattr(message, name, None) for name in ("tool_calls", "function_call", "refusal"))
    if message.content is None or (isinstance(calls, list) and calls) or (isinstance(refusal, str) and refusal):
        return True
    return isinstance(getattr(called, "name", None), str)


def _calls(parts: Any) -> bool:
    return isinstance(parts, list) and any(getattr(part, "type", None) in _CALLS for part in parts)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value
