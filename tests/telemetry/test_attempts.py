"""What the span of an attempt says: the request, the response, the stream, and when it leaves that to others."""

from __future__ import annotations

import asyncio
import gc
import sys
from types import SimpleNamespace

import httpx2
import pytest
import wrapt
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from sluiceway.layer import Pipeline
from sluiceway.providers.openai import note_response
from sluiceway.telemetry.beside import instrumented
from sluiceway.testing.openai_shapes import chunks, completion, openai_error
from spies import Again, Passing, Stream, Within


def asking(layer=None):
    """Decorate a function under the name "ask"."""
    return Pipeline(layer or Passing(), name="ask")


def said(span):
    return {name: value for name, value in span.attributes.items() if name.startswith("gen_ai.")}


# ------------------------------------------------------------------ requests and responses


async def test_an_attempt_says_what_the_response_says(spans):
    """Operation, provider, models, id, finish reasons and usage come from the answer, whatever the function is."""

    @asking()
    async def ask(prompt):
        return completion(prompt_tokens=9, completion_tokens=4, cached_tokens=3, model="gpt-4o-mini-2024-07-18")

    await ask("a prompt")
    attempt = spans.one("attempt 1")
    assert attempt.kind is SpanKind.CLIENT
    assert said(attempt) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": "chatcmpl-scripted",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 3,
    }


async def test_the_model_asked_for_is_the_callers(spans):
    """A `model=` argument is the requested model; the answer names the more exact one."""

    @asking()
    async def ask(*, model):
        return completion(model="gpt-4o-mini-2024-07-18")

    await ask(model="gpt-4o-mini")
    attempt = said(spans.one("attempt 1"))
    assert attempt["gen_ai.request.model"] == "gpt-4o-mini"
    assert attempt["gen_ai.response.model"] == "gpt-4o-mini-2024-07-18"


@pytest.mark.parametrize(
    ("answer", "operation", "provider"),
    [
        ({"id": "msg_1", "type": "message", "model": "claude", "stop_reason": "end_turn"}, "chat", "anthropic"),
        ({"id": "resp_1", "object": "response", "model": "gpt", "status": "completed"}, "chat", "openai"),
        ({"object": "list", "model": "embed", "data": [], "usage": {"prompt_tokens": 3}}, "embeddings", "openai"),
    ],
)
async def test_operation_and_provider_are_known_by_the_shape_of_the_answer(spans, answer, operation, provider):
    """Messages, responses and embeddings are told apart without importing any client."""

    @asking()
    async def ask():
        return answer

    await ask()
    attempt = said(spans.one("attempt 1"))
    assert (attempt["gen_ai.operation.name"], attempt["gen_ai.provider.name"]) == (operation, provider)


async def test_an_answer_that_is_no_response_says_nothing(spans):
    """A function that returns plain text is shown as an attempt, and no model is made up."""

    @asking()
    async def ask():
        return "text"

    await ask()
    assert dict(spans.one("attempt 1").attributes) == {}


async def test_a_refused_attempt_has_its_status(spans):
    """429 and 503 stand on the attempts that met them, with the class of the error."""
    script = [openai_error(429), openai_error(503), completion()]

    @asking(Again())
    async def ask():
        step = script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    await ask()
    attempts = [spans.one(f"attempt {n}") for n in (1, 2, 3)]
    assert [span.attributes.get("http.response.status_code") for span in attempts] == [429, 503, None]
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert all("Error" in span.attributes["error.type"] for span in attempts[:2])


async def test_a_providers_error_tells_whose_and_where(spans):
    """Openai's errors carry the request: the server, and by its path the operation, are known of a failed attempt."""
    error = openai_error(503, real=True)

    @asking()
    async def ask(*, model):
        raise error

    with pytest.raises(type(error)):
        await ask(model="gpt-4o-mini")
    attributes = dict(spans.one("attempt 1").attributes)
    assert attributes["gen_ai.provider.name"] == "openai"
    assert attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert attributes["error.type"].startswith("openai.")
    assert attributes["server.address"] == error.request.url.host


class AsyncCompletions:
    """A client's resource, by the name of openai's."""

    def __init__(self):
        self._client = SimpleNamespace(base_url=SimpleNamespace(host="llm.example", port=8080, scheme="http"))

    async def create(self, *, model, messages):
        return completion(model=model)


async def test_an_api_method_says_the_request_at_its_start(spans):
    """Where the function is a client's method, model, operation and server are there for samplers and processors."""
    started = []

    class Looks:
        def on_start(self, span, parent_context=None):
            started.append((span.name, dict(span.attributes)))

        def on_end(self, span): ...

        def _on_ending(self, span): ...

        def shutdown(self): ...

    spans.provider.add_span_processor(Looks())
    create = asking()(AsyncCompletions().create)
    await create(model="gpt-4o-mini", messages=[{"role": "user", "content": "a secret"}])
    assert dict(started)["attempt 1"] == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "server.address": "llm.example",
        "server.port": 8080,
    }
    assert said(spans.one("attempt 1"))["gen_ai.response.model"] == "gpt-4o-mini"


async def test_attributes_are_of_the_types_that_opentelemetry_takes(spans, caplog):
    """Every attribute is a str, int, float, bool or a list of str: others would be dropped with a warning."""

    @asking(Within(9))
    async def ask():
        return completion()

    await ask()
    for span in spans.all:
        for value in span.attributes.values():
            assert type(value) in {str, int, float, bool} or all(type(each) is str for each in value)
    assert caplog.records == []


# ------------------------------------------------------------------ calls inside, and instrumentations beside


async def test_an_attempt_that_contained_calls_leaves_gen_ai_to_them(spans):
    """Tokens would be counted twice if the outer attempt claimed the answer that it passes on."""

    @Pipeline(Passing(), name="inner")
    async def inner():
        return completion()

    @Pipeline(Passing(), name="outer")
    async def outer():
        return await inner()

    await outer()
    first, second = sorted((span for span in spans.all if span.name == "attempt 1"), key=lambda span: len(said(span)))
    assert said(first) == {}
    assert said(second)["gen_ai.usage.input_tokens"] == 10
    calls = {span.name: span.attributes.get("sluiceway.call.input_tokens") for span in spans.all}
    assert (calls["call inner"], calls["call outer"]) == (10, None)


async def test_the_kind_of_an_attempt_is_what_the_last_one_of_that_name_was(spans):
    """A span's kind is fixed at its start: a function that contains calls is INTERNAL from its second call on."""
    nests = True

    @Pipeline(Passing(), name="inner")
    async def inner():
        return completion()

    @Pipeline(Passing(), name="outer")
    async def outer():
        return await inner() if nests else completion()

    kinds = []
    for nests in (True, True, False, False):  # noqa: B007 - read by `outer`
        await outer()
        top = next(span for span in spans.all if span.name == "call outer")
        kinds.append(next(s.kind for s in spans.all if s.parent and s.parent.span_id == top.context.span_id))
        spans.exporter.clear()
    assert kinds == [SpanKind.CLIENT, SpanKind.INTERNAL, SpanKind.INTERNAL, SpanKind.CLIENT]


@pytest.fixture
def instrumentation(monkeypatch):
    """Wrap `create` as opentelemetry-instrumentation-genai-openai does; return a function that unwraps it."""

    class Instrumented(AsyncCompletions):
        async def create(self, **kwargs):
            return completion()

    def pass_on(wrapped, instance, args, kwargs):
        return wrapped(*args, **kwargs)

    original = Instrumented.__dict__["create"]
    Instrumented.create = wrapt.FunctionWrapper(original, pass_on)
    name = "openai.resources.chat.completions.completions"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(AsyncCompletions=Instrumented))
    return lambda: setattr(Instrumented, "create", original)


async def test_beside_another_instrumentation_an_attempt_is_internal(spans, instrumentation):
    """Its CLIENT span of the request says `gen_ai.*`: ours does not, as long as it is there."""

    @asking()
    async def ask(*, model):
        return completion()

    await ask(model="gpt-4o-mini")
    beside = spans.one("attempt 1")
    spans.exporter.clear()
    instrumentation()
    await ask(model="gpt-4o-mini")
    alone = spans.one("attempt 1")
    assert (beside.kind, said(beside)) == (SpanKind.INTERNAL, {})
    assert (alone.kind, len(said(alone))) == (SpanKind.CLIENT, 8)


@pytest.mark.parametrize("whose", ["openinference", "logfire"])
def test_others_are_known_by_what_they_leave_on_the_client(monkeypatch, whose):
    """OpenInference wraps `request` of the class, logfire marks it; when they go, it is as before."""

    class Client:
        async def request(self): ...

    monkeypatch.setitem(
        sys.modules, "openai.resources.chat.completions.completions", SimpleNamespace(AsyncCompletions=AsyncCompletions)
    )
    monkeypatch.setitem(sys.modules, "openai", SimpleNamespace(AsyncOpenAI=Client))
    before = instrumented()
    with monkeypatch.context() as there:
        if whose == "logfire":
            there.setattr(Client, "_is_instrumented_by_logfire", True, raising=False)
        else:
            there.setattr(Client, "request", wrapt.FunctionWrapper(Client.request, lambda f, _, a, k: f(*a, **k)))
        during = instrumented()
    assert (before, during, instrumented()) == (False, True, False)


@pytest.mark.parametrize(("model", "tells"), [("gpt-4o-mini", True), (None, False)])
async def test_a_span_around_the_request_that_tells_of_the_model_counts_its_tokens(spans, model, tells):
    """Our response hook finds it; a span of the HTTP client alone leaves `gen_ai.*` to ours."""
    response = httpx2.Response(200, request=httpx2.Request("POST", "http://sim/v1/chat/completions"))

    @asking()
    async def ask():
        with spans.tracer.start_as_current_span("request", attributes={"gen_ai.request.model": model} if model else {}):
            await note_response(response)
        return completion()

    await ask()
    assert (said(spans.one("attempt 1")) == {}) is tells


def test_another_instrumentation_is_found_without_importing_openai(monkeypatch):
    """Only an openai that somebody imported can be instrumented: it is looked for, never imported."""
    monkeypatch.delitem(sys.modules, "openai.resources.chat.completions.completions", raising=False)
    assert instrumented() is False
    assert "openai.resources.chat.completions.completions" not in sys.modules


# ------------------------------------------------------------------ streams


async def test_a_streams_attempt_lasts_until_its_last_item(spans):
    """Items, time to the first one and usage of the last chunk stand on the attempt; its length includes reading."""

    @asking()
    async def ask():
        return Stream(3, gap=2.0)

    assert [item async for item in await ask()] == [1, 2, 3]
    attempt = spans.one("attempt 1")
    assert dict(attempt.attributes) == {
        "sluiceway.stream.items": 3,
        "sluiceway.stream.time_to_first_item": 2.0,
    }
    assert round((attempt.end_time - attempt.start_time) / 1e9) == 8


async def test_a_stream_of_chunks_says_what_its_chunks_say(spans):
    """Model, id, finish reason and usage are gathered from the chunks that passed."""

    @asking()
    async def ask():
        for chunk in chunks("two words", usage=True):
            yield chunk

    async for _ in ask():
        pass
    attempt = said(spans.one("attempt 1"))
    assert attempt["gen_ai.operation.name"] == "chat"
    assert attempt["gen_ai.response.finish_reasons"] == ("stop",)
    assert attempt["gen_ai.usage.output_tokens"] > 0


async def test_between_two_items_the_readers_own_spans_stay_its_own(spans):
    """Nothing is attached across a yield: what the reader does between items is no child of the attempt."""
    inside = []

    @asking()
    async def count():
        for n in range(3):
            with spans.tracer.start_as_current_span("generating"):
                inside.append(get_current_span())
            yield n

    with spans.tracer.start_as_current_span("reader") as reader:
        async for _ in count():
            assert get_current_span() is reader
            spans.tracer.start_span("reading").end()
    assert spans.tree() == [
        ("reader", [("call ask", [("attempt 1", ["generating"] * 3)]), "reading", "reading", "reading"])
    ]


async def test_a_stream_read_in_another_task_keeps_its_trace(spans, caplog):
    """Opened here, read there: no span of the other task becomes a parent, and no context fails to detach."""

    @asking()
    async def ask():
        return Stream(2)

    stream = await ask()

    async def read():
        with spans.tracer.start_as_current_span("elsewhere"):
            return [item async for item in stream]

    assert await asyncio.create_task(read()) == [1, 2]
    assert spans.tree() == [("call ask", ["attempt 1"]), "elsewhere"]
    assert caplog.records == []


async def _closed(stream):
    await stream.aclose()


async def _left(stream):
    async with stream:
        async for _ in stream:
            break


async def _collected(stream):
    await anext(stream)
    del stream
    gc.collect()


async def _failed(stream):
    with pytest.raises(ConnectionResetError):
        async for _ in stream:
            pass


@pytest.mark.parametrize(
    ("leave", "outcome"), [(_closed, "cancelled"), (_left, "cancelled"), (_collected, "cancelled"), (_failed, "error")]
)
async def test_a_stream_ends_its_spans_however_it_is_left(spans, leave, outcome):
    """Closed, left in the middle, forgotten or failed: the attempt and the call end, with their outcome."""

    @asking()
    async def ask():
        return Stream(5, fail_at=3, error=ConnectionResetError("peer"))

    await leave(await ask())
    await asyncio.sleep(1)
    assert spans.tree() == [("call ask", ["attempt 1"])]
    assert spans.one("call ask").attributes["sluiceway.call.outcome"] == outcome
    assert spans.one("attempt 1").attributes["sluiceway.attempt.outcome"] == outcome


def test_a_stream_forgotten_when_the_loop_is_closed_ends_its_spans(spans):
    """A stream that nobody read, dropped after its event loop is gone, still ends both spans."""

    @asking()
    async def ask():
        return Stream(5)

    stream = asyncio.run(ask())
    assert spans.all == []
    del stream
    gc.collect()
    assert spans.tree() == [("call ask", ["attempt 1"])]
    assert spans.one("call ask").attributes["sluiceway.call.outcome"] == "cancelled"


async def test_a_stream_retried_before_its_first_item_has_two_attempts(spans):
    """The failed opening and the one that was read are attempts of one call."""
    streams = [Stream(3, fail_at=0, error=ConnectionResetError("peer")), Stream(2)]

    @asking(Again(pause=1.0))
    async def ask():
        return streams.pop(0)

    assert [item async for item in await ask()] == [1, 2]
    assert spans.tree() == [("call ask", ["attempt 1", "attempt 2"])]
    assert [spans.one(f"attempt {n}").attributes["sluiceway.stream.items"] for n in (1, 2)] == [0, 2]
