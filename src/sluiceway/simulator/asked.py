"""Reading a request: what is asked for, how large it is, and which request it is."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Endpoint: TypeAlias = Literal["chat", "responses", "embeddings", "messages"]

PATHS: dict[str, Endpoint] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
}
_CONTENT = {"chat": "messages", "responses": "input", "embeddings": "input", "messages": "messages"}
_ALSO_READ = ("system", "instructions")
_MAX_TOKENS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_MOST_CHOICES = 128
_DIMENSIONS = 16


class Unreadable(ValueError):
    """The request's body is not what the endpoint takes; the text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as far as the simulator cares.

    Attributes:
        endpoint: what was asked.
        model: as the request names it.
        prompt_tokens: size of everything to be read.
        max_tokens: the most tokens of an answer that the request allows; None if it does not say.
        identity: 64 bits made of path and body.
        stream, include_usage: whether to stream, and usage in the last chunk.
        choices: how many answers (``n``).
        inputs: how many texts to embed.
        dimensions, base64: how to write an embedding.
        prompt: the last text of the prompt, for answers that repeat it; it lives no longer than the request.
    """

    endpoint: Endpoint
    model: str
    prompt_tokens: int
    max_tokens: int | None
    identity: int
    stream: bool = False
    include_usage: bool = False
    choices: int = 1
    inputs: int = 1
    dimensions: int = _DIMENSIONS
    base64: bool = False
    prompt: str = field(default="", repr=False)


def read(path: str, body: bytes, tokens_per_character: float) -> Asked:
    """Read a request to one of :data:`PATHS`.

    Raises:
        Unreadable: the body is no JSON object, or lacks or garbles what the endpoint needs.
    """
    endpoint = PATHS[path]
    try:
        asked = json.loads(body)
    except ValueError:
        raise Unreadable("The body of the request is not valid JSON.") from None
    if not isinstance(asked, dict):
        raise Unreadable("The body of the request must be a JSON object.")
    if not isinstance(asked.get("model"), str):
        raise Unreadable("The parameter 'model' is required and must be a string.")
    content = asked.get(_CONTENT[endpoint])
    if not isinstance(content, (list, str)) or (isinstance(content, str) and endpoint in ("chat", "messages")):
        raise Unreadable(f"The parameter '{_CONTENT[endpoint]}' is required.")
    texts = [*_texts([asked.get(name) for name in _ALSO_READ]), *_texts(content)]
    options = asked.get("stream_options")
    return Asked(
        endpoint=endpoint,
        model=asked["model"],
        prompt_tokens=_tokens(texts, content, tokens_per_character),
        max_tokens=_max_tokens(asked),
        identity=_identity(path, body),
        stream=asked.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        choices=_whole(asked, "n", 1, _MOST_CHOICES),
        inputs=_inputs(content),
        dimensions=_whole(asked, "dimensions", _DIMENSIONS),
        base64=asked.get("encoding_format") == "base64",
        prompt=texts[-1] if texts else "",
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for name in ("text", "content"):
            yield from _texts(value.get(name))


def _tokens(texts: list[str], content: list[Any] | str, tokens_per_character: float) -> int:
    """Count characters, and the token ids that an embedding may be asked for with."""
    ids = 0
    if isinstance(content, list):
        ids = sum(len(each) if _is_ids(each) else 1 for each in content if _is_ids(each) or isinstance(each, int))
    return max(1, ids + math.ceil(sum(map(len, texts)) * tokens_per_character))


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, int) for each in value)


def _inputs(content: list[Any] | str) -> int:
    return 1 if isinstance(content, str) or _is_ids(content) else len(content)


def _max_tokens(asked: dict[str, Any]) -> int | None:
    for name in _MAX_TOKENS:
        if asked.get(name) is not None:
            return _whole(asked, name, 1)
    return None


def _whole(asked: dict[str, Any], name: str, default: int, most: int | None = None) -> int:
    value = asked.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (most is not None and value > most):
        bounds = "at least 1" if most is None else f"from 1 to {most}"
        raise Unreadable(f"The parameter '{name}' must be a whole number, {bounds}.")
    return value


def _identity(path: str, body: bytes) -> int:
    digest = hashlib.blake2b(body, digest_size=8, person=path.encode()[-16:])
    return int.from_bytes(digest.digest(), "big")
