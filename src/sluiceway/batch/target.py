"""What is asked about each row: a function of the user's, or a model."""

from __future__ import annotations

import inspect
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sluiceway.batch.errors import BadRow, BatchError, NoAnswer
from sluiceway.batch.questions import Endpoint, argument_of, question_of
from sluiceway.batch.usual import usual_pipeline
from sluiceway.binding import chain_of, layers_of
from sluiceway.client import require_async_client
from sluiceway.functions import name_of, require_async
from sluiceway.layers import bounded, rate_limited, retry_jitter
from sluiceway.single_result import require_single_result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sluiceway.batch.templates import Template
    from sluiceway.layer import Layer

Bind: TypeAlias = "Callable[[Any], Any]"
"""A `Pipeline`, another layer, or what else puts layers around a function."""

_PER_MINUTE: Final = frozenset({"rpm", "tpm", "input_tpm", "output_tpm"})

ROWS_UNDER_WAY: Final = 1000
"""Rows begun and not over, where no `bounded` says how many are in flight."""

_LEAST: Final = 20  # rows that may wait beside those in flight, so that a place never stays empty

OF_ANSWERS: Final = ("max_tokens", "temperature")
"""Parameters that only requests for words take."""

_CONTENTS: Final[dict[Endpoint, str]] = {"chat": "choices", "responses": "output", "embeddings": "data"}

ATTEMPTS: Final = 5
"""Attempts of a row, where its pipeline does not say."""


class Target(ABC):
    """What is asked.

    Attributes:
        name: for people.
        settings: what shapes its answers; long texts by their hash.
        attempts: how many a row may have, as its layers say.
        function: a function with the layers that rows go through, for `describe` and `snapshot`.
    """

    name: str
    settings: Mapping[str, Any]
    attempts: int
    function: Any

    @property
    def limits(self) -> Mapping[str, float]:
        """What its layers allow per minute: `"rpm"`, `"tpm"`, `"input_tpm"`, `"output_tpm"`, of the tightest each."""
        found: dict[str, float] = {}
        for layer in layers_of(self.function):
            if isinstance(layer, rate_limited):
                for name, limit in layer.settings().items():
                    if name in _PER_MINUTE and limit is not None:
                        found[name] = min(limit, found.get(name, limit))
        return found

    @abstractmethod
    def prepare(self, value: Any) -> Any:
        """Return what `ask` needs for the row *value*.

        Raises:
            BadRow: nothing can be asked about it.
        """

    @property
    def rows(self) -> int:
        """How many rows may be under way: twice the places of its layers, and at least 20 more; 1000 without any.

        Rows that wait in memory are looked at by every full collection of Python's garbage: with 1000 of them beside
        100 in flight a row costs a third more.
        """
        places = list(filter(None, map(places_of, layers_of(self.function))))
        return max(2 * min(places), min(places) + _LEAST) if places else ROWS_UNDER_WAY

    @abstractmethod
    def ask(self, prepared: Any) -> Awaitable[Any]:
        """Ask, through all layers."""

    async def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Let go of what it holds open."""


class Function(Target):
    """An async function, called with each row's prompt, messages or input, or with the row.

    Args:
        function: with layers of its own, or without.
        pipeline: put around it; None for its own layers, and the usual ones if it has none.
        template: makes the prompt.
        argument: `"prompt"`, or `"row"` for the whole row.

    Raises:
        TypeError: *function* is not asynchronous, or an async generator function.
    """

    def __init__(
        self,
        function: Callable[..., Awaitable[Any]],
        pipeline: Bind | None,
        template: Template | None,
        argument: Literal["prompt", "row"] = "prompt",
    ) -> None:
        require_async(function)
        require_single_result(function)
        if argument not in ("prompt", "row"):
            raise ValueError(f"argument={argument!r} must be 'prompt' or 'row'")
        self.name = name_of(function)
        if pipeline is None and chain_of(function) is None:
            pipeline = usual_pipeline()
        self.function = function if pipeline is None else pipeline(function)
        self.attempts = attempts_of(self.function)
        self._template = template
        self._whole = argument == "row"
        self.settings = {
            "function": f"{getattr(function, '__module__', '')}.{self.name}",
            "argument": argument,
            "template": None if template is None else _hash(template.text),
        }

    def prepare(self, value: Any) -> Any:
        """Return what the function is called with."""
        return value if self._whole else argument_of(value, self._template)

    def ask(self, prepared: Any) -> Awaitable[Any]:
        """Call the function."""
        answer: Awaitable[Any] = self.function(prepared)
        return answer


class Model(Target):
    """A model behind an OpenAI-compatible API.

    Args:
        model: its name; a row in the format of OpenAI's Batch API may name another.
        pipeline: put around each request; None for the usual one.
        template: makes the prompt.
        client: an `AsyncOpenAI` or alike; None for one of our own, closed at the end.
        base_url, api_key: of our own client; the environment's by default.
        parameters: further fields of every request, such as `temperature`; those of a row's own body win.
        system: what stands before every prompt as the system's message.
        endpoint: where prompts go.

    Raises:
        TypeError: *client* is synchronous or another API's, or the parameter `extra_body` no mapping.
        BatchError: there is no API key.
    """

    def __init__(
        self,
        model: str,
        pipeline: Bind | None,
        template: Template | None,
        *,
        client: Any = None,
        base_url: str | None = None,
        api_key: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        system: str | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        if not model:
            raise ValueError("the model's name is empty")
        self.name = model
        self._template = template
        self._system = system
        self._endpoint = endpoint
        self._parameters = dict(parameters or {})
        if self._parameters.get("stream"):
            raise ValueError("parameters: a batch takes no streams, leave stream out")
        if not _may_be_extra(extra := self._parameters.get("extra_body")):
            raise TypeError(f"parameters: extra_body={extra!r} must be a mapping")
        of_answers = [name for name in OF_ANSWERS if self._parameters.get(name) is not None]
        if endpoint == "embeddings" and of_answers:
            raise ValueError(f"parameters: {of_answers[0]} is about answers in words, and embeddings have none")
        self.settings = {
            "model": model,
            "endpoint": endpoint or "chat",
            "template": None if template is None else _hash(template.text),
            "system": None if system is None else _hash(system),
            "parameters": _hash(repr(sorted(self._parameters.items()))) if self._parameters else None,
        }
        if client is not None:
            require_async_client(client)
        self._owns = client is None
        self._from_openai = client is None or any(
            kind.__module__.startswith("openai.") for kind in type(client).__mro__
        )
        self._client = our_client(base_url, api_key) if client is None else client
        around = usual_pipeline() if pipeline is None else pipeline
        self._create = {name: around(create) for name, create in _creates(self._client).items()}
        self._known = {name: set(inspect.signature(create).parameters) for name, create in self._create.items()}
        self.function = self._create.get(endpoint or "chat") or next(iter(self._create.values()))
        self.attempts = attempts_of(self.function)

    def prepare(self, value: Any) -> Any:
        """Return the endpoint and the body of the request."""
        question = question_of(value, self._template, system=self._system, endpoint=self._endpoint)
        if question.endpoint not in self._create:
            raise BadRow("bad url", f"the client has no {question.endpoint}")
        body = {"model": self.name, **parameters_for(question.endpoint, self._parameters), **question.body}
        also = body.get("extra_body")
        if not _may_be_extra(also):
            raise BadRow("bad body", f"extra_body must be an object, not one {type(also).__name__}")
        unknown = [name for name in body if name not in self._known[question.endpoint]]
        if unknown:
            body["extra_body"] = {**(also or {}), **{name: body.pop(name) for name in unknown}}
        return question.endpoint, body

    async def ask(self, prepared: Any) -> Any:
        """Send the request.

        Raises:
            NoAnswer: what came is none.
            Exception: what the layers and the client raise.
        """
        endpoint, body = prepared
        answer = await self._create[endpoint](**body)
        if self._from_openai:
            _require_answer(endpoint, answer)
        return answer

    async def close(self) -> None:
        """Close the client, if it is our own."""
        if self._owns:
            await self._client.close()


def parameters_for(endpoint: Endpoint, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *parameters* as *endpoint* takes them: one source may have rows for several."""
    if endpoint == "responses" and "max_tokens" in parameters:
        return {"max_output_tokens" if name == "max_tokens" else name: value for name, value in parameters.items()}
    if endpoint == "embeddings":
        return {name: value for name, value in parameters.items() if name not in OF_ANSWERS}
    return parameters


def _may_be_extra(body: object) -> bool:
    return body is None or isinstance(body, Mapping)


def places_of(layer: Layer) -> int | None:
    """Return how many calls *layer* lets be in flight; None for any number, or nobody knows how many."""
    if type(layer) is bounded:
        return layer.limit
    return layer.settings()["in_flight"] if type(layer) is rate_limited else None


def attempts_of(function: Any) -> int:
    """Return how many attempts the retries around *function* allow; 5 if there are none."""
    retries = [layer.attempts for layer in layers_of(function) if isinstance(layer, retry_jitter)]
    return math.prod(retries) if retries else ATTEMPTS


def our_client(base_url: str | None, api_key: str | None) -> Any:
    """Return a client of our own, by the environment where arguments are None.

    Raises:
        BatchError: there is no API key.
    """
    from sluiceway.providers.openai import client  # noqa: PLC0415 - openai takes half a second

    elsewhere = base_url or os.environ.get("OPENAI_BASE_URL")
    if api_key is None and not os.environ.get("OPENAI_API_KEY"):
        if not elsewhere:
            raise BatchError("there is no API key: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server without keys")
        api_key = "none"  # servers of one's own ask for none, and the client insists on some
    return client(base_url=base_url, api_key=api_key)


def _require_answer(endpoint: Endpoint, answer: Any) -> None:
    """Refuse what openai's clients return of a response that is no answer: its text, or an object without contents.

    Raises:
        NoAnswer: it is that.
    """
    if isinstance(answer, str):
        raise NoAnswer("the provider sent text and no JSON, as of a page to log in: is the base URL right?")
    name = _CONTENTS[endpoint]
    if not type(answer).__module__.startswith("openai.") or getattr(answer, name, None) is not None:
        return
    told = getattr(answer, "error", None)
    told = told if isinstance(told, dict) else {}
    code = told.get("code")
    message = f"the provider sent an answer without {name}" + (f": {told.get('message')}" if told else "")
    raise NoAnswer(message, code if isinstance(code, int) else None)


def _creates(client: Any) -> dict[str, Any]:
    """Return what can be asked of *client*, by endpoint.

    Raises:
        TypeError: it is another API's than OpenAI's.
    """
    if not hasattr(client, "chat"):
        raise TypeError(
            f"client={type(client).__name__} must be an AsyncOpenAI or alike, with chat.completions: give an async "
            "function that asks another API, in place of the model's name"
        )
    found: dict[str, Any] = {"chat": client.chat.completions.create}
    for name in ("responses", "embeddings"):
        resource = getattr(client, name, None)
        if resource is not None:
            found[name] = resource.create
    return found


def _hash(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
