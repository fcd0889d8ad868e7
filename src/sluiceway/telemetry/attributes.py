"""What spans say about a call and its attempts, as attributes.

Only str, int, float, bool and lists of str: anything else OpenTelemetry drops with a warning. Nothing here reads a
prompt or an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.trace import SpanKind

from sluiceway import events
from sluiceway.arguments import argument
from sluiceway.providers.facts import response_facts

from . import conventions as names
from .beside import instrumented, instruments
from .showing import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.call import Attempt, Call
    from sluiceway.events import Event
    from sluiceway.providers.usage import Usage

Value: TypeAlias = "str | int | float | bool | list[str]"

_MANY: Final = 1_000  # names remembered; a program that makes names without end starts anew
_containers: Final[set[str]] = set()
"""Names of calls whose last attempt made calls of its own."""
_waits: Final[dict[str, str]] = {}


# ------------------------------------------------------------------ the call


def call_facts(event: events.CallFinished, session: str | None) -> dict[str, Value]:
    """Return what the span of a finished call says."""
    assert event.call is not None
    run = event.call.run
    said: dict[str, Value] = {
        names.CALL_NAME: run.name,
        names.CALL_ID: run.id,
        names.CALL_OUTCOME: event.outcome,
        names.CALL_ATTEMPTS: len(run.attempts),
    }
    if session is not None:
        said[names.SESSION_ID] = session
    if run.waits:
        for reason, seconds in run.waits.items():
            said[_wait(reason)] = seconds
    usage = None
    resent = 0
    for attempt in run.attempts:
        resent += attempt.sdk_retries
        if attempt.usage is not None and not attempt.contained:  # else its inner calls account for it
            usage = attempt.usage if usage is None else usage + attempt.usage
    if usage is not None:
        said[names.CALL_INPUT_TOKENS] = usage.input_tokens
        said[names.CALL_OUTPUT_TOKENS] = usage.output_tokens
    if resent:
        said[names.CALL_REQUESTS] = len(run.attempts) + resent
    return said


def _wait(reason: str) -> str:
    """Return the attribute for *reason*, such as `"rate limit wait"`: `sluiceway.wait.rate_limit`."""
    name = _waits.get(reason)
    if name is None:
        if len(_waits) >= _MANY:
            _waits.clear()
        _waits[reason] = name = names.WAIT + reason.removesuffix(" wait").replace(" ", "_")
    return name


def moment(event: Event) -> tuple[str, dict[str, Value]]:
    """Return name and attributes of what is noted on the call's span as having happened at one moment."""
    if isinstance(event, events.CircuitChanged):
        changed: dict[str, Value] = {names.LAYER: event.layer, names.STATE_BEFORE: event.old, names.STATE: event.new}
        return f"circuit {event.new}", changed
    if isinstance(event, events.LimitPaused):
        return "limit paused", {names.LAYER: event.layer, names.PAUSE: event.seconds}
    if isinstance(event, events.FellBack):
        return "fallback", {
            names.LAYER: event.layer,
            names.FALLBACK_FROM: event.failed,
            names.FALLBACK_TO: event.to,
            names.ERROR_TYPE: names.type_name(event.cause),
        }
    if isinstance(event, events.PassedOver):
        passed: dict[str, Value] = {names.LAYER: event.layer, names.DEPLOYMENT: event.deployment}
        return "deployment passed over", {**passed, names.ERROR_TYPE: names.type_name(event.cause)}
    if isinstance(event, (events.HedgeSent, events.HedgeLost)):
        what = "hedge sent" if isinstance(event, events.HedgeSent) else "attempt lost to another"
        return what, {names.LAYER: event.layer, names.ATTEMPT_NUMBER: event.attempt.number}
    assert isinstance(event, events.SdkRetries)
    return "sdk retries", {names.SDK_RETRIES: event.retries}


# ------------------------------------------------------------------ an attempt


def opening(call: Call) -> tuple[bool, SpanKind, dict[str, Value] | None]:
    """Return whether another instrumentation stands beside us, the kind of an attempt's span, and what it says first.

    The kind is fixed at the start, before anybody can know whether the attempt will make calls of its own (it is then
    INTERNAL, and they are the CLIENT ones). So it is what the last attempt of that name was; the first is CLIENT.
    `gen_ai.*` is said at the start only where the provider's function is an API method, which makes no calls; of
    other functions it is said at the end, if there were none.
    """
    if instrumented():
        return True, SpanKind.INTERNAL, None
    if call.run.name in _containers:
        return False, SpanKind.INTERNAL, None
    return False, SpanKind.CLIENT, _request(call)


def _request(call: Call) -> dict[str, Value] | None:
    """Return what is known before the request where it is a method of a client's resource; None elsewhere."""
    resource = getattr(call.function, "__self__", None)
    if resource is None:
        return None
    origin = _RESOURCES.get(type(resource).__name__)
    if origin is None or instruments(getattr(resource, "_client", None)):
        return None
    said: dict[str, Value] = {names.OPERATION: origin, names.PROVIDER: _vendor(resource) or "openai"}
    model = call.kwargs.get("model")
    if isinstance(model, str):
        said[names.REQUEST_MODEL] = printable(model)
    said.update(_server(getattr(getattr(resource, "_client", None), "base_url", None)))
    return said


def closing(call: Call, attempt: Attempt, *, beside: bool, opened: bool) -> dict[str, Value]:
    """Return what an attempt's span says at its end; no `gen_ai.*` if other spans account for it.

    These are the spans of calls inside it, or of an instrumentation *beside* us. What `opening` said, if it *opened*
    with the request, is not said again.
    """
    said: dict[str, Value] = {}
    if attempt.outcome != "ok":
        said[names.ATTEMPT_OUTCOME] = attempt.outcome or "cancelled"
    if attempt.status is not None:
        said[names.HTTP_STATUS] = attempt.status
    if attempt.sdk_retries:
        said[names.ATTEMPT_SDK_RETRIES] = attempt.sdk_retries
    if attempt.streamed:
        said[names.STREAM_ITEMS] = attempt.items
        if attempt.first_item_at is not None:
            said[names.STREAM_FIRST_ITEM] = attempt.first_item_at - attempt.started_at
    if attempt.contained:
        _remember(call.run.name)
    elif not beside:
        if _containers:
            _containers.discard(call.run.name)
        _answer(call, attempt, said, opened=opened)
    return said


def _remember(container: str) -> None:
    if len(_containers) >= _MANY:
        _containers.clear()
    _containers.add(container)


def _answer(call: Call, attempt: Attempt, said: dict[str, Value], *, opened: bool) -> None:
    """Add what the response, or the error, says about itself."""
    result = attempt.result
    facts = response_facts(result) if attempt.reader is None else attempt.reader.facts
    if facts is not None and facts.model is not None:
        if not opened:
            said[names.OPERATION], said[names.PROVIDER] = _origin(result, facts.id, streamed=attempt.streamed)
            said[names.REQUEST_MODEL] = _asked(call) or printable(facts.model)
        said[names.RESPONSE_MODEL] = printable(facts.model)
        if facts.id is not None:
            said[names.RESPONSE_ID] = facts.id
        if facts.finish_reasons:
            said[names.FINISH_REASONS] = list(facts.finish_reasons)
    elif attempt.error is not None and not opened:
        _refusal(call, attempt.error, said)
    if attempt.usage is not None:
        _usage(attempt.usage, said)


def _usage(usage: Usage, said: dict[str, Value]) -> None:
    said[names.INPUT_TOKENS] = usage.input_tokens
    said[names.OUTPUT_TOKENS] = usage.output_tokens
    if usage.cached_tokens:
        said[names.CACHE_READ_TOKENS] = usage.cached_tokens
    if usage.reasoning_tokens:
        said[names.REASONING_TOKENS] = usage.reasoning_tokens
    if usage.cache_write_tokens:
        said[names.CACHE_CREATION_TOKENS] = usage.cache_write_tokens


def _refusal(call: Call, error: BaseException, said: dict[str, Value]) -> None:
    """Add what a provider's error says about the request: whose it was, and where it went."""
    provider = _vendor(error)
    if provider is None:
        return
    said[names.PROVIDER] = provider
    model = _asked(call)
    if model is not None:
        said[names.REQUEST_MODEL] = model
    url = getattr(getattr(error, "request", None), "url", None)
    said.update(_server(url))
    path = getattr(url, "path", None)
    if isinstance(path, str):
        said[names.OPERATION] = "embeddings" if path.endswith("/embeddings") else "chat"


# ------------------------------------------------------------------ whose, and where

_RESOURCES: Final = {
    "AsyncCompletions": "chat",
    "AsyncEmbeddings": "embeddings",
    "AsyncResponses": "chat",
    "AsyncMessages": "chat",
}
"""The operation behind each resource of a client, by the name of its class."""
_VENDORS: Final = frozenset({"openai", "anthropic"})


def _asked(call: Call) -> str | None:
    model = argument(call, "model")
    return printable(model) if isinstance(model, str) else None


def _vendor(thing: object) -> str | None:
    """Return the client library that *thing* comes from, by its module; None if we do not know it."""
    root = type(thing).__module__.partition(".")[0]
    return root if root in _VENDORS else None


def _origin(result: Any, own_id: str | None, *, streamed: bool) -> tuple[str, str]:
    """Return operation and provider of an answer.

    Embeddings are the answers without an id. Anthropic's are known by their class or id; whatever else has the shape
    of a response speaks OpenAI's protocol.
    """
    provider = _vendor(result)
    if provider is None:
        provider = "anthropic" if own_id is not None and own_id.startswith("msg_") else "openai"
    return "chat" if streamed or own_id is not None else "embeddings", provider


def _server(url: Any) -> Mapping[str, Value]:
    """Return the server that *url*, an object with `host` and `port`, names."""
    host = getattr(url, "host", None)
    if not isinstance(host, str) or not host:
        return {}
    port = getattr(url, "port", None) or (80 if getattr(url, "scheme", "") == "http" else 443)
    return {names.SERVER_ADDRESS: host, names.SERVER_PORT: port}
