"""Tokens that a call will probably take, told from its arguments before it is sent."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

from .shapes import opened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .counters import TokenCounter

PER_MEDIUM: Final = 765
"""Tokens counted for a picture, a sound or a file, whatever its size: what gpt-4o takes for 1024 x 1024 pixels."""

_PER_MESSAGE: Final = 4  # what OpenAI's chat format adds to each message, and 3 to begin the answer
_PER_ANSWER: Final = 3
_WIDE: Final = 0.8
_DEEP: Final = 12  # levels of nesting looked at; no request has that many, a ring has more

_INPUT: Final = frozenset(("messages", "prompt", "input", "instructions", "system", "contents"))
_SCHEMAS: Final = frozenset(("tools", "functions", "response_format", "text"))
_LIMITS: Final = frozenset(("max_completion_tokens", "max_output_tokens", "max_tokens"))
READ_BY_NAME: Final = ("model", "n", *sorted(_LIMITS))
"""What is read of the arguments by its name alone, and is no part of the prompt."""

_LABELS: Final = frozenset(
    ("role", "type", "id", "tool_call_id", "call_id", "cache_control", "detail", "status", "name")
)
_SPOKEN: Final = ("content", "text", "tool_calls", "function", "arguments", "output")  # of answers used as messages
_MEDIA: Final = frozenset(
    (
        "image",
        "image_url",
        "input_image",
        "input_audio",
        "audio",
        "file",
        "input_file",
        "document",
        "video",
        "video_url",
    )
)
_WIDE_LEADS: Final = bytes(range(0xE3, 0xEE))  # first bytes, in UTF-8, of kana, han and hangul; never a later byte


class Estimate(NamedTuple):
    """What a call will probably take.

    Attributes:
        input_tokens: prompt, history, tools.
        output_tokens: the most it may answer, where the request says; None where it does not.
        exact: whether the input was counted by the model's own vocabulary and holds nothing but text.
    """

    input_tokens: int
    output_tokens: int | None
    exact: bool


def characters_as_tokens(text: str) -> float:
    """Return characters / 4, with 0.8 tokens for a Chinese, Japanese or Korean character.

    Off by, against the vocabulary of OpenAI's newer models (`o200k_base`): English prose +22 %, Python +11 %, German
    +8 %, Russian -8 %, Chinese -8 %, Japanese -6 %, Arabic -34 %, Hindi -17 %, indented JSON of short values -47 %.
    Their older models (`cl100k_base`) take more for all but English: German -11 %, Chinese -31 %, Russian -47 %,
    Hindi -74 %. ``pytest tests/providers/test_estimates.py`` measures it; on your own texts
    ``python -m sluiceway.providers.counters FILE`` does.
    """
    if text.isascii():
        return len(text) / 4
    encoded = text.encode("utf-8", "replace")
    wide = len(encoded) - len(encoded.translate(None, _WIDE_LEADS))
    return (len(text) - wide) / 4 + wide * _WIDE


def estimate(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    counter: TokenCounter | None = None,
    embeddings: bool | None = None,
) -> Estimate:
    """Return what the call ``function(*args, **kwargs)`` will probably take. Never raises; 1 us for a short prompt.

    Read are `messages`, `prompt`, `input`, `instructions`, `system`, `tools`, `functions`, `response_format`, and
    strings and lists given by position. If there is none of them, every string given by name counts. A conversation
    that the provider keeps (`previous_response_id`) is not seen.

    Args:
        args: positional arguments, without `self`.
        kwargs: keyword arguments. The output is `max_completion_tokens`, `max_output_tokens` or `max_tokens`, times
            `n`.
        counter: counts exactly, see `token_counter`; None for `characters_as_tokens`.
        embeddings: whether the call embeds, and so has no output; None to go by the model's name.
    """
    return Estimate(*weigh(args, kwargs, counter, embeddings))


def weigh(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    counter: TokenCounter | None = None,
    embeddings: bool | None = None,  # noqa: FBT001 - for us
) -> tuple[int, int | None, bool]:
    """Return the parts of the `estimate`: a plain tuple takes a fifth of the time, and every call comes by here."""
    model = kwargs.get("model")
    scale = _CHARACTERS if counter is None else _Counted(counter, model if isinstance(model, str) else None)
    tokens = 0.0
    found = False
    limit = None
    for name, value in kwargs.items():
        if name in _INPUT:
            tokens += scale.text(value) if type(value) is str else scale.conversation(value)
            found = True
        elif name in _SCHEMAS:
            tokens += scale.schema(value)
        elif name in _LIMITS and _is_count(value):
            limit = value
    for value in args:
        if type(value) is str:
            tokens += scale.text(value)
            found = True
        elif isinstance(value, (list, dict)):
            tokens += scale.conversation(value)
            found = True
    if not found and kwargs:
        tokens += sum(scale.text(value) for name, value in kwargs.items() if isinstance(value, str) and name != "model")
    output = limit if model is embeddings is None and "n" not in kwargs else _output(limit, kwargs, model, embeddings)
    return ceil(tokens), output, scale.exact


def _output(
    limit: int | None,
    kwargs: Mapping[str, Any],
    model: Any,
    embeddings: bool | None,  # noqa: FBT001 - private
) -> int | None:
    if embeddings is None:
        embeddings = isinstance(model, str) and "embed" in model
    if embeddings:
        return 0
    choices = kwargs.get("n")
    return limit * choices if limit is not None and _is_count(choices) and choices > 1 else limit


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class _Characters:
    """Weighs what a request holds by its characters."""

    exact = False

    def text(self, text: str) -> float:
        return characters_as_tokens(text)

    def medium(self) -> float:
        return PER_MEDIUM

    def conversation(self, value: Any) -> float:
        """Weigh a prompt in any form: text, messages, items, token numbers."""
        if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (str, int, list)):
            return self._walk(value, 0) + _PER_MESSAGE * len(value) + _PER_ANSWER
        return self._walk(value, 0)

    def schema(self, value: Any) -> float:
        """Weigh definitions of tools or of the answer, of which the keys are read as well."""
        return self._walk(value, 0, keys=True) if isinstance(value, (list, dict)) else 0.0

    def _walk(self, value: Any, depth: int, *, keys: bool = False) -> float:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (int, float)):
            return 1.0  # a number in a schema, or a token that the caller has encoded
        if value is None or depth > _DEEP:
            return 0.0
        if isinstance(value, (list, tuple)):
            return sum([self._walk(each, depth + 1, keys=keys) for each in value])
        if isinstance(value, (bytes, bytearray)):
            return self.medium()
        if not isinstance(value, dict):
            fields = opened(value)
            return 0.0 if fields is None else sum([self._walk(fields.get(name), depth + 1) for name in _SPOKEN])
        if keys:
            return sum([self.text(str(name)) + self._walk(each, depth + 1, keys=True) for name, each in value.items()])
        kind = value.get("type")
        if isinstance(kind, str) and kind in _MEDIA:
            return self.medium()
        return sum([self._walk(each, depth + 1) for name, each in value.items() if name not in _LABELS])


class _Counted(_Characters):
    """Weighs by a vocabulary, and knows whether that was exact; one for each estimate."""

    def __init__(self, counter: TokenCounter, model: str | None) -> None:
        self._counter = counter
        self._model = model
        self.exact = True

    def text(self, text: str) -> float:
        count, exact = self._counter.count(text, self._model)
        if not exact:
            self.exact = False
        return count

    def medium(self) -> float:
        self.exact = False
        return super().medium()

    def schema(self, value: Any) -> float:
        weight = super().schema(value)
        if weight:
            self.exact = False  # how a provider writes tools into the prompt is its secret
        return weight


_CHARACTERS: Final = _Characters()
