"""The event loop whose clock jumps."""

import asyncio
import math
import selectors
import socket
import threading
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sluiceway.testing import Deadlock, VirtualTimeLoop, run


def run_on(loop, main):
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)


async def test_an_hour_passes_at_once():
    """The clock jumps to the very moment of the next timer."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.sleep(3600)
    assert before + 3600 == loop.time()


def test_time_starts_at_zero_and_has_no_rounding():
    """What time() returns is the number that the timer was set to, not a sum of pauses."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        for moment in (0.1, 0.3, 0.7, 1e6 + 0.1):
            loop.call_at(moment, lambda: seen.append(loop.time()))
        start = loop.time()
        await asyncio.sleep(2e6)
        return start, seen

    assert (0.0, [0.1, 0.3, 0.7, 1e6 + 0.1]) == run(main())


def test_a_month_is_one_jump():
    """The limit of a day that asyncio has for one wait does not cut a jump into pieces."""

    async def main():
        await asyncio.sleep(30 * 86400)
        return asyncio.get_running_loop().time()

    assert 30 * 86400 == run(main())


@pytest.mark.parametrize("years", [1, 1000])
def test_years_are_one_jump(years):
    """From 116 days on a nanosecond is no step of the clock: the timer was due for ever, and never ran."""

    async def main():
        await asyncio.sleep(years * 366 * 86400)
        await asyncio.sleep(0.5)
        return asyncio.get_running_loop().time()

    assert years * 366 * 86400 + 0.5 == run(main())


def test_a_timer_for_ever_is_none():
    """Nobody's clock comes to it: other timers are jumped to, and with it alone the loop is dead."""

    async def main(*, alone):
        sleeping = asyncio.ensure_future(asyncio.sleep(math.inf))
        if alone:
            await sleeping
        await asyncio.sleep(5)
        return asyncio.get_running_loop().time(), sleeping.done()

    assert (5.0, False) == run(main(alone=False))
    with pytest.raises(Deadlock, match="no timer set"):
        run(main(alone=True))


class _Creeping(asyncio.SelectorEventLoop):
    """asyncio's own loop and heap on a clock that moves a little at every look, as a real one does."""

    def __init__(self):
        loop = self
        self.now = 0.0

        class Watch(selectors.DefaultSelector):
            def select(self, timeout=None):
                loop.now += timeout
                return super().select(0)

        super().__init__(Watch())

    def time(self):
        self.now += 1e-6
        return self.now


async def _sleepers(plans):
    woken = []

    async def sleeper(name, delays):
        for delay in delays:
            await asyncio.sleep(delay)
            woken.append((name, delay))

    async with asyncio.TaskGroup() as group:
        for name, delays in enumerate(plans):
            group.create_task(sleeper(name, delays))
    return woken


@given(st.lists(st.integers(0, 4), max_size=30))
def test_timers_fire_in_the_order_of_real_asyncio(delays):
    """Timers for the same moment, which a real clock never has, fire in the order in which they were set."""
    plans = [[delay] for delay in delays]
    assert run_on(_Creeping(), _sleepers(plans)) == run(_sleepers(plans))


@given(st.lists(st.lists(st.integers(1, 1000), max_size=4), max_size=6))
def test_timers_set_by_timers_fire_in_the_order_of_real_asyncio(plans):
    """The same holds for chains of sleeps, wherever their moments differ and real asyncio has an order."""
    moments = [moment for delays in plans for moment in accumulate(delays)]
    assume(len(moments) == len(set(moments)))
    assert run_on(_Creeping(), _sleepers(plans)) == run(_sleepers(plans))


def test_equal_timers_keep_their_order_among_cancelled_ones():
    """Cancelling most timers, which rebuilds asyncio's heap, leaves the order of the others."""

    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        timers = [loop.call_later(1, fired.append, i) for i in range(500)]
        for i, timer in enumerate(timers):
            if i % 4:
                timer.cancel()
        await asyncio.sleep(1)
        return fired

    assert list(range(0, 500, 4)) == run(main())


async def test_timeout_fires_at_its_moment():
    """asyncio.timeout works, and costs no real time."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
    assert before + 60 == loop.time()


async def test_wait_for_and_wait_pass_when_the_answer_comes_first():
    """A timeout that is not reached is dropped without being waited for."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert "answer" == await asyncio.wait_for(asyncio.sleep(1, "answer"), 3600)
    assert before + 1 == loop.time()


async def test_cancellation_reaches_a_sleeping_task():
    """A cancelled sleep ends at the moment of the cancellation."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    task = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert before + 5 == loop.time()


async def test_task_group_cancels_the_others_on_a_failure():
    """asyncio.TaskGroup works."""
    loop = asyncio.get_running_loop()
    before = loop.time()

    async def fail():
        await asyncio.sleep(2)
        raise KeyError

    with pytest.raises(ExceptionGroup):  # noqa: PT012 - the block is the group
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(3600))
            group.create_task(fail())
    assert before + 2 == loop.time()


def test_loops_one_after_another_start_anew():
    """Each run has a clock of its own, also with locks that were made before the first."""
    lock = asyncio.Lock()

    async def main():
        async with lock:
            await asyncio.sleep(1)
        return asyncio.get_running_loop().time()

    assert [1.0, 1.0, 1.0] == [run(main()) for _ in range(3)]


def test_work_in_a_thread_takes_no_virtual_time():
    """While to_thread runs the clock stands still: no timer overtakes it, however long it takes."""
    seen = []

    def job(loop):
        for _ in range(20):
            asked = threading.Event()
            loop.call_soon_threadsafe(lambda asked=asked: (seen.append(loop.time()), asked.set()))
            assert asked.wait(10)
        return "done"

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(0.001, seen.append, "timer")
        answer = await asyncio.to_thread(job, loop)
        await asyncio.sleep(1)
        return answer, loop.time()

    assert ("done", 1.0) == run(main())
    assert [0.0] * 20 + ["timer"] == seen


def test_work_in_a_thread_is_no_deadlock():
    """A task that waits for a thread alone is waited for."""
    assert 7 == run_on(VirtualTimeLoop(patience=0), _in_thread(lambda: 7))


def test_an_error_in_a_thread_arrives():
    """The exception of run_in_executor is the one that was raised there."""
    with pytest.raises(ZeroDivisionError):
        run(_in_thread(lambda: 1 // 0))


async def _in_thread(function):
    return await asyncio.get_running_loop().run_in_executor(None, function)


def test_time_runs_on_when_a_thread_waits_for_a_timer():
    """A thread that needs the clock to move gets its timer once the loop's patience is at its end."""

    async def main():
        loop = asyncio.get_running_loop()
        wait = asyncio.run_coroutine_threadsafe
        return await asyncio.to_thread(lambda: wait(asyncio.sleep(0.01, "late"), loop).result(10))

    assert "late" == run_on(VirtualTimeLoop(patience=0.01), main())


def test_a_timeout_ends_the_wait_for_a_stuck_thread():
    """A job that outlasts the patience meets its timeout at the pace of the real clock."""
    release = threading.Event()

    async def main():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.to_thread(release.wait, 10)
        except TimeoutError:
            return "timed out"
        finally:
            release.set()

    assert "timed out" == run_on(VirtualTimeLoop(patience=0.01), main())


def test_a_thread_of_ones_own_wakes_the_loop():
    """call_soon_threadsafe is heard from a thread that the loop knows nothing of."""

    async def main():
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(answer.set_result, 1))
        loop.call_soon(thread.start)
        try:
            return await answer
        finally:
            thread.join()

    assert 1 == run(main())


def test_the_main_thread_wakes_a_loop_in_another():
    """A loop that runs in a thread waits for the main thread, which may yet call it."""
    ready = threading.Event()
    shared = []

    async def main():
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        shared.extend([loop, answer])
        loop.call_soon(ready.set)
        shared.append(await answer)

    thread = threading.Thread(target=lambda: run(main()))
    thread.start()
    assert ready.wait(10)
    shared[0].call_soon_threadsafe(shared[1].set_result, "heard")
    thread.join()
    assert "heard" == shared[2]


def test_run_forever_waits_for_the_outside():
    """A loop without an end to wait for raises nothing: whoever runs it will stop it."""
    loop = VirtualTimeLoop(patience=0)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    answer = asyncio.run_coroutine_threadsafe(asyncio.sleep(60, "slept"), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert "slept" == answer


@pytest.mark.real
def test_a_socket_is_waited_for_in_earnest(monkeypatch):
    """While a file descriptor is watched no timer is jumped to, though the peer sends only once the loop blocks."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    blocked = threading.Event()

    def send():
        assert blocked.wait(10)
        theirs.send(b"hello")

    async def main():
        loop = asyncio.get_running_loop()
        wait = loop._watch.wait
        monkeypatch.setattr(loop._watch, "wait", lambda timeout: blocked.set() or wait(timeout))
        thread = threading.Thread(target=send)
        thread.start()
        async with asyncio.timeout(60):
            received = await loop.sock_recv(ours, 5)
        thread.join()
        return received, 0 < loop.time() < 60

    with ours, theirs:
        assert (b"hello", True) == run(main())


@pytest.mark.real
def test_a_server_and_its_client_talk_on_one_loop():
    """Streams of asyncio work over loopback, and time jumps again once they are closed."""

    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(86400)
        return line

    assert b"hello\n" == run(main())


def test_debug_mode_works():
    """The debug mode finds nothing slow: computing takes no virtual time."""

    async def main():
        await asyncio.sleep(10)
        return asyncio.get_running_loop().get_debug()

    assert run(main(), debug=True)


def test_a_closed_loop_takes_no_timers():
    """Setting a timer on a closed loop is the error it is in asyncio."""
    loop = VirtualTimeLoop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1, print)


@pytest.mark.parametrize("patience", [-1, float("nan")])
def test_patience_is_not_negative(patience):
    """The error names the value."""
    with pytest.raises(ValueError, match=f"patience .* not {patience}"):
        VirtualTimeLoop(patience=patience)


def test_deadlock_ends_a_run_and_the_next_is_free_of_it():
    """The tasks of a dead run are cancelled when it is left, and run their finally blocks."""
    cleaned = []

    async def main():
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("yes")

    with pytest.raises(Deadlock):
        run(main())
    assert ["yes"] == cleaned
    assert "ok" == run(asyncio.sleep(1, "ok"))
