"""A branch: a part of a call in a task of its own, whose stream the layer's own coroutine passes on."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from sluiceway import Pipeline, QueueFull, Session, TimedOut, bounded, circuit_breaker, retry_jitter, timed
from sluiceway.binding import bind
from sluiceway.branching import Branch, ended
from sluiceway.call import current
from sluiceway.events import AttemptStarted, CallRejected, CallStarted
from sluiceway.layer import Layer
from sluiceway.testing import ScriptedProvider, after, completion, hang, stream
from spies import Observed, Spy
from stepping import cancel_at_every_step


class Beside(Layer):
    """Runs what is inside in a task of its own, as the guide says."""

    def __init__(self, *, to_item=True, impatient=False, **settings):
        self.to_item = to_item
        self.impatient = impatient
        self.settings = settings
        self.branch = None

    async def handle(self, call, proceed):
        self.branch = branch = Branch(call, proceed, **self.settings)
        branch.run.impatient = self.impatient
        task = call.run.loop.create_task(branch.start(to_item=self.to_item))
        try:
            await task
            return await branch.rest(call)
        finally:
            await ended([(branch, task)])


def held(bound):
    return bound.snapshot()[0].in_flight


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_a_value_comes_back_as_without_it():
    """And so does an error, unchanged."""
    error = ConnectionError("reset")
    ask = bind(ScriptedProvider("answer", error), (Beside(),))
    assert "answer" == await ask()
    with pytest.raises(ConnectionError) as raised:
        await ask()
    assert raised.value is error


async def test_its_steps_run_in_the_context_that_it_is_given():
    """Also in an empty one, which is false as any that holds nothing."""
    empty = contextvars.Context()
    seen = []

    async def ask():
        seen.append(current.get())
        await asyncio.sleep(0)
        seen.append(current.get())

    layer = Beside(context=empty)
    await bind(ask, (layer,))()
    assert layer.branch.run.context is empty
    assert [layer.branch.call] * 2 == seen


@pytest.mark.parametrize("to_item", [True, False])
async def test_a_stream_is_passed_on_while_everything_inside_is_held(to_item):
    """Layers inside and outside see one call that ends with the stream."""
    outside, inside, bound = Spy(), Spy(), bounded(1)
    ask = bind(ScriptedProvider(stream([1, 2, 3])), (outside, Beside(to_item=to_item), bound, inside))
    items = []
    async for item in await ask():
        items.append(item)
        assert (1, 1, 1) == (held(bound), outside.inside, inside.inside)
    assert [1, 2, 3] == items
    assert (0, ["enter", "value"], ["enter", "value"], set()) == (held(bound), outside.log, inside.log, others())


async def test_a_stream_without_items_is_one():
    """Its reader finds the end."""
    ask = bind(ScriptedProvider(stream([])), (Beside(),))
    assert [] == [item async for item in await ask()]


@pytest.mark.parametrize("read", [0, 1])
async def test_a_reader_that_leaves_is_seen_inside(read):
    """As a cancellation that is neutral, before or after the first item."""
    outside, inside, bound = Spy(), Spy(), bounded(1)
    ask = bind(ScriptedProvider(stream([1, 2, 3])), (outside, Beside(), bound, inside))
    items = await ask()
    for _ in range(read):
        await anext(items)
    await items.aclose()
    assert (0, ["enter", "Abandoned"], ["enter", "Abandoned"]) == (held(bound), outside.log, inside.log)


async def test_leaving_a_stream_without_items_is_leaving():
    """Its pipeline was over before."""
    inside = Spy()
    items = await bind(ScriptedProvider(stream([])), (Beside(), inside))()
    await items.aclose()
    assert ["enter", "value"] == inside.log


async def test_generators_are_passed_on_and_hear_what_is_thrown_at_them():
    """As without it."""
    caught = []

    async def ask():
        try:
            yield 1
        except ValueError as error:
            caught.append(error)
            yield 2

    generator = bind(ask, (Beside(),))()
    assert 1 == await anext(generator)
    error = ValueError("from the reader")
    assert 2 == await generator.athrow(error)
    assert [error] == caught
    with pytest.raises(StopAsyncIteration):
        await anext(generator)


async def test_a_retry_outside_opens_another_stream_before_the_first_item_and_not_after_it():
    """`emitted` is the whole call's."""
    ask = ScriptedProvider(stream([1], fail_at=0), stream([1, 2], fail_at=1), "never")
    items = await Pipeline(retry_jitter(5), Beside())(ask)()
    assert 1 == await anext(items)
    with pytest.raises(ConnectionResetError):
        await anext(items)
    assert 2 == ask.count


async def test_a_retry_inside_opens_another_stream_before_the_first_item_and_not_after_it():
    """As without it."""
    ask = ScriptedProvider(stream([1], fail_at=0), stream([1, 2], fail_at=1), "never")
    items = await Pipeline(Beside(to_item=False), retry_jitter(5))(ask)()
    assert 1 == await anext(items)
    with pytest.raises(ConnectionResetError):
        await anext(items)
    assert 2 == ask.count


async def test_circuits_inside_and_outside_judge_a_stream_at_its_first_item():
    """That is when they are told."""
    outside, inside = circuit_breaker(), circuit_breaker()
    items = await Pipeline(outside, Beside(), inside)(ScriptedProvider(stream([1, 2, 3])))()
    assert 1 == await anext(items)
    assert [1, 1] == [each.snapshot()[0].calls for each in (outside, inside)]
    await items.aclose()


async def test_attempts_are_numbered_in_the_whole_call():
    """Also those of a branch in a branch; the call's record has them all, the branch's own only its own."""
    outer, inner = Beside(), Beside()
    ask = ScriptedProvider(ConnectionError, ConnectionError, ConnectionError, completion("hi"))
    with Observed() as heard:
        layers = (retry_jitter(2, budget=False), outer, inner, retry_jitter(2, budget=False))
        await bind(ask, layers)()
    assert [1, 2, 3, 4] == [event.attempt.number for event in heard.of(AttemptStarted)]
    (started,) = heard.of(CallStarted)
    run = started.call.run
    assert [1, 2, 3, 4] == [attempt.number for attempt in run.attempts]
    assert [3, 4] == [attempt.number for attempt in inner.branch.run.attempts]
    assert run.last is run.attempts[-1]
    assert {run.id} == {event.call.run.id for event in heard.of(AttemptStarted)}


async def test_a_session_counts_the_attempts_of_a_branch_once():
    """With and without retries in it."""
    ask = ScriptedProvider(ConnectionError, completion("hi", prompt_tokens=7, completion_tokens=5))
    async with Session() as session:
        await Pipeline(Beside(), retry_jitter(2))(ask)()
    assert (1, 2, 1, 7) == (
        session.stats.calls, session.stats.attempts, session.stats.retries, session.stats.tokens.input
    )  # fmt: skip


@pytest.mark.parametrize("outside", [True, False])
async def test_time_limits_hold_outside_and_inside(outside):
    """Before and after the first item, with nothing left of the cancellation."""
    for script in (hang(), stream([1, 2], hang_at=1)):
        layers = (timed(1), Beside()) if outside else (Beside(), timed(1))
        ask = ScriptedProvider(script)
        with pytest.raises(TimedOut):
            [item async for item in await bind(ask, layers)()]
        assert (0, 0, set()) == (ask.in_flight, asyncio.current_task().cancelling(), others())


async def test_a_limit_inside_ends_a_stream_that_nobody_reads():
    """And the next read says so."""
    bound = bounded(1)
    items = await bind(ScriptedProvider(stream([1, 2])), (Beside(), bound, timed(1)))()
    assert 1 == await anext(items)
    await asyncio.sleep(5)
    assert 0 == held(bound)
    with pytest.raises(TimedOut):
        await anext(items)


async def test_each_branch_has_a_context_of_its_own():
    """What is current inside is the branch's call; outside nothing leaks."""
    seen = []

    async def ask():
        seen.append(current.get())

    layer = Beside()
    await bind(ask, (layer,))()
    assert [layer.branch.call] == seen
    assert None is current.get()


async def test_an_impatient_branch_takes_what_is_free_and_is_refused_what_is_not():
    """At once, and nobody hears of it; what it takes it holds as others do."""
    bound = bounded(1)
    ask = ScriptedProvider(after(1, "x"))
    with Observed() as heard:
        f = bind(ask, (Beside(impatient=True), bound))
        task = asyncio.create_task(f())
        await asyncio.sleep(0.5)
        with pytest.raises(QueueFull):
            await f()
        assert "x" == await task
    assert [] == heard.of(CallRejected)


async def test_cancelled_at_any_step_it_leaves_nothing():
    """Value or stream."""
    bound = bounded(1)

    async def whole(script):
        result = await Pipeline(Beside(), Spy(), bound)(ScriptedProvider(script))()
        return [item async for item in result] if hasattr(result, "__anext__") else result

    for script in (after(1, "x"), after(1, stream([1, 2], gap=1))):
        for step in cancel_at_every_step():
            outcome = await step(whole(script))
            assert "cancelled" == outcome or not step.reached
            assert (0, set()) == (held(bound), others())


async def test_closing_a_branch_ends_its_stream_for_what_is_inside():
    """And closing one that is over does nothing."""
    inside = Spy()
    ask = ScriptedProvider(stream([1, 2]))

    class Leaves(Layer):
        async def handle(self, call, proceed):
            branch = Branch(call, proceed)
            await branch.start()
            assert branch.suspended
            for _ in range(2):
                await branch.close()
                assert not branch.suspended
            return "instead"

    assert "instead" == await bind(ask, (Leaves(), inside))()
    assert (["enter", "CancelledError"], 0) == (inside.log, ask.in_flight)
