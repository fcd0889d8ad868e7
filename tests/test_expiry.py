"""Many equal delays on one timer, and one limit of one call."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.expiry import Scope, Wheel, one_loop_at_a_time
from sluiceway.testing.virtual_time import VirtualTimeLoop


class Entry:
    """Notes when it is fired."""

    def __init__(self, log=None, name=None, then=None):
        self.log = [] if log is None else log
        self.name = name
        self.then = then

    def fire(self):
        self.log.append((asyncio.get_running_loop().time(), self.name))
        if self.then is not None:
            self.then()


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


def timers(loop):
    return [handle for handle in loop._scheduled if not handle.cancelled()]


# ------------------------------------------------------------------ Wheel


async def test_an_entry_fires_once_after_the_delay():
    """`add` says when that will be, and afterwards the wheel is empty."""
    wheel, entry = Wheel(3.0), Entry()
    await asyncio.sleep(1)
    assert 4.0 == wheel.add(entry, asyncio.get_running_loop(), asyncio.get_running_loop().time())
    assert 1 == len(wheel)
    await asyncio.sleep(10)
    assert [(4.0, None)] == entry.log
    assert 0 == len(wheel)


async def test_an_entry_that_is_discarded_does_not_fire():
    """Discarding is quiet, also of what was never there or has fired."""
    wheel, entry = Wheel(3.0), Entry()
    wheel.add(entry, asyncio.get_running_loop(), asyncio.get_running_loop().time())
    wheel.discard(entry)
    wheel.discard(entry)
    wheel.discard(Entry())
    await asyncio.sleep(10)
    assert [] == entry.log


async def test_any_number_of_entries_has_one_timer():
    """A thousand delays are one `call_at`, and it stays one while they come and go."""
    loop, wheel = asyncio.get_running_loop(), Wheel(3.0)
    entries = [Entry() for _ in range(1000)]
    for entry in entries:
        wheel.add(entry, loop, loop.time())
    assert 1 == len(timers(loop))
    for entry in entries[:-1]:
        wheel.discard(entry)
    await asyncio.sleep(1)
    wheel.add(Entry(), loop, loop.time())
    assert 1 == len(timers(loop))


async def test_entries_fire_at_their_own_times_in_the_order_in_which_they_began():
    """Later ones fire later, equal ones in order, all by the one timer that is set anew."""
    loop, wheel, log = asyncio.get_running_loop(), Wheel(3.0), []
    wheel.add(Entry(log, "a"), loop, loop.time())
    wheel.add(Entry(log, "b"), loop, loop.time())
    await asyncio.sleep(1)
    wheel.add(Entry(log, "c"), loop, loop.time())
    await asyncio.sleep(10)
    wheel.add(Entry(log, "d"), loop, loop.time())
    await asyncio.sleep(10)
    assert [(3.0, "a"), (3.0, "b"), (4.0, "c"), (14.0, "d")] == log


async def test_an_entry_added_while_others_fire_waits_for_its_own_time():
    """What firing one sets off may use the same wheel."""
    loop, wheel, log = asyncio.get_running_loop(), Wheel(3.0), []
    wheel.add(Entry(log, "a", lambda: wheel.add(Entry(log, "b"), loop, loop.time())), loop, loop.time())
    await asyncio.sleep(10)
    assert [(3.0, "a"), (6.0, "b")] == log


async def test_an_entry_discarded_by_one_that_fires_in_the_same_moment_does_not_fire():
    """The first of two due entries may end the call of the second."""
    loop, wheel, log = asyncio.get_running_loop(), Wheel(3.0), []
    second = Entry(log, "b")
    wheel.add(Entry(log, "a", lambda: wheel.discard(second)), loop, loop.time())
    wheel.add(second, loop, loop.time())
    await asyncio.sleep(10)
    assert [(3.0, "a")] == log


async def test_an_entry_that_raises_stops_no_other():
    """The loop hears of the error, and the other delays go on."""
    loop, wheel, log, heard = asyncio.get_running_loop(), Wheel(3.0), [], []
    loop.set_exception_handler(lambda _, context: heard.append(context["exception"]))
    error = RuntimeError("fired badly")

    def fail():
        raise error

    wheel.add(Entry(log, "a", fail), loop, loop.time())
    wheel.add(Entry(log, "b"), loop, loop.time())
    await asyncio.sleep(1)
    wheel.add(Entry(log, "c"), loop, loop.time())
    await asyncio.sleep(10)
    assert [(3.0, "a"), (3.0, "b"), (4.0, "c")] == log
    assert [error] == heard


async def test_rounding_does_not_make_it_spin():
    """Delays whose sums round either way fire once each; a clock that jumps must not re-arm for ever."""
    loop, wheel, log = asyncio.get_running_loop(), Wheel(0.1), []
    for _ in range(1000):
        wheel.add(Entry(log), loop, loop.time())
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    assert 1000 == len(log)


def test_the_next_event_loop_finds_it_empty():
    """After `asyncio.run` the old loop's delays are gone with its timers, and new ones count."""
    wheel, log = Wheel(3.0), []

    async def leave():
        wheel.add(Entry(log, "old"), asyncio.get_running_loop(), 0.0)

    async def wait():
        await asyncio.sleep(0.5)
        wheel.add(Entry(log, "new"), asyncio.get_running_loop(), 0.5)
        await asyncio.sleep(5)

    run(leave())
    run(wait())
    assert [(3.5, "new")] == log
    assert 0 == len(wheel)


def test_two_loops_at_the_same_time_are_refused():
    """State that a running loop uses is not moved away from it."""
    running = SimpleNamespace(is_running=lambda: True)
    over = SimpleNamespace(is_running=lambda: False)
    one_loop_at_a_time(None, "timed")
    one_loop_at_a_time(over, "timed")
    with pytest.raises(RuntimeError, match="one timed object is used by two event loops at the same time"):
        one_loop_at_a_time(running, "timed")


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "sleep"]), st.integers(0, 9)), max_size=60))
def test_whatever_comes_and_goes_each_entry_fires_exactly_at_its_time_or_never(steps):
    """Against a plain list of deadlines: the same entries fire, at the same moments, in the same order."""
    delay, log, expected, live = 4.0, [], [], {}

    async def play():
        loop, wheel = asyncio.get_running_loop(), Wheel(delay)
        for step, number in steps:
            if step == "add" and number not in live:
                entry = Entry(log, number)
                live[number] = (entry, wheel.add(entry, loop, loop.time()))
            elif step == "discard" and number in live:
                wheel.discard(live.pop(number)[0])
            elif step == "sleep":
                await asyncio.sleep(number / 2)
                for name, (_, when) in list(live.items()):
                    if when <= loop.time():
                        expected.append((when, name))
                        del live[name]
        for name, (_, when) in live.items():
            expected.append((when, name))
        await asyncio.sleep(100)
        assert 0 == len(wheel)

    run(play())
    assert expected == log


# ------------------------------------------------------------------ Scope


def a_run(task=None, pump=None):
    return SimpleNamespace(task=task, base=0 if task is None else task.cancelling(), pump=pump)


async def swallowing(seconds):
    """Sleep through any number of cancellations."""
    until = asyncio.get_running_loop().time() + seconds
    while (left := until - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


async def test_a_scope_cancels_who_drives_and_takes_it_back():
    """After `settle` the task's count is as before, and it says that nobody else cancelled."""
    task = asyncio.create_task(swallowing(5))
    await asyncio.sleep(1)
    scope = Scope(a_run(task))
    scope.fire()
    assert (1, True, task) == (task.cancelling(), scope.fired, scope.hit)
    assert scope.settle()
    assert 0 == task.cancelling()
    await task


async def test_a_scope_says_when_somebody_else_cancelled_too():
    """Theirs stays on the task, whichever came first, and wins."""
    for first in ("ours", "theirs"):
        task = asyncio.create_task(swallowing(5))
        await asyncio.sleep(1)
        scope = Scope(a_run(task))
        for who in ("ours", "theirs") if first == "ours" else ("theirs", "ours"):
            if who == "ours":
                scope.fire()
            else:
                task.cancel()
        settled = scope.settle()
        assert not settled
        assert 1 == task.cancelling()
        await task


async def test_a_scope_with_a_task_of_its_own_cancels_that():
    """A layer that drives its part in a task names it."""
    driver, own = asyncio.create_task(swallowing(5)), asyncio.create_task(swallowing(5))
    await asyncio.sleep(1)
    scope = Scope(a_run(driver), own)
    scope.fire()
    assert (0, 1) == (driver.cancelling(), own.cancelling())
    assert scope.settle()
    await asyncio.gather(driver, own)


async def test_a_scope_ends_the_pump_when_nobody_reads():
    """Without a task the pipeline is ended beside its reader."""
    expired = []
    run = a_run(pump=SimpleNamespace(expire=lambda: expired.append(True)))
    scope = Scope(run)
    scope.fire()
    assert [True] == expired
    assert scope.hit is None
    assert scope.settle()


async def test_a_scope_that_fired_unread_leaves_a_later_readers_cancellation_to_the_reader():
    """A cancellation of whoever reads afterwards is not the limit's."""
    run = a_run(pump=SimpleNamespace(expire=lambda: None))
    scope = Scope(run)
    scope.fire()
    run.task = reader = asyncio.create_task(swallowing(5))
    await asyncio.sleep(1)
    reader.cancel()
    assert not scope.settle()
    assert 1 == reader.cancelling()
    await reader


async def test_a_scope_that_fires_when_all_is_over_does_nothing():
    """Neither a task nor a pump: nobody is there to be cancelled."""
    scope = Scope(a_run())
    scope.fire()
    assert scope.fired
    assert scope.settle()
