"""An answer as it looks when its token limit came in the middle: what code that trusts answers must survive."""

from __future__ import annotations

import copy
from typing import Any


def cut_short(answer: Any) -> Any:
    """Return a copy of *answer* with half of its text and the reason that the provider gives for that.

    Known are a str and the answers of chat completions, messages and responses, as objects or dicts; anything else is
    returned as it is. The usage stays: what was cut is billed.
    """
    if isinstance(answer, str):
        return _half(answer)
    if not any(isinstance(_get(answer, name), list) for name in ("choices", "content", "output")):
        return answer
    cut = copy.deepcopy(answer)
    for choice in _list(cut, "choices"):
        _halve(_get(choice, "message"), "content")
        _set(choice, "finish_reason", "length")
    for block in _list(cut, "content"):
        _halve(block, "text")
    for item in _list(cut, "output"):
        for block in _list(item, "content"):
            _halve(block, "text")
    if _list(cut, "content"):
        _set(cut, "stop_reason", "max_tokens")
    elif _list(cut, "output"):
        _set(cut, "status", "incomplete")
    return cut


def _half(text: str) -> str:
    return text[: len(text) // 2]


def _halve(thing: Any, name: str) -> None:
    text = _get(thing, name)
    if isinstance(text, str):
        _set(thing, name, _half(text))


def _list(thing: Any, name: str) -> list[Any]:
    found = _get(thing, name)
    return found if isinstance(found, list) else []


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _set(thing: Any, name: str, value: Any) -> None:
    if isinstance(thing, dict):
        thing[name] = value
    else:
        setattr(thing, name, value)
