"""A task that begins at once: what is in its first step sees and does what it would in any task."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, create_task, current_task, get_running_loop, sleep
from contextvars import ContextVar

import anyio
import pytest

from sluiceway.starting import Begun, started


def start(coroutine):
    return started(coroutine, get_running_loop())


def others():
    return asyncio.all_tasks() - {current_task()}


async def test_the_first_step_is_made_at_once_and_the_rest_in_the_task():
    """Under one and the same task from the beginning, and the maker's own again afterwards."""
    seen = []

    async def work():
        seen.append(current_task())
        await sleep(0)
        seen.append(current_task())
        await sleep(1)
        seen.append(current_task())

    mine = current_task()
    task = start(work())
    assert (1, mine) == (len(seen), current_task())
    await task
    assert [task] * 3 == seen


async def test_what_is_over_in_its_first_step_needs_no_task():
    """There is none, and none was made."""
    done = []

    async def work():
        done.append(True)

    assert start(work()) is None
    assert ([True], set()) == (done, others())


async def test_what_fails_in_its_first_step_fails_for_its_maker():
    """Unchanged, and nothing is left that could complain later."""
    error = ConnectionError("reset")

    async def work():
        raise error

    mine = current_task()
    with pytest.raises(ConnectionError) as caught:
        start(work())
    assert caught.value is error
    assert (mine, set()) == (current_task(), others())


async def test_what_fails_later_fails_in_the_task():
    """For whoever awaits it."""

    async def work():
        await sleep(1)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await start(work())


async def test_what_it_waits_for_may_be_over_before_the_task_is_run():
    """The future of the first step is then done, and is still what the task goes on with."""
    future = get_running_loop().create_future()
    got = []

    async def work():
        got.append(await future)

    task = start(work())
    future.set_result(7)
    await task
    assert [7] == got


@pytest.mark.parametrize("rounds", [0, 1, 2])
async def test_a_cancellation_reaches_what_it_waits_for(rounds):
    """As a task's own does: also before the loop has run it for the first time."""
    inner = create_task(sleep(10))
    heard = []

    async def work():
        try:
            await inner
        except CancelledError:
            heard.append(get_running_loop().time())
            raise

    task = start(work())
    for _ in range(rounds):
        await sleep(0)
    task.cancel()
    with pytest.raises(CancelledError):
        await task
    assert (True, [0.0]) == (inner.cancelled(), heard)


async def test_a_cancellation_before_it_is_run_finds_a_bare_yield():
    """`sleep(0)` waits for nothing that could be cancelled."""
    heard = []

    async def work():
        try:
            await sleep(0)
        finally:
            heard.append(True)

    task = start(work())
    task.cancel()
    with pytest.raises(CancelledError):
        await task
    assert [True] == heard


async def test_it_may_swallow_a_cancellation_and_go_on():
    """And be cancelled again."""
    steps = []

    async def work():
        for _ in range(2):
            try:
                await sleep(10)
            except CancelledError:
                steps.append(get_running_loop().time())
        return await sleep(1)

    task = start(work())
    task.cancel()
    await sleep(0.5)
    task.cancel()
    await task
    assert [0.0, 0.5] == steps


async def test_time_limits_that_begin_in_its_first_step_end_it():
    """Asyncio's and anyio's, which remember the task that they began in."""
    ends = []

    async def by_asyncio():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await sleep(10)
        ends.append(get_running_loop().time())

    async def by_anyio():
        with anyio.move_on_after(2) as scope:
            await sleep(10)
        assert scope.cancelled_caught
        ends.append(get_running_loop().time())

    async def by_a_group():
        async with asyncio.TaskGroup() as group:
            group.create_task(sleep(3))
        ends.append(get_running_loop().time())

    for task in [start(by_asyncio()), start(by_anyio()), start(by_a_group())]:
        await task
    assert [1.0, 2.0, 3.0] == ends


async def test_who_holds_on_to_its_task_sees_it_end():
    """Though there was none when the first step began, and it had no second one."""
    ends = []
    names = []

    async def work():
        task = current_task()
        names.append((task.get_name(), task.cancelling(), task.done()))
        task.add_done_callback(lambda done: ends.append(done.cancelled()))

    assert start(work()) is None
    for _ in range(3):
        await sleep(0)
    assert ([False], 0, False) == (ends, names[0][1], names[0][2])
    assert names[0][0].startswith("Task-")


async def test_it_may_cancel_itself():
    """Which it hears of where it waits next."""
    heard = []

    async def work():
        current_task().cancel("enough")
        try:
            await sleep(1)
        except CancelledError as error:
            heard.append(error.args)
            raise

    task = start(work())
    with pytest.raises(CancelledError):
        await task
    assert [("enough",)] == heard


async def test_tasks_begin_within_each_other():
    """Each first step has its own."""
    seen = []

    async def inner():
        seen.append(current_task())
        await sleep(1)

    async def outer():
        before = current_task()
        task = start(inner())
        assert before is current_task()
        seen.append(before)
        await task

    task = start(outer())
    await task
    assert (2, task) == (len(set(seen)), seen[1])


async def test_what_it_sets_in_its_context_is_seen_in_its_later_steps():
    """Where it runs in a context of its own, as every call does."""
    var = ContextVar("var", default=0)
    seen = []

    async def work():
        var.set(1)
        await sleep(0)
        seen.append(var.get())

    await start(work())
    assert [1] == seen


async def test_it_begins_outside_tasks_too():
    """In a callback of the loop."""
    loop = get_running_loop()
    made = loop.create_future()

    async def work():
        await sleep(1)

    loop.call_soon(lambda: made.set_result((current_task(), started(work(), loop), current_task())))
    before, task, after = await made
    await task
    assert (None, None) == (before, after)


async def test_a_loop_with_a_task_factory_makes_its_tasks_itself():
    """Somebody counts them, or names them."""
    loop = get_running_loop()
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def work():
        await sleep(0)

    loop.set_task_factory(factory)
    try:
        await start(work())
    finally:
        loop.set_task_factory(None)
    assert 1 == len(made)


async def test_what_was_begun_is_nobody_elses_to_await():
    """It has a task."""
    begun = Begun()
    waiting = sleep(0)
    begun.at(waiting.send(None), waiting)
    with pytest.raises(TypeError, match="by its task"):
        await begun
    begun.close()
