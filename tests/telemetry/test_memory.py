"""The calls of late: what is remembered of them, for how long, and nothing more."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from reporting import Notes, Refuses, Retries, Waits
from sluiceway import CircuitOpen, Pipeline, TimedOut, bounded, hedged, retry_jitter, telemetry, timed
from sluiceway.telemetry import memory as memories
from sluiceway.testing.openai_shapes import completion, openai_error
from spies import Passing


@pytest.fixture
def memory():
    """Remember the last five calls."""
    with telemetry.remember(5) as found:
        yield found


async def answer(*_, **__):
    await asyncio.sleep(1)
    return completion("a secret answer", prompt_tokens=10, completion_tokens=3)


def steps(call):
    return [(step.name, step.kind, step.start, step.seconds, step.note) for step in call.steps]


async def test_waits_attempts_and_backoffs_are_steps(memory):
    """With their times, and what became of them."""
    script = [openai_error(503)]

    @Pipeline(Waits(2.0), Retries(3.0), name="ask")
    async def ask(prompt, model):
        if script:
            raise script.pop()
        return await answer()

    await ask("a secret prompt", model="gpt-4o-mini")
    (call,) = memory.recent()
    assert ("ask", "ok", None, 6.0) == (call.call, call.outcome, call.error, call.seconds)
    assert [
        ("bounded wait", "wait", 0.0, 2.0, "2 waited before it"),
        ("attempt 1", "attempt", 2.0, 0.0, "error, InternalServerError 503 overloaded, gpt-4o-mini"),
        ("backoff", "backoff", 2.0, 3.0, "backoff, after InternalServerError 503 overloaded"),
        ("attempt 2", "attempt", 5.0, 1.0, "ok, gpt-4o-mini, 10 + 3 tokens"),
    ] == steps(call)
    assert {"backoff": 3.0, "bounded wait": 2.0, "attempt 2": 1.0} == dict(call.spent)
    assert call == telemetry.explain(call.call_id)


async def test_a_call_under_way_is_explained_up_to_now(memory):
    """What it waits for, and the attempts that have not come back."""
    ask = Pipeline(bounded(1), name="ask")(answer)
    calls = [asyncio.ensure_future(ask()) for _ in range(2)]
    await asyncio.sleep(0.25)
    running, waiting = memory.slowest()
    assert ("under way", 0.25, {"attempt 1": 0.25}) == (running.outcome, running.seconds, dict(running.spent))
    assert {"bounded wait": 0.25} == dict(waiting.spent)
    await asyncio.gather(*calls)
    assert {"bounded wait": 1.0, "attempt 1": 1.0} == dict(telemetry.explain(waiting.call_id).spent)


async def test_what_ended_a_call_is_told_by_its_kind(memory):
    """A refusal, a timeout with the layer whose limit passed, a cancellation."""
    with pytest.raises(CircuitOpen):
        await Pipeline(Refuses(), name="ask")(answer)()
    with pytest.raises(TimedOut):
        await Pipeline(timed(0.5), name="ask")(answer)()
    task = asyncio.ensure_future(Pipeline(Passing(), name="ask")(answer)())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    cancelled, late, refused = memory.recent()
    assert ("cancelled", "CancelledError") == (cancelled.outcome, cancelled.error)
    assert ("timed out", "TimedOut (total)") == (late.outcome, late.error)
    assert "TimedOut (total)" in [step.note for step in late.steps]
    assert ("rejected", "CircuitOpen") == (refused.outcome, refused.error)
    assert ("refused by circuit_breaker", "CircuitOpen") in [(step.name, step.note) for step in refused.steps]


async def test_hedges_and_other_moments_stand_among_the_steps(memory):
    """When a hedge was sent and which attempt lost; pauses and circuits."""
    pauses = [5.0, 1.0]

    @Pipeline(hedged("2s"), Notes(), name="ask")
    async def ask():
        await asyncio.sleep(pauses.pop(0))

    await ask()
    (call,) = memory.recent()
    moments = [(step.name, step.start, step.note) for step in call.steps if step.kind == "moment"]
    assert ("hedge sent", 2.0, "attempt 2") in moments
    assert ("attempt lost to another", 3.0, "attempt 1") in moments
    assert ("circuit open", 0.0, "half failed") in moments
    assert ("limit paused", 0.0, "2.5 s, retry-after") in moments
    assert {"attempt 1": 2.0, "attempt 2": 1.0} == dict(call.spent)


async def test_a_nested_call_names_its_parent(memory):
    """The outer call's attempt contains it."""
    inner = Pipeline(Passing(), name="inner")(answer)

    @Pipeline(Passing(), name="outer")
    async def outer():
        return await inner()

    await outer()
    found = {call.call: call for call in memory.recent()}
    assert found["outer"].call_id == found["inner"].parent
    assert found["outer"].parent is None


async def test_the_oldest_are_forgotten(memory):
    """As many are kept as were asked for; asking for another says so."""
    ask = Pipeline(Passing(), name="ask")(answer)
    await ask()
    (first,) = memory.recent()
    for _ in range(5):
        await ask()
    assert 5 == len(memory.recent())
    with pytest.raises(LookupError, match=r"5 that are over and 0 under way are, of at most 5"):
        telemetry.explain(first.call_id)


async def test_steps_and_calls_under_way_are_bounded(memory, monkeypatch):
    """Neither a call that goes on for ever nor calls without end fill the memory."""
    monkeypatch.setattr(memories, "STEPS", 3)
    monkeypatch.setattr(memories, "UNDER_WAY", 2)
    retried = Pipeline(retry_jitter(9, base="1ms"), name="ask")

    @retried
    async def ask():
        raise openai_error(503)

    with pytest.raises(Exception, match="503"):
        await ask()
    assert 3 == len(memory.recent()[0].steps)
    calls = [asyncio.ensure_future(Pipeline(Passing(), name="ask")(answer)()) for _ in range(4)]
    await asyncio.sleep(0.5)
    assert 2 == len([call for call in memory.slowest() if call.outcome == "under way"])
    await asyncio.gather(*calls)


async def test_arguments_and_answers_are_not_kept(memory):
    """A call that is over is remembered by numbers: what it was given and got can be collected."""

    class Prompt:
        pass

    prompt = Prompt()
    gone = weakref.ref(prompt)
    await Pipeline(Passing(), name="ask")(answer)(prompt)
    del prompt
    gc.collect()
    assert gone() is None
    assert "secret" not in str(memory.recent()[0].to_dict())


async def test_a_stream_that_is_left_ends_although_its_call_is_remembered(memory):
    """Nothing here keeps a stream alive that nobody reads: its permit comes back."""
    bound = bounded(1)

    @Pipeline(bound, name="read")
    async def read():
        for number in range(9):
            await asyncio.sleep(0.25)
            yield number

    stream = read()
    await anext(stream)
    assert 1 == bound.snapshot()[0].in_flight
    del stream
    gc.collect()
    await asyncio.sleep(1)
    assert 0 == bound.snapshot()[0].in_flight
    (call,) = memory.recent()
    assert ("cancelled", "cancelled, first item after 250 ms") == (call.outcome, call.steps[0].note)


async def test_without_a_memory_nothing_is_explained():
    """The error says what to open; a memory that is closed forgets, and hears nothing any more."""
    memory = telemetry.remember()
    await Pipeline(Passing(), name="ask")(answer)()
    (call,) = memory.recent()
    memory.close()
    memory.close()
    with pytest.raises(LookupError, match=r"keep telemetry.remember\(\) or telemetry.inspect\(\) open"):
        telemetry.explain(call.call_id)
    assert [] == telemetry.hub._listeners


async def test_any_memory_that_has_the_call_explains_it():
    """A call is looked for in all that are open."""
    with telemetry.remember() as older:
        await Pipeline(Passing(), name="ask")(answer)()
        with telemetry.remember():
            (call,) = older.recent()
            assert call == telemetry.explain(call.call_id)


@pytest.mark.parametrize(("calls", "error"), [(0, ValueError), (-1, ValueError), ("5", TypeError), (True, TypeError)])
def test_a_number_that_is_none_is_refused(calls, error):
    """With the value and what is allowed."""
    with pytest.raises(error, match=r"calls=.* must be"):
        telemetry.remember(calls)
    assert [] == memories._memories


async def test_a_model_of_any_name_can_be_printed(memory, spans):
    """Half a surrogate pair or an escape in what a caller asked for ends no explanation, and stands in no span."""

    @Pipeline(Passing(), name="ask")
    async def ask(*, model):
        return completion(model=model)

    await ask(model="\ud800\x1b[31m")
    (call,) = memory.recent()
    assert "ok, \\ud800\\x1b[31m, " in str(call)
    told = spans.one("attempt 1").attributes
    assert {"\\ud800\\x1b[31m"} == {told[f"gen_ai.{which}.model"] for which in ("request", "response")}
