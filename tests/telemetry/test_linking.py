"""Where the span of a call hangs and what it is linked to: sessions, batches, shared flights."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import StatusCode

from sluiceway import Pipeline, Session, coalesced, telemetry
from sluiceway.testing.openai_shapes import completion
from spies import Passing


async def answer(_=None):
    await asyncio.sleep(1)
    return completion("fine")


ask = Pipeline(Passing(), name="ask")(answer)


def linked_to(span):
    return [link.context.span_id for link in span.links]


# ------------------------------------------------------------------ links


async def test_calls_inside_are_linked(spans):
    """Also those of tasks made inside; what is outside is not, and a link makes no child."""
    batch = spans.tracer.start_span("batch")
    with telemetry.linked(batch):
        await ask()
        later = asyncio.ensure_future(ask())
    await later
    await ask()
    calls = [span for span in spans.all if span.name == "call ask"]
    assert [linked_to(span) for span in calls] == [[batch.get_span_context().span_id]] * 2 + [[]]
    assert [span.parent for span in calls] == [None, None, None]


async def test_links_add_up(spans):
    """Inside of two, a call is linked to the spans of both, in that order; a context will do for a span."""
    one, other = (spans.tracer.start_span(name).get_span_context() for name in ("one", "other"))
    with telemetry.linked(one), telemetry.linked(other, trace.INVALID_SPAN):
        await ask()
    assert linked_to(spans.one("call ask")) == [one.span_id, other.span_id]


@pytest.mark.parametrize("thing", [None, "4bf92f3577b34da6", 7])
def test_only_spans_can_be_linked_to(thing):
    """The error names the type and what is wanted."""
    with pytest.raises(TypeError, match=f"{type(thing).__name__} object cannot be linked to"), telemetry.linked(thing):
        pass


async def test_a_call_that_took_anothers_answer_is_linked_to_it(spans):
    """The followers of a flight made no attempt: the link leads to the trace that has it."""
    shared = Pipeline(coalesced(), name="shared")(answer)
    await asyncio.gather(shared("same"), shared("same"), shared("same"))
    calls = [span for span in spans.all if span.name == "call shared"]
    (attempt,) = [span for span in spans.all if span.name == "attempt 1"]
    leader = attempt.parent.span_id
    assert [linked_to(span) for span in calls if span.context.span_id != leader] == [[leader]] * 2
    assert [linked_to(span) for span in calls if span.context.span_id == leader] == [[]]


# ------------------------------------------------------------------ a session's own span


async def test_a_session_has_no_span_unless_asked(spans):
    """Its calls are traces of their own, as they are without it."""
    async with Session("nightly") as session:
        await ask()
    assert spans.names() == ["call ask", "attempt 1"]
    assert session.span is None


async def test_children_are_one_trace(spans):
    """With `span="children"` calls hang below the session's span, which says what was counted."""
    async with Session("nightly", span="children") as session:
        await session.gather(ask, range(3))
    assert spans.tree() == [("session nightly", [("call ask", ["attempt 1"])] * 3)]
    said = dict(spans.one("session nightly").attributes)
    assert said.pop("sluiceway.session.input_tokens") == 30
    assert said.pop("sluiceway.session.output_tokens") > 0
    assert said == {
        "session.id": session.id,
        "sluiceway.session.calls": 3,
        "sluiceway.session.succeeded": 3,
        "sluiceway.session.attempts": 3,
    }


async def test_links_are_a_trace_each(spans):
    """With `span="links"` each call is a root with a link, also below what was current around the session."""
    with spans.tracer.start_as_current_span("main"):
        async with Session("nightly", span="links") as session:
            await session.gather(ask, range(3))
    own = spans.one("session nightly")
    calls = [span for span in spans.all if span.name == "call ask"]
    assert own.parent.span_id == spans.one("main").context.span_id
    assert [span.parent for span in calls] == [None] * 3
    assert len({span.context.trace_id for span in calls} | {own.context.trace_id}) == 4
    assert [linked_to(span) for span in calls] == [[own.context.span_id]] * 3


async def test_linked_calls_are_sampled_one_by_one(make_spans):
    """One trace is in or out as a whole; a trace each leaves a share of them."""
    kept = {}
    for relation in ("children", "links"):
        found = make_spans(sampler=ParentBased(TraceIdRatioBased(0.5)))
        telemetry.configure(tracer_provider=found.provider)
        async with Session(span=relation) as session:
            await session.gather(ask, range(200))
        kept[relation] = found.names().count("call ask")
    assert kept["children"] in {0, 200}
    assert 50 < kept["links"] < 150


async def test_the_applications_own_spans_stay_parents(spans):
    """Inside a session, a call below a span of the application stays there; a call inside a call stays in it."""

    @Pipeline(Passing(), name="outer")
    async def outer():
        return await ask()

    async with Session("nightly", span="children"):
        with spans.tracer.start_as_current_span("request"):
            await ask()
        await outer()
    assert spans.tree() == [
        ("session nightly", [("call outer", [("attempt 1", [("call ask", ["attempt 1"])])])]),
        ("request", [("call ask", ["attempt 1"])]),
    ]


async def test_a_process_wide_session_is_found_by_tasks_older_than_it(spans):
    """Workers that ran before have no current span: their calls are the session's too."""
    go = asyncio.Event()

    async def worker():
        await go.wait()
        await ask()

    working = asyncio.ensure_future(worker())
    await asyncio.sleep(0)
    async with Session("nightly", scope="process", span="children"):
        go.set()
        await working
    assert spans.tree() == [("session nightly", [("call ask", ["attempt 1"])])]


async def test_a_session_that_is_left_with_an_error_failed(spans):
    """Its span says which kind; calls that failed inside do not make it fail."""
    with pytest.raises(LookupError):
        async with Session("nightly", span="children"):
            raise LookupError("a secret")
    own = spans.one("session nightly")
    assert (own.status.status_code, own.attributes["error.type"]) == (StatusCode.ERROR, "LookupError")
    assert "secret" not in own.to_json()


async def test_a_session_may_be_left_in_another_task(spans):
    """Nothing was attached that would have to be taken off where it was put."""
    session = Session("nightly", span="children")
    await asyncio.ensure_future(session.__aenter__())
    await asyncio.ensure_future(session.__aexit__(None, None, None))
    assert spans.names() == ["session nightly"]


async def test_without_a_provider_nothing_is_made(info):
    """A span that does not record costs its calls neither their traces nor their statistics."""
    async with Session("nightly", span="links") as session:
        await ask()
    assert session.stats.calls == 1


def test_a_relation_that_there_is_not_is_refused():
    """The error names the value and the two that there are."""
    with pytest.raises(ValueError, match="span='parent' must be one of 'children', 'links', or None"):
        Session(span="parent")
