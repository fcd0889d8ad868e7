"""What a trace shows of a call: flat phases, living attempts, times that do not touch, errors where they happened."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from reporting import Notes, Refuses, Retries, Waits
from sluiceway import telemetry
from sluiceway.errors import CircuitOpen, TimedOut
from sluiceway.layer import Pipeline
from sluiceway.testing.openai_shapes import completion
from spies import Again, Passing, Within

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000


async def answer():
    return "yes"


def failing(*errors, then="yes"):
    """A provider that raises each of *errors*, then answers."""
    left = list(errors)

    async def ask():
        if left:
            raise left.pop(0)
        return then

    return ask


# ------------------------------------------------------------------ the tree


async def test_layers_are_siblings_in_the_order_of_what_happened(spans):
    """Phases and attempts stand side by side under the call: depth, not number, makes a trace unreadable."""
    await Pipeline(Waits(1.0), Retries(2.0), Waits(0.0, "circuit"), name="ask")(failing(OSError()))()
    assert spans.tree() == [
        ("call ask", ["bounded wait", "circuit wait", "attempt 1", "backoff", "circuit wait", "attempt 2"])
    ]


async def test_a_phase_has_its_own_start_end_and_attributes(spans):
    """A wait of two seconds is a span of two seconds, whenever it was reported, and says what its layer said."""
    await Pipeline(Waits(2.0, "rate limit", **{"sluiceway.rate_limit.limit": 500.0}), name="ask")(answer)()
    wait = spans.one("rate limit wait")
    assert wait.kind is SpanKind.INTERNAL
    assert 2 * SECOND - MICROSECOND <= wait.end_time - wait.start_time <= 2 * SECOND
    assert dict(wait.attributes) == {"sluiceway.rate_limit.limit": 500.0}


async def test_neighbours_leave_a_microsecond_between_them(spans):
    """Siblings never touch, also where everything happens at one moment, and the call encloses them all."""
    layers = [Waits(0.0), Waits(0.0), Waits(1.0), Waits(0.0)]
    await Pipeline(*layers, Retries(0.0, 1.0), name="ask")(failing(OSError(), OSError()))()
    call, *siblings = spans.all
    assert call.name == "call ask"
    assert len(siblings) == 9
    for before, after in itertools.pairwise(siblings):
        assert after.start_time - before.end_time >= MICROSECOND
    assert call.start_time < siblings[0].start_time
    assert call.end_time >= siblings[-1].end_time


async def test_the_length_of_a_call_is_its_time_by_the_loops_clock(spans):
    """Spans tell durations by the event loop's clock, anchored to the wall clock once per call."""
    await Pipeline(Waits(3.0), name="ask")(answer)()
    call = spans.one("call ask")
    assert 3 * SECOND <= call.end_time - call.start_time < 3 * SECOND + SECOND


async def test_a_phase_that_covers_others_is_a_point_at_its_end(spans):
    """A time limit lasts throughout: drawn so it ended last and was all that Jaeger's critical path showed of a call.

    Its length is an attribute.
    """
    from sluiceway import timed

    await Pipeline(timed("60s"), Waits(1.0), name="ask")(answer)()
    limit, attempt = spans.one("timed"), spans.one("attempt 1")
    assert limit.start_time >= attempt.end_time + MICROSECOND
    assert limit.end_time - limit.start_time == MICROSECOND
    assert limit.attributes["sluiceway.timed.elapsed"] == 1.0


async def test_what_the_call_says(spans):
    """The call's span has its name, id, outcome, attempts, tokens in our namespace, and seconds waited by reason."""
    layers = Waits(1.5), Waits(0.5, "rate limit"), Retries(2.0)
    await Pipeline(*layers, name="ask")(failing(OSError(), then=completion(prompt_tokens=7, completion_tokens=2)))()
    said = dict(spans.one("call ask").attributes)
    assert said.pop("sluiceway.call.id").count("-") == 1
    assert said == {
        "sluiceway.call.name": "ask",
        "sluiceway.call.outcome": "ok",
        "sluiceway.call.attempts": 2,
        "sluiceway.call.input_tokens": 7,
        "sluiceway.call.output_tokens": 2,
        "sluiceway.wait.bounded": 1.5,
        "sluiceway.wait.rate_limit": 0.5,
        "sluiceway.wait.backoff": 2.0,
    }


async def test_a_call_inside_a_session_says_so(spans):
    """`session.id` on the call's span is the innermost session's."""

    class Session:
        def __init__(self, name):
            self.id = name

        drains = True

        def admit(self, call): ...

        def hear(self, event): ...

    telemetry.scopes.set((Session("inner-1"), Session("outer-2")))
    await Pipeline(Passing(), name="ask")(answer)()
    assert spans.one("call ask").attributes["session.id"] == "inner-1"


async def test_moments_are_noted_on_the_call(spans):
    """An opened circuit, a pause and retries of the SDK are events of the call's span, without the layer's key."""
    await Pipeline(Notes(), name="ask")(answer)()
    noted = [(event.name, dict(event.attributes)) for event in spans.one("call ask").events]
    assert noted == [
        (
            "circuit open",
            {
                "sluiceway.layer": "circuit_breaker",
                "sluiceway.circuit_breaker.old_state": "closed",
                "sluiceway.circuit_breaker.state": "open",
            },
        ),
        ("limit paused", {"sluiceway.layer": "rate_limited", "sluiceway.rate_limit.pause": 2.5}),
        ("sdk retries", {"sluiceway.sdk_retries": 2}),
    ]


async def test_requests_of_the_sdk_are_told_where_it_retried(spans):
    """Two retries of the SDK under one attempt make three requests, on the attempt's and on the call's span."""
    from sluiceway.call import current

    @Pipeline(Passing(), name="ask")
    async def ask():
        current.get().run.last.sdk_retries = 2

    await ask()
    assert spans.one("attempt 1").attributes["sluiceway.attempt.sdk_retries"] == 2
    assert spans.one("call ask").attributes["sluiceway.call.requests"] == 3


# ------------------------------------------------------------------ errors and outcomes


async def test_a_handled_error_marks_its_attempt_and_not_the_call(spans):
    """An attempt that failed and was retried is an ERROR with one exception; the call succeeded."""
    await Pipeline(Retries(1.0), name="ask")(failing(ConnectionResetError("peer")))()
    failed, succeeded, call = spans.one("attempt 1"), spans.one("attempt 2"), spans.one("call ask")
    assert (failed.status.status_code, failed.attributes["error.type"]) == (StatusCode.ERROR, "ConnectionResetError")
    assert [event.name for event in failed.events] == ["exception"]
    for span in (succeeded, call, spans.one("backoff")):
        assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())
        assert "error.type" not in span.attributes


async def test_an_exception_is_recorded_once(spans):
    """The error that ends a call is recorded on the attempt it came from; the call's span only names its type."""
    with pytest.raises(ConnectionResetError):
        await Pipeline(Passing(), name="ask")(failing(ConnectionResetError("peer")))()
    call = spans.one("call ask")
    assert (call.status.status_code, call.attributes["error.type"]) == (StatusCode.ERROR, "ConnectionResetError")
    assert call.attributes["sluiceway.call.outcome"] == "error"
    assert [len(span.events) for span in (call, spans.one("attempt 1"))] == [0, 1]


async def test_a_refused_call_fails_where_it_was_refused(spans):
    """The refusing phase carries the error with its numbers; there is no attempt, and the call says "rejected"."""
    with pytest.raises(CircuitOpen):
        await Pipeline(Waits(1.0), Refuses(), name="ask")(answer)()
    assert spans.tree() == [("call ask", ["bounded wait", "circuit check"])]
    check, call = spans.one("circuit check"), spans.one("call ask")
    (exception,) = check.events
    assert exception.attributes == {
        "exception.type": "sluiceway.CircuitOpen",
        "exception.message": "the circuit is open",
    }
    assert (call.attributes["sluiceway.call.outcome"], call.attributes["error.type"]) == (
        "rejected",
        "sluiceway.CircuitOpen",
    )
    assert (call.status.status_code, call.events) == (StatusCode.ERROR, ())


async def test_a_foreign_errors_message_is_content(spans):
    """A provider's message may quote the prompt: only its type is recorded."""
    with pytest.raises(ValueError, match="secret"):
        await Pipeline(Passing(), name="ask")(failing(ValueError("your prompt 'secret' is bad")))()
    assert "secret" not in "".join(span.to_json() for span in spans.all)


async def test_content_is_captured_when_asked_for(spans):
    """`capture_content=True` records messages and tracebacks of errors."""
    telemetry.configure(tracer_provider=spans.provider, capture_content=True)
    with pytest.raises(ValueError, match="secret"):
        await Pipeline(Passing(), name="ask")(failing(ValueError("your prompt 'secret' is bad")))()
    (exception,) = spans.one("attempt 1").events
    assert exception.attributes["exception.message"] == "your prompt 'secret' is bad"
    assert "in ask" in exception.attributes["exception.stacktrace"]


async def test_no_argument_answer_or_key_enters_a_span(spans):
    """Prompts, answers and keys of layers stay out of everything that is exported."""

    @Pipeline(Notes(), Waits(0.0), name="ask")
    async def ask(prompt, *, api_key):
        return completion("a secret answer")

    await ask("a secret prompt", api_key="a secret key")
    assert "secret" not in "".join(span.to_json() for span in spans.all)


async def test_a_cancelled_call_says_so(spans):
    """A cancelled span does not look successful: its outcome is set, and so is its attempt's; neither failed."""
    task = asyncio.ensure_future(Pipeline(Waits(1.0), name="ask")(asyncio.sleep)(100))
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    call, attempt = spans.one("call ask"), spans.one("attempt 1")
    assert call.attributes["sluiceway.call.outcome"] == "cancelled"
    assert attempt.attributes["sluiceway.attempt.outcome"] == "cancelled"
    assert {span.status.status_code for span in (call, attempt)} == {StatusCode.UNSET}
    assert round((call.end_time - call.start_time) / SECOND) == 5


async def test_a_call_that_timed_out_failed(spans):
    """Our own limit cancels the attempt and fails the call, which records the error: no attempt raised it."""
    with pytest.raises(TimedOut):
        await Pipeline(Within(2.0), name="ask")(asyncio.sleep)(100)
    call, attempt = spans.one("call ask"), spans.one("attempt 1")
    assert attempt.attributes["sluiceway.attempt.outcome"] == "cancelled"
    assert call.attributes["sluiceway.call.outcome"] == "timed out"
    assert [event.attributes["exception.type"] for event in call.events] == ["sluiceway.TimedOut"]


# ------------------------------------------------------------------ what is current, and where


async def test_what_the_provider_does_is_a_child_of_its_attempt(spans):
    """While the provider runs, its attempt's span is the current one, also to plain OpenTelemetry code."""

    @Pipeline(Retries(1.0), name="ask")
    async def ask():
        with spans.tracer.start_as_current_span("HTTP POST"):
            await asyncio.sleep(1)
        get_current_span().set_attribute("the.applications", "own")
        if len(spans.all) < 3:
            raise OSError

    await ask()
    assert spans.tree() == [("call ask", [("attempt 1", ["HTTP POST"]), "backoff", ("attempt 2", ["HTTP POST"])])]
    assert spans.one("attempt 1").attributes["the.applications"] == "own"


async def test_between_attempts_the_calls_span_is_current(spans):
    """What a layer does itself, outside the provider, is a child of the call and of no attempt."""

    class Asks(Passing):
        async def handle(self, call, proceed):
            spans.tracer.start_span("before").end()
            try:
                return await proceed(call)
            finally:
                spans.tracer.start_span("after").end()

    await Pipeline(Asks(), name="ask")(answer)()
    assert sorted(spans.tree()[0][1]) == ["after", "attempt 1", "before"]


async def test_nothing_stays_attached_in_the_caller(spans):
    """The caller's current span is the same before and after a call, also after one that failed."""
    with spans.tracer.start_as_current_span("request") as request:
        await Pipeline(Passing(), name="ask")(answer)()
        with pytest.raises(ConnectionResetError):
            await Pipeline(Passing(), name="ask")(failing(ConnectionResetError()))()
        assert get_current_span() is request
    assert [name for name, _ in spans.tree()] == ["request"]


async def test_a_call_inside_a_call_hangs_under_its_attempt(spans):
    """Nested calls make a nested trace, through the attempt that made them."""
    inner = Pipeline(Passing(), name="inner")(answer)

    @Pipeline(Passing(), name="outer")
    async def outer():
        return await inner()

    await outer()
    assert spans.tree() == [("call outer", [("attempt 1", [("call inner", ["attempt 1"])])])]


async def test_a_worker_task_keeps_the_trace_of_who_submitted_the_work(spans):
    """A call is placed by the context it is started in: run in the submitter's, it hangs under the submitter."""
    from contextvars import copy_context

    ask = Pipeline(Passing(), name="ask")(answer)
    queue = asyncio.Queue()

    async def work():
        context = await queue.get()
        await asyncio.create_task(ask(), context=context)

    worker = asyncio.create_task(work())
    await asyncio.sleep(0)
    with spans.tracer.start_as_current_span("request"):
        queue.put_nowait(copy_context())
        await worker
    assert spans.tree() == [("request", [("call ask", ["attempt 1"])])]


async def test_attempts_in_tasks_of_their_own_each_have_their_span(spans):
    """Where a layer runs two attempts at once, each provider finds its own attempt, and both end."""

    class Both(Passing):
        async def handle(self, call, proceed):
            results = await asyncio.gather(proceed(call), proceed(call.again(2)))
            return results[0]

    @Pipeline(Both(), name="ask")
    async def ask():
        await asyncio.sleep(1)
        spans.tracer.start_span("HTTP POST").end()

    await ask()
    assert spans.tree() == [("call ask", [("attempt 1", ["HTTP POST"]), ("attempt 2", ["HTTP POST"])])]


# ------------------------------------------------------------------ sampling


async def test_a_call_that_was_sampled_out_makes_no_span_and_its_children_neither(make_spans):
    """A sampled-out call hands its decision down: a child would otherwise be the root of a trace of its own."""
    from opentelemetry.sdk.trace import sampling

    roots = []

    class Never(sampling.Sampler):
        def should_sample(self, parent_context, trace_id, name, **rest):
            roots.append(name)
            return sampling.ALWAYS_OFF.should_sample(parent_context, trace_id, name)

        def get_description(self):
            return "never"

    found = make_spans(sampler=sampling.ParentBased(Never()))
    telemetry.configure(tracer_provider=found.provider)

    @Pipeline(Waits(1.0), name="ask")
    async def ask():
        found.tracer.start_span("HTTP POST").end()

    await ask()
    assert (found.all, roots) == ([], ["call ask"])


async def test_a_sampled_out_generator_hands_its_decision_down_too(make_spans):
    """The same for a decorated async generator, whose call starts at the first read."""
    from opentelemetry.sdk.trace import sampling

    found = make_spans(sampler=sampling.ALWAYS_OFF)
    telemetry.configure(tracer_provider=found.provider)
    seen = []

    @Pipeline(Passing(), name="count")
    async def count():
        seen.append(get_current_span().get_span_context())
        yield 1

    assert [item async for item in count()] == [1]
    assert (seen[0].is_valid, seen[0].trace_flags.sampled) == (True, False)


async def test_without_an_sdk_a_remote_parent_is_passed_on():
    """With the API alone, the trace that a request brought reaches the provider unchanged."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    seen = []

    @Pipeline(Passing(), name="ask")
    async def ask():
        seen.append(get_current_span().get_span_context())

    with use_span(NonRecordingSpan(remote)):
        await ask()
    assert seen == [remote]


async def test_a_sampler_sees_the_calls_name(make_spans):
    """The decision about a whole call can be made by its span's name, the only thing known that early."""
    from opentelemetry.sdk.trace import sampling

    class Only(sampling.Sampler):
        def should_sample(self, parent_context, trace_id, name, **rest):
            return (sampling.ALWAYS_ON if name == "call this" else sampling.ALWAYS_OFF).should_sample(
                parent_context, trace_id, name
            )

        def get_description(self):
            return "only"

    found = make_spans(sampler=sampling.ParentBased(Only()))
    telemetry.configure(tracer_provider=found.provider)
    await Pipeline(Passing(), name="that")(answer)()
    await Pipeline(Passing(), name="this")(answer)()
    assert found.names() == ["call this", "attempt 1"]


# ------------------------------------------------------------------ detail


async def test_compact_leaves_out_phases_under_a_millisecond(spans):
    """`detail="compact"` keeps calls, attempts, what took time and what failed."""
    telemetry.configure(tracer_provider=spans.provider, detail="compact")
    await Pipeline(Waits(0.0), Waits(0.0009, "short"), Waits(0.001, "long"), name="ask")(answer)()
    with pytest.raises(CircuitOpen):
        await Pipeline(Refuses(), name="refused")(answer)()
    assert spans.tree() == [("call ask", ["long wait", "attempt 1"]), ("call refused", ["circuit check"])]


async def test_nested_shows_the_order_of_layers(spans):
    """`detail="nested"` puts each layer's span around what is inside it, until the attempt is over."""
    telemetry.configure(tracer_provider=spans.provider, detail="nested")
    await Pipeline(Retries(1.0), Waits(2.0), Waits(0.0, "circuit"), name="ask")(failing(OSError()))()
    attempt = [("bounded wait", [("circuit wait", ["attempt %d"])])]
    assert str(spans.tree()) == str([("call ask", [*attempt, "backoff", *attempt])]).replace("%d", "1", 1).replace(
        "%d", "2", 1
    )
    first = next(span for span in spans.all if span.name == "bounded wait")
    assert first.attributes["sluiceway.phase.seconds"] == 2.0
    assert first.end_time >= spans.one("attempt 1").end_time


async def test_nested_ends_every_span_of_a_call_that_never_made_an_attempt(spans):
    """Also where a layer refuses, every open span is closed."""
    telemetry.configure(tracer_provider=spans.provider, detail="nested")
    with pytest.raises(CircuitOpen):
        await Pipeline(Waits(1.0), Refuses(), name="ask")(answer)()
    assert spans.tree() == [("call ask", [("bounded wait", ["circuit check"])])]


async def test_a_retry_by_somebody_elses_layer_shows_its_attempts(spans):
    """Layers need not report anything: attempts are told by the innermost step."""
    await Pipeline(Again(times=3, pause=1.0), name="ask")(failing(OSError(), OSError()))()
    assert spans.tree() == [("call ask", ["attempt 1", "attempt 2", "attempt 3"])]
