"""What is said when nothing can ever happen again."""

import asyncio
import threading

import pytest

from sluiceway.testing import Deadlock, VirtualTimeLoop, run


def deadlock_of(main):
    with pytest.raises(Deadlock) as caught:
        run(main)
    return caught.value


async def _wait(event):
    await event.wait()


def test_names_the_waiting_tasks_and_their_places():
    """Each task that waits is named, with its own line and the line it waits on, outermost first."""

    async def main():
        event = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_wait(event), name="worker")
            group.create_task(_wait(event), name="printer")
            group.create_task(asyncio.sleep(5), name="sleeper")

    error = deadlock_of(main())
    assert {"worker", "printer"} == set(error.waiting) - {n for n in error.waiting if n.startswith("Task-")}
    lines = str(error).splitlines()
    assert lines[0].startswith("deadlock at 5 s of virtual time")
    assert lines[0].endswith("waiting tasks: 3")
    own = next(line for line in lines if "'worker'" in line)
    assert "_wait (test_deadlock.py:" in own
    assert own.index("_wait (test_deadlock.py:") < own.index(" > wait (locks.py:")


def test_a_long_queue_makes_a_short_message():
    """Past twenty tasks the rest is counted by the place where it waits."""

    async def main():
        event = asyncio.Event()
        await asyncio.gather(*(_wait(event) for _ in range(1500)))

    error = deadlock_of(main())
    assert 1501 == len(error.waiting)
    lines = str(error).splitlines()
    assert 22 == len(lines)
    assert lines[-1].startswith("  and 1,481 more at _wait (test_deadlock.py:")


def test_deep_stacks_show_their_ends():
    """Of a deep chain of awaits the outermost two and the innermost frames are shown."""

    async def deep(depth):
        await (deep(depth - 1) if depth else asyncio.Event().wait())

    message = str(deadlock_of(deep(50)))
    assert 2 == message.count("\n") + 1
    assert " > ... > deep (test_deadlock.py:" in message
    assert message.endswith(")")
    assert " > wait (locks.py:" in message


def test_values_are_not_shown():
    """Arguments and results of the tasks stay out of the message: they may be prompts."""

    async def main(prompt):
        await asyncio.wait_for(asyncio.get_running_loop().create_future(), None)
        return prompt

    assert "secret" not in str(deadlock_of(main("secret")))


def test_a_bare_future_is_a_deadlock_too():
    """Waiting for a future that nobody holds ends in the same error, with no task to name."""
    loop = VirtualTimeLoop(patience=0)
    try:
        with pytest.raises(Deadlock, match="a bare future") as caught:
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()
    assert () == caught.value.waiting


def test_a_silent_thread_does_not_hide_it():
    """A thread that never calls is waited for with patience, and no longer."""
    release = threading.Event()

    async def main():
        thread = threading.Thread(target=release.wait, args=(10,))
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            release.set()
            thread.join()

    with (
        asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(patience=0.01)) as runner,
        pytest.raises(Deadlock),
    ):
        runner.run(main())


def test_a_lock_taken_twice_is_found():
    """The usual mistake: a task waits for what it holds itself."""

    async def main():
        lock = asyncio.Lock()
        async with lock, lock:
            pass

    assert "main (test_deadlock.py:" in str(deadlock_of(main()))


def test_async_generators_and_generator_coroutines_are_walked():
    """The chain of awaits is followed through whatever it consists of, as far as Python shows it."""

    async def items():
        await asyncio.Event().wait()
        yield 1

    async def main():
        async for _ in items():
            pass

    assert "main (test_deadlock.py:" in str(deadlock_of(main()))
