"""One function over many items: gather, map, all_or_nothing."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from functools import partial, wraps

import pytest

from sluiceway import Pipeline, bounded, fallback
from sluiceway.call import hints
from sluiceway.errors import SessionClosed
from sluiceway.outcome import Outcome
from sluiceway.providers.usage import Usage
from sluiceway.session import Session
from sluiceway.testing import ScriptedProvider, after, completion, hang, openai_error, run
from spies import Again, Stream
from stepping import cancel_at_every_step

SECRET = "the prompt"


def others():
    """Return the tasks that live beside the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def double(number):
    await asyncio.sleep(number % 7)
    return 2 * number


async def picky(number):
    await asyncio.sleep(number)
    if number % 3 == 0:
        raise ValueError(number)
    return number


def counted(numbers, pulled):
    """Yield *numbers* and note each in *pulled* as it is read."""
    for number in numbers:
        pulled.append(number)
        yield number


async def late(numbers, pulled=None, gap=0.0):
    """Yield *numbers* asynchronously."""
    try:
        for number in numbers:
            if gap:
                await asyncio.sleep(gap)
            if pulled is not None:
                pulled.append(number)
            yield number
    finally:
        await asyncio.sleep(0)
        if pulled is not None:
            pulled.append("closed")


async def settle():
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


# ------------------------------------------------------------------ gather


async def test_gather_keeps_the_order_of_the_items():
    """Outcomes stand in the order of the items, whichever finished first."""
    async with Session() as session:
        outcomes = await session.gather(double, range(20))
    assert [2 * number for number in range(20)] == [outcome.value for outcome in outcomes]
    assert list(range(20)) == [outcome.index for outcome in outcomes] == [outcome.item for outcome in outcomes]
    assert [number % 7 for number in range(20)] == [outcome.latency for outcome in outcomes]


async def test_gather_goes_on_after_failures():
    """Each item has its own outcome: an error is data, unchanged, and stops nobody."""
    async with Session() as session:
        outcomes = await session.gather(picky, range(7))
    assert [False, True, True, False, True, True, False] == [outcome.ok for outcome in outcomes]
    assert [0, 3, 6] == [outcome.error.args[0] for outcome in outcomes if not outcome.ok]
    assert [None] * 3 == [outcome.value for outcome in outcomes if not outcome.ok]


async def test_gather_of_nothing_is_nothing():
    """No items, no outcomes."""
    async with Session() as session:
        assert [] == await session.gather(double, [])
        assert [] == await session.gather(double, late([]))


async def test_ten_thousand_items_through_layers():
    """Ten thousand items through a decorated function are ten thousand calls, counted once each."""
    ask = Pipeline(name="ask")(double)
    async with Session() as session:
        outcomes = await session.gather(ask, range(10_000))
        stats = session.stats
    assert 10_000 == sum(outcome.value == 2 * outcome.index for outcome in outcomes)
    assert (10_000, 10_000, 10_000, 0) == (stats.calls, stats.succeeded, stats.attempts, stats.in_flight)
    assert set() == others()


async def test_gather_reads_async_items():
    """Items may come asynchronously; their generator is closed at the end."""
    pulled = []
    async with Session() as session:
        outcomes = await session.gather(double, late(range(5), pulled, gap=1.0))
    assert [0, 2, 4, 6, 8] == [outcome.value for outcome in outcomes]
    assert [0, 1, 2, 3, 4, "closed"] == pulled


async def test_at_most_so_many_run():
    """No more than `concurrency` items run at a time, and as many as that while there are enough."""
    provider = ScriptedProvider("answer", latency=1.0)
    async with Session() as session:
        await session.gather(provider, range(100), concurrency=8)
    assert 8 == provider.peak
    assert 13.0 == asyncio.get_running_loop().time()


async def test_cancelling_gather_cancels_its_items():
    """A cancelled gather is over when the last of its items is."""
    async with Session() as session:
        job = asyncio.create_task(session.gather(ScriptedProvider(hang()), range(50)))
        await asyncio.sleep(1)
        assert 51 == len(others())
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert set() == others()


async def test_an_item_that_is_cancelled_is_a_failure():
    """If the function raises a CancelledError of its own, or its task is cancelled, that is the item's outcome."""

    async def stubborn(number):
        if number == 1:
            raise asyncio.CancelledError
        if number == 2:
            asyncio.current_task().cancel()
        await asyncio.sleep(1)
        return number

    async with Session() as session:
        outcomes = await session.gather(stubborn, range(4))
    assert [True, False, False, True] == [outcome.ok for outcome in outcomes]
    assert isinstance(outcomes[1].error, asyncio.CancelledError)


async def test_a_task_cancelled_before_its_first_step_has_an_outcome():
    """An item that somebody cancels before it ran is a failure too, and nobody waits for it for ever."""
    async with Session() as session:
        outcomes = session.map(double, range(3))
        reading = asyncio.create_task(anext(outcomes))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        next(iter(outcomes._gathering.running)).cancel()
        found = [await reading] + [outcome async for outcome in outcomes]
    assert [False, True, True] == sorted(outcome.ok for outcome in found)


async def test_an_iterable_that_breaks_is_the_callers_error():
    """What reading the items raises comes out, after the items before have ended."""

    def broken():
        yield 1
        yield 2
        raise OSError("no more")

    async with Session() as session:
        outcomes = session.map(double, broken())
        assert [2, 4] == [(await anext(outcomes)).value, (await anext(outcomes)).value]
        with pytest.raises(OSError, match="no more"):
            await anext(outcomes)
        with pytest.raises(OSError, match="no more"):
            await session.gather(double, broken())
        assert set() == others()


# ------------------------------------------------------------------ map


async def test_map_yields_what_finishes_first():
    """Outcomes come as they finish; their index tells which they are."""
    async with Session() as session:
        found = [outcome.index async for outcome in session.map(asyncio.sleep, [3, 1, 2])]
    assert [1, 2, 0] == found


@pytest.mark.parametrize("source", [counted, late])
async def test_a_slow_reader_slows_it_all_down(source):
    """Items are read only so far ahead: begun and not taken are never more than `concurrency`."""
    pulled, taken = [], 0
    async with Session() as session:
        async for _ in session.map(double, source(range(200), pulled), concurrency=10):
            taken += 1
            await asyncio.sleep(5)
            assert len(pulled) - taken <= 10
    assert 200 == taken


async def test_map_holds_no_more_than_its_window():
    """However many items there are, no more of them than `concurrency` are in memory."""
    alive = 0

    class Prompt:
        def __init__(self):
            nonlocal alive
            alive += 1

        def __del__(self):
            nonlocal alive
            alive -= 1

    async def ask(prompt):
        await asyncio.sleep(1)

    most = 0
    async with Session() as session:
        async for outcome in session.map(ask, (Prompt() for _ in range(20_000)), concurrency=100):
            del outcome
            most = max(most, alive)
    assert most <= 100 + 2
    assert 0 == alive


async def test_nothing_starts_before_the_first_read():
    """A map that nobody reads has read no item and made no task."""
    pulled = []
    async with Session() as session:
        session.map(double, counted(range(5), pulled))
        await settle()
        assert [] == pulled
        assert set() == others()


async def test_break_cancels_the_rest():
    """Leaving the loop early cancels what runs, and closes the items' generator, without being asked."""
    provider = ScriptedProvider("answer", after(60, "late"))
    pulled = []
    async with Session() as session:
        async for outcome in session.map(provider, late(range(1000), pulled), concurrency=5):
            assert "answer" == outcome.value
            break
        await settle()
        assert set() == others()
    assert "closed" == pulled[-1]
    assert 0 == provider.in_flight
    assert 0.0 == asyncio.get_running_loop().time()


async def test_an_error_in_the_loop_cancels_the_rest():
    """An exception in the body of the loop ends the map as a break does."""
    provider = ScriptedProvider("answer", hang())

    async def read(session):
        async for _ in session.map(provider, range(10)):
            raise ZeroDivisionError

    async with Session() as session:
        with pytest.raises(ZeroDivisionError):
            await read(session)
        await settle()
        assert set() == others()


async def test_aclose_waits_for_the_rest():
    """After `aclose` nothing runs any more and nothing comes any more; twice does no harm."""
    cleaned = []

    async def slow(item):
        try:
            await asyncio.sleep(item)
        finally:
            await asyncio.sleep(1)
            cleaned.append(item)

    async with Session() as session, session.map(slow, [0, 50, 60]) as outcomes:
        await anext(outcomes)
        await outcomes.aclose()
        assert {0, 50, 60} == set(cleaned)
        assert set() == others()
        await outcomes.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)


async def test_a_cancelled_read_loses_no_outcome():
    """Giving up on one read leaves the items alone: the next read gets what the first would have got."""
    async with Session() as session:
        outcomes = session.map(double, [5, 6])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(outcomes)
        assert [10, 12] == [outcome.value async for outcome in outcomes]


async def test_two_readers_share_the_outcomes():
    """Several tasks may read one map; each outcome goes to one of them."""

    async def read(outcomes):
        found = []
        async for outcome in outcomes:
            found.append(outcome.index)
            await asyncio.sleep(1)
        return found

    async with Session() as session:
        outcomes = session.map(double, range(30), concurrency=4)
        found = await asyncio.gather(read(outcomes), read(outcomes))
    assert list(range(30)) == sorted(found[0] + found[1])
    assert found[0]
    assert found[1]


def test_a_collected_map_ends_on_a_closed_loop_without_complaint():
    """A map that is garbage when its loop is gone does nothing."""

    async def main():
        async with Session() as session:
            outcomes = session.map(double, range(3))
            await anext(outcomes)
        return outcomes

    outcomes = run(main())
    del outcomes
    gc.collect()


# ------------------------------------------------------------------ all_or_nothing


async def test_all_or_nothing_returns_values():
    """If all succeed the values come, in the order of the items."""
    async with Session() as session:
        assert [0, 2, 4, 6] == await session.all_or_nothing(double, range(4))


async def test_the_first_failure_cancels_the_rest_and_is_raised():
    """The first error is raised as the very object, at once, and nothing runs on."""
    error = KeyError("x")
    provider = ScriptedProvider(after(5, "late"), after(2, error), hang())
    async with Session() as session:
        with pytest.raises(KeyError) as caught:
            await session.all_or_nothing(provider, range(10))
        assert error is caught.value
        assert set() == others()
        assert 0 == provider.in_flight
    assert 2.0 == asyncio.get_running_loop().time()


# ------------------------------------------------------------------ what an outcome knows


async def test_an_outcome_knows_its_attempts_and_tokens():
    """Attempts and usage of an item are those of all calls made for it, whatever runs beside it."""
    answers = {
        0: completion(prompt_tokens=10, completion_tokens=1),
        1: completion(prompt_tokens=20, completion_tokens=2),
    }
    failed = set()

    @Again(times=3, pause=1.0)
    async def ask(number):
        await asyncio.sleep(1)
        if number == 1 and number not in failed:
            failed.add(number)
            raise ConnectionError
        return answers[number % 2]

    async def both(number):
        await ask(number)
        return await ask(number + 2)

    async with Session() as session:
        first, second = await session.gather(both, [0, 1])
    assert (2, Usage(20, 2)) == (first.attempts, first.usage)
    assert (3, Usage(40, 4)) == (second.attempts, second.usage)
    assert (2.0, 4.0) == (first.latency, second.latency)


async def test_a_function_without_layers_has_no_attempts():
    """Of a plain function nothing is known but its outcome and how long it took."""
    async with Session() as session:
        (outcome,) = await session.gather(double, [3])
    assert (0, None, 3.0) == (outcome.attempts, outcome.usage, outcome.latency)


def test_an_outcome_shows_neither_item_nor_answer():
    """The repr of an outcome can be logged: no prompt, no answer, no message of an error."""
    shown = repr(Outcome(ok=False, value=SECRET, error=ValueError(SECRET), index=3, item=SECRET, attempts=2))
    assert SECRET not in shown
    assert "index=3" in shown


async def test_items_run_in_the_context_of_who_asked():
    """Each item sees the context variables of who called, and its changes are its own."""
    seen = ContextVar("seen", default=0)
    seen.set(7)

    async def look(item):
        before = seen.get()
        seen.set(item)
        await asyncio.sleep(0)
        return before, seen.get()

    async with Session() as session:
        outcomes = session.map(look, range(1, 20), concurrency=2)
        seen.set(8)
        found = [outcome.value async for outcome in outcomes]
    assert [(7, item) for item in range(1, 20)] == sorted(found)
    assert 8 == seen.get()


async def test_hints_around_gather_reach_its_calls():
    """A tenant said around gather is the tenant of all its calls."""
    ask = Pipeline(name="ask")(double)
    async with Session() as session:
        with hints(tenant="acme"):
            await session.gather(ask, range(5))
    assert 5 == session.stats.by_tenant["acme"].calls


# ------------------------------------------------------------------ progress


async def test_progress_tells_done_and_total():
    """Each finished item is told, with the total where the items have a length."""
    told = []
    async with Session() as session:
        await session.gather(double, [1, 2, 3], on_progress=lambda done, total: told.append((done, total)))
    assert [(1, 3), (2, 3), (3, 3)] == told


async def test_the_total_is_unknown_until_the_items_end():
    """Of an iterable without a length the total is None as long as there may be more."""
    told = []
    async with Session() as session:
        await session.gather(
            double, iter([1, 2, 3]), concurrency=2, on_progress=lambda done, total: told.append((done, total))
        )
    assert (1, None) == told[0]
    assert (3, 3) == told[-1]


async def test_progress_that_breaks_breaks_nothing(caplog):
    """What `on_progress` raises is logged, once, and the job goes on."""

    def bar(done, total):
        raise ZeroDivisionError

    async with Session() as session:
        outcomes = await session.gather(double, range(5), on_progress=bar)
    assert all(outcome.ok for outcome in outcomes)
    assert 1 == len(caplog.records)


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("function", "items", "options", "error"),
    [
        ("ask", [1], {}, "no function"),
        ((double(1) for _ in range(0)), [1], {}, "no function"),
        (print, [1], {}, None),
        (lambda item: item, None, {}, "items must be an iterable"),
        (double, "one prompt", {}, "not one str"),
        (double, 5, {}, "items must be an iterable"),
        (double, [1], {"concurrency": 2.5}, "concurrency=2.5"),
        (double, [1], {"concurrency": True}, "concurrency=True"),
        (double, [1], {"on_progress": double}, "plain function"),
        (double, [1], {"on_progress": 5}, "plain function"),
        (late, [1], {}, "late is an async generator function and has no single result: give an async function that"),
        (partial(late, gap=1.0), [1], {}, "late is an async generator function"),
    ],
)
async def test_what_cannot_be_is_refused_at_once(function, items, options, error):
    """Arguments of the wrong type are a TypeError that says what is allowed, before anything starts."""
    async with Session() as session:
        if error is None:
            (outcome,) = await session.gather(function, items, **options)
            assert isinstance(outcome.error, TypeError)
            return
        for run in (session.gather, session.all_or_nothing):
            with pytest.raises(TypeError, match=error):
                await run(function, items, **options)
        with pytest.raises(TypeError, match=error):
            session.map(function, items, **options)


@pytest.mark.parametrize("layers", [(), (bounded(2),)], ids=["plain", "bounded"])
async def test_a_function_that_returns_streams_ends_with_the_same_error(layers):
    """Which only its calls can tell: the stream is closed, so that no item waits for a permit of one before it."""
    opened = []

    @Pipeline(*layers)
    async def open_one(_item):
        opened.append(Stream())
        return opened[-1]

    async def ask(item):
        return await open_one(item)

    async with Session() as session:
        outcomes = await session.gather(ask, [1, 2, 3])
    assert 3 == len(opened) == sum(each.closed for each in opened)
    for outcome in outcomes:
        assert isinstance(outcome.error, TypeError)
        assert "ask returned a stream and has no single result: give an async function" in str(outcome.error)


async def test_a_function_that_reads_its_stream_has_a_result():
    """Also where it stands for an async generator function by `functools.wraps`."""

    @wraps(late)
    async def read(items):
        return [item async for item in late(items)]

    async with Session() as session:
        assert [[1], [2]] == await session.all_or_nothing(read, [[1], [2]])


async def test_a_synchronous_function_is_refused():
    """A plain `def` is refused with the word on what to write instead."""

    def ask(prompt):
        return prompt

    async with Session() as session:
        with pytest.raises(TypeError, match="not asynchronous"):
            session.map(ask, [1])


async def test_no_concurrency_is_refused():
    """Less than one at a time is no way to run."""
    async with Session() as session:
        with pytest.raises(ValueError, match="concurrency=0 must be at least 1"):
            session.map(double, [1], concurrency=0)


async def test_before_and_after_the_session_nothing_runs():
    """A session that was not entered says so; one that has ended takes no more."""
    session = Session("nightly")
    with pytest.raises(RuntimeError, match="async with"):
        await session.gather(double, [1])
    async with session:
        mapped = session.map(double, [1])
    for attempt in (lambda: session.gather(double, [1]), lambda: anext(mapped)):
        with pytest.raises(SessionClosed, match="nightly has ended"):
            await attempt()


# ------------------------------------------------------------------ the end of the session


async def test_leaving_the_session_cancels_its_items():
    """Items that still run when the session is left are cancelled; who reads them hears why."""
    provider = ScriptedProvider(hang())
    async with Session() as session:
        job = asyncio.create_task(session.gather(provider, range(10)))
        outcomes = session.map(provider, range(10))
        reading = asyncio.create_task(anext(outcomes))
        await asyncio.sleep(1)
        assert 20 == provider.in_flight
    assert 0 == provider.in_flight
    for task in (job, reading):
        with pytest.raises(SessionClosed):
            await task
    with pytest.raises(SessionClosed):
        await anext(outcomes)
    assert set() == others()


async def test_outcomes_that_are_ready_outlive_the_session():
    """What finished before the session was left can still be read."""
    async with Session() as session:
        outcomes = session.map(double, [0, 7, 14])
        await anext(outcomes)
        await asyncio.sleep(1)
    assert [14, 28] == [(await anext(outcomes)).value, (await anext(outcomes)).value]
    with pytest.raises(StopAsyncIteration):
        await anext(outcomes)


async def test_cancelled_at_any_step_nothing_stays_behind():
    """Wherever a job of gather, map with a break, and all_or_nothing is cancelled, no task is left."""
    ask = Pipeline(name="ask")(double)

    async def job():
        async with Session() as session:
            await session.gather(ask, range(3), concurrency=2)
            async with session.map(ask, late(range(9)), concurrency=2) as outcomes:
                async for _ in outcomes:
                    break
            with pytest.raises(ValueError, match="0"):
                await session.all_or_nothing(picky, range(3))

    outcomes = set()
    for step in cancel_at_every_step():
        outcomes.add(await step(job()))
        await settle()
        assert set() == others(), step
    assert {"value", "cancelled"} == outcomes


async def test_cancelled_while_streams_run_nothing_stays_behind():
    """Items that read streams release them wherever the job is cancelled."""
    streams = []

    @Pipeline(name="ask")
    async def ask(number):
        streams.append(Stream(3, gap=0.5))
        return streams[-1]

    async def read(number):
        return [item async for item in await ask(number)]

    async def job():
        async with Session() as session:
            assert [[1, 2, 3]] * 2 == await session.all_or_nothing(read, range(2))

    for step in cancel_at_every_step():
        streams.clear()
        await step(job())
        await settle()
        assert set() == others(), step
        assert all(each.closed for each in streams), step


async def test_an_outcome_tells_which_model_and_which_function_answered():
    """The last trip that got an answer: an alternative's where the first failed; neither where all did."""

    async def ask(item, model="large"):
        raise openai_error(503)

    async def small(item, model="small"):
        if item == "lost":
            raise openai_error(503)
        return completion("x", model="small")

    async with Session() as session:
        outcomes = await session.gather(fallback(small)(ask), ["a", "lost"])
    assert [("small", "small"), (None, None)] == [(outcome.model, outcome.provider) for outcome in outcomes]
