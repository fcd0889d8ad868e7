"""Usage and facts of a streamed response, gathered from its chunks as they pass."""

from __future__ import annotations

from typing import Any, Final

from .facts import ResponseFacts, finish_reasons
from .shapes import Fields, opened
from .usage import Usage, tokens

_CHARACTERS: Final = 4  # a token, where the provider does not count them for us


class StreamUsage:
    """Reads what passes by: `note` every chunk, then ask `usage`.

    It understands chat chunks (usage in the last, if `stream_options={"include_usage": True}` asked for it), events of
    responses (`response.completed`) and of messages (input at the start, output at the end), as objects or as dicts,
    and plain pieces of text.

    Attributes:
        items: how many chunks were noted.
        usage: what the provider reported; None until it has.
    """

    __slots__ = ("_characters", "_id", "_input", "_model", "_reasons", "_silent", "items", "usage")

    def __init__(self) -> None:
        self.items = 0
        self.usage: Usage | None = None
        self._id: str | None = None
        self._model: str | None = None
        self._reasons: tuple[str, ...] = ()
        self._characters = 0
        self._silent = 0
        self._input = Usage()

    @property
    def estimated_output(self) -> int:
        """Output tokens guessed from what passed: characters / 4, but at least one for every chunk that may hold text.

        What the model thought, or wrote but did not send, is not seen, so the guess errs on the low side.
        """
        return max(self.items - self._silent, -(-self._characters // _CHARACTERS))

    @property
    def facts(self) -> ResponseFacts:
        """What the response said about itself so far."""
        return ResponseFacts(self._id, self._model, self._reasons)

    def note(self, chunk: Any) -> None:
        """Take notice of *chunk*; 0.3 us for one that only carries text. Never raises."""
        self.items += 1
        kind = type(chunk)
        if kind is str:
            self._characters += len(chunk)
            return
        try:  # what nearly all chunks are, spelled out since each of an answer's thousands comes this way
            fields = chunk if kind is dict else chunk.__dict__
            if "choices" in fields:
                choice = fields["choices"][0]
                choice = choice if kind is dict else choice.__dict__
                delta = choice["delta"]
                text = (delta if kind is dict else delta.__dict__)["content"]
                if choice["finish_reason"] is not None or fields["usage"] is not None or self._model is None:
                    text = None
            else:
                text = fields["delta"]  # in events of responses; in those of messages it holds the text
                if type(text) is not str:
                    text = (text if kind is dict else text.__dict__)["text"]
            if text:
                self._characters += len(text)
                return
        except (AttributeError, LookupError, TypeError):
            pass
        self._read(chunk)

    def _read(self, chunk: Any) -> None:
        before = self._characters
        fields = opened(chunk)
        if fields is not None:
            choices = fields.get("choices")
            if isinstance(choices, list):
                self._chat(fields, choices)
            else:
                self._event(fields)
        if self._characters == before:
            self._silent += 1

    def _chat(self, fields: Fields, choices: list[Any]) -> None:
        self._identify(fields)
        usage = fields.get("usage")
        if usage is not None:
            self.usage = tokens(usage) or self.usage
        self._reasons += finish_reasons(fields)
        for each in choices:
            choice = opened(each)
            delta = None if choice is None else opened(choice.get("delta"))
            if choice is not None:
                self._count(choice, "text")  # of the old completions
            if delta is not None:
                self._count(delta, "content", "refusal", "reasoning_content")
                calls = delta.get("tool_calls")
                for each_call in calls if isinstance(calls, list) else ():
                    call = opened(each_call)
                    self._count(None if call is None else opened(call.get("function")), "arguments")

    def _event(self, fields: Fields) -> None:
        response = opened(fields.get("response"))
        if response is not None:
            self._identify(response)
            if response.get("usage") is not None:
                self.usage = tokens(response.get("usage")) or self.usage
                self._reasons = finish_reasons(response)
            return
        message = opened(fields.get("message"))
        if message is not None:
            self._identify(message)
            self._input = tokens(message.get("usage")) or self._input
            return
        delta = opened(fields.get("delta"))
        if delta is not None:
            self._count(delta, "text", "partial_json", "thinking")
            self._reasons += finish_reasons(delta)
        self._end(tokens(fields.get("usage")))

    def _end(self, counted: Usage | None) -> None:
        """Book the count at the end of a message, which as a rule leaves the input to the one at its start."""
        if counted is not None:
            read = counted if counted.input_tokens else self._input
            self.usage = Usage(
                read.input_tokens,
                counted.output_tokens,
                read.cached_tokens,
                counted.reasoning_tokens,
                read.cache_write_tokens,
            )

    def _identify(self, fields: Fields) -> None:
        own_id, model = fields.get("id"), fields.get("model")
        if self._id is None and isinstance(own_id, str):
            self._id = own_id or None  # Azure's first chunk, about the prompt, has both empty
        if self._model is None and isinstance(model, str):
            self._model = model or None

    def _count(self, fields: Fields | None, *names: str) -> None:
        if fields is None:
            return
        for name in names:
            text = fields.get(name)
            if isinstance(text, str):
                self._characters += len(text)
