"""Who hears a call, and that nobody who hears one can disturb it."""

from __future__ import annotations

import asyncio
import functools
import threading
from dataclasses import dataclass

import pytest

from reporting import Refuses, Retries
from sluiceway import Session, observed, telemetry
from sluiceway.errors import CircuitOpen, SessionClosed
from sluiceway.events import AttemptFinished, AttemptStarted, CallFinished, CallStarted, CircuitChanged
from sluiceway.layer import Layer, Pipeline
from spies import Passing, Stream


class Hears:
    """A session, as far as calls know it."""

    def __init__(self, name="a session", closed=False, order=None):
        self.id = name
        self.closed = closed
        self.events = []
        self.order = order

    drains = True

    def admit(self, call):
        if self.closed:
            raise SessionClosed(f"{self.id} is closed")

    def hear(self, event):
        self.events.append(event)
        if self.order is not None:
            self.order.append(self.id)

    @property
    def kinds(self):
        return [type(event) for event in self.events]


WHOLE = [CallStarted, AttemptStarted, AttemptFinished, CallFinished]


class Looks(Layer):
    """Shows the run of the last call."""

    stateful = False

    async def handle(self, call, proceed):
        self.run = call.run
        return await proceed(call)


async def answer():
    return "yes"


def inside(*scopes):
    """Put scopes around the test, innermost first; each async test has a context of its own."""
    telemetry.scopes.set(scopes)


async def test_a_call_that_nobody_hears_only_keeps_a_way_for_warnings():
    """Without sinks a call is not listened to, keeps no record, and its sink passes warnings to the log."""
    looks = Looks()
    assert await looks(answer)() == "yes"
    assert (looks.run.listening, looks.run.detailed, looks.run.facts) == (False, False, None)


async def test_warnings_reach_the_log_even_when_nobody_listens(caplog):
    """A retry and a refusal are logged as warnings without any sink."""
    with pytest.raises(CircuitOpen):
        await Pipeline(Retries(1.0), Refuses(), name="ask")(answer)()
    assert [(record.levelname, record.message.partition(":")[0]) for record in caplog.records] == [
        ("WARNING", "call rejected"),
        ("WARNING", "retry"),
        ("WARNING", "call rejected"),
    ]


async def test_every_scope_around_a_call_hears_it_innermost_first():
    """Nested sessions all hear the whole call, the innermost first."""
    order = []
    inner, outer = Hears("inner", order=order), Hears("outer", order=order)
    inside(inner, outer)
    await Passing()(answer)()
    assert inner.kinds == outer.kinds == WHOLE
    assert order == ["inner", "outer"] * 4


async def test_a_scope_known_by_several_ways_hears_once():
    """A session that is around, attached and process-wide at the same time still counts a call once."""
    layer, scope = Passing(), Hears()
    inside(scope)
    telemetry.attached[layer] = (scope,)
    telemetry.process_scopes.append(scope)
    await layer(answer)()
    assert scope.kinds == WHOLE


async def test_an_attached_scope_hears_the_calls_through_its_layer_only():
    """A session attached to a layer hears calls of tasks older than itself, and none through other layers."""
    layer, scope = Passing(), Hears()
    telemetry.attached[layer] = (scope,)
    await Pipeline(Looks(), layer)(answer)()
    await Passing()(answer)()
    assert scope.kinds == WHOLE


@dataclass
class Tagged(Layer):
    """A layer of somebody's own: a dataclass, so that it is equal to others and has no hash."""

    tag: str

    async def handle(self, call, proceed):
        return await proceed(call)


async def test_layers_are_known_by_themselves():
    """One that is equal to others and has no hash can be attached to, alone, and its calls heard process-wide."""
    one, other = Tagged("a"), Tagged("a")
    attached, everywhere = Hears(), Hears()
    telemetry.attached[one] = (attached,)
    telemetry.process_scopes.append(everywhere)
    await other(answer)()
    assert (attached.kinds, everywhere.kinds) == ([], WHOLE)
    await one(answer)()
    assert (attached.kinds, everywhere.kinds) == (WHOLE, WHOLE * 2)
    del telemetry.attached[one]
    assert one not in telemetry.attached


async def test_a_process_scope_hears_every_call():
    """A process-wide session hears calls whatever context they start in."""
    scope = Hears()
    telemetry.process_scopes.append(scope)
    await Passing()(answer)()
    assert scope.kinds == WHOLE


async def test_a_closed_scope_refuses_a_call_before_anything_began(spans):
    """`SessionClosed` comes before the provider, before a span, and before any session counts the call."""
    called = []
    open_, closed = Hears("open"), Hears("closed", closed=True)
    inside(open_, closed)

    @Passing()
    async def ask():
        called.append(1)

    with pytest.raises(SessionClosed, match="closed is closed"):
        await ask()
    assert (called, open_.events, spans.all) == ([], [], [])


async def test_sessions_are_looked_up_when_a_call_starts():
    """A call that outlives its session still feeds it; one that starts later does not."""
    scope = Hears()
    inside(scope)
    task = asyncio.ensure_future(Passing()(functools.partial(asyncio.sleep, 1.0))())
    await asyncio.sleep(0.5)
    inside()
    await Passing()(answer)()
    await task
    assert scope.kinds == WHOLE


async def test_sessions_of_two_threads_at_once_count_their_own():
    """Between any two steps of finding out who counts a call, another thread may do the same for another session."""

    async def elsewhere():
        async with Session("elsewhere") as session:
            await Passing()(answer)()
            return session.stats.calls

    class Interrupted(Session):
        def __getattribute__(self, name):
            if name == "id" and super().__getattribute__("counter") is not None and not meanwhile:
                meanwhile.append(None)
                thread = threading.Thread(target=lambda: meanwhile.append(asyncio.run(elsewhere())))
                thread.start()
                thread.join(10)
            return super().__getattribute__(name)

    meanwhile = []
    async with Interrupted() as session:
        await Passing()(answer)()
        await Passing()(answer)()
        assert meanwhile == [None, 1]
        assert (session.stats.calls, session.stats.in_flight) == (2, 0)


async def test_a_generator_belongs_to_the_scopes_around_its_creation():
    """A decorated async generator is heard by the sessions around the call that made it, also if read outside."""
    scope = Hears()
    inside(scope)

    @Passing()
    async def count():
        yield 1

    stream = count()
    inside()
    assert [item async for item in stream] == [1]
    assert [CallStarted, AttemptStarted, AttemptFinished, CallFinished] == [
        kind for kind in scope.kinds if kind in WHOLE
    ]


async def test_a_listener_hears_every_call_until_it_no_longer_listens():
    """`listen` hears calls that start after it, `unlisten` ends that; the sink comes back as it went in."""
    heard = []
    sink = heard.append
    assert telemetry.listen(sink) is sink
    await Passing()(answer)()
    telemetry.unlisten(sink)
    await Passing()(answer)()
    assert [type(event) for event in heard] == WHOLE


def test_only_plain_functions_listen():
    """A coroutine function would never be awaited, and something uncallable never called: both are refused."""

    async def sink(event): ...

    class Sink:
        async def __call__(self, event): ...

    for wrong in (sink, "sink", Sink()):
        with pytest.raises(TypeError, match="must be a plain function"):
            telemetry.listen(wrong)
        with pytest.raises(TypeError, match="must be a plain function"):
            observed(wrong)
        with pytest.raises(TypeError, match="must be a plain function"):
            Session(on_event=wrong)


def test_only_who_listens_can_stop():
    """`unlisten` of a stranger is an error, not silence."""
    with pytest.raises(ValueError, match="does not listen"):
        telemetry.unlisten(print)


async def test_a_sink_that_raises_disturbs_neither_the_call_nor_the_others(caplog):
    """A sink's error is logged once, with its traceback, and everybody else hears the call."""

    def bad(event):
        raise RuntimeError("no room")

    heard = []
    telemetry.listen(bad)
    telemetry.listen(heard.append)
    assert await Passing()(answer)() == "yes"
    assert await Passing()(answer)() == "yes"
    assert [type(event) for event in heard] == WHOLE * 2
    (record,) = caplog.records
    assert (record.levelname, record.exc_info[0]) == ("ERROR", RuntimeError)
    assert "bad" in record.message


async def test_a_sink_that_asks_for_what_was_cancelled_cancels_no_call(caplog):
    """The error of a future's result is the sink's own, though it looks like the caller's cancellation."""
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()

    def bad(event):
        gone.result()

    @observed(bad)
    async def ask(number):
        return number

    telemetry.listen(bad)
    assert await ask(1) == 1
    telemetry.unlisten(bad)
    async with Session(on_event=bad) as session:
        assert [1] == [each.value for each in await session.gather(ask, [1], on_progress=lambda *_: gone.result())]
        assert session.stats.succeeded == 1
    assert {record.levelname for record in caplog.records} == {"ERROR"}


async def test_a_sink_that_raises_disturbs_no_stream():
    """The items of a stream arrive although a sink fails at every event."""

    def bad(event):
        raise RuntimeError("no room")

    telemetry.listen(bad)

    @Passing()
    async def ask():
        return Stream(3)

    assert [item async for item in await ask()] == [1, 2, 3]


async def test_a_sampler_that_raises_does_not_break_a_call(caplog, make_spans):
    """What the application's own sampler raises is logged once and costs a call nothing but its spans."""

    class Bad:
        def should_sample(self, *args, **kwargs):
            raise RuntimeError("bad sampler")

    telemetry.configure(tracer_provider=make_spans(sampler=Bad()).provider)
    assert [await Passing()(answer)() for _ in range(2)] == ["yes", "yes"]
    assert ["RuntimeError"] == [record.exc_info[0].__name__ for record in caplog.records]


async def test_a_fact_outside_any_call_is_published_to_everybody(caplog):
    """A circuit isolated by hand reaches the sessions around, listeners and the log."""
    around, everywhere, heard = Hears("around"), Hears("everywhere"), []
    inside(around)
    telemetry.process_scopes.append(everywhere)
    telemetry.listen(heard.append)
    event = CircuitChanged(0.0, None, "circuit_breaker", None, "closed", "isolated", "by hand")
    telemetry.publish(event)
    assert around.events == everywhere.events == heard == [event]


async def test_what_a_call_contains_is_heard_too():
    """A call made inside another call's provider is heard by the same session, as a call of its own."""
    scope = Hears()
    inside(scope)
    inner = Passing()(answer)

    @Passing()
    async def outer():
        return await inner()

    await outer()
    assert scope.kinds == [*WHOLE[:2], *WHOLE, *WHOLE[2:]]
