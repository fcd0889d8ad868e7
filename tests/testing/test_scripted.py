"""The provider that plays a script."""

import asyncio

import pytest

from sluiceway.testing import Deadlock, ScriptedProvider, ScriptExhausted, after, completion, hang, run, stream


def now():
    return asyncio.get_running_loop().time()


async def test_answers_in_the_order_of_the_script():
    """The n-th call gets the n-th step, and all further ones the last."""
    provider = ScriptedProvider("one", "two")
    assert ["one", "two", "two"] == [await provider("prompt") for _ in range(3)]
    assert 3 == provider.count


async def test_without_a_script_it_answers_none():
    """A provider that needs no answers needs no script."""
    assert await ScriptedProvider()("prompt") is None


async def test_exceptions_are_raised():
    """An exception in the script is raised as that very object, a class as a new one."""
    error = RuntimeError("broken")
    provider = ScriptedProvider(error, KeyError, "fine")
    with pytest.raises(RuntimeError) as caught:
        await provider()
    assert error is caught.value
    with pytest.raises(KeyError):
        await provider()
    assert "fine" == await provider()
    assert [RuntimeError, KeyError, type(None)] == [type(call.error) for call in provider.calls]


async def test_a_repeated_exception_does_not_grow():
    """The traceback of an error that is raised a hundred times shows the last time only."""
    error = RuntimeError("broken")
    provider = ScriptedProvider(error)
    for _ in range(100):
        with pytest.raises(RuntimeError):
            await provider()
    frames, trace = 0, error.__traceback__
    while trace is not None:
        frames, trace = frames + 1, trace.tb_next
    assert frames < 10


async def test_functions_are_called_with_the_arguments():
    """A step may compute its answer, also asynchronously."""

    async def slow(prompt):
        await asyncio.sleep(2)
        return prompt[::-1]

    provider = ScriptedProvider(lambda prompt, *, times: prompt * times, slow)
    assert "abab" == await provider("ab", times=2)
    assert "ba" == await provider("ab")


async def test_latency_passes_before_the_answer():
    """Each answer takes the provider's latency, or its own; an error too."""
    provider = ScriptedProvider("a", after("500ms", "b"), after(3, RuntimeError()), latency=2)
    started = now()
    await provider()
    await provider()
    with pytest.raises(RuntimeError):
        await provider()
    first, second, third = provider.calls
    assert [started, started + 2, started + 2.5] == [call.started_at for call in provider.calls]
    assert (started + 2, started + 2.5, started + 5.5) == (first.ended_at, second.ended_at, third.ended_at)


async def test_records_what_it_was_called_with():
    """Arguments are kept, but not shown: they may be prompts."""
    provider = ScriptedProvider(name="ask")
    await provider("secret", model="m")
    (call,) = provider.calls
    assert (("secret",), {"model": "m"}) == (call.args, call.kwargs)
    assert "secret" not in f"{call!r} {provider!r}"
    assert "ask" == provider.__name__


async def test_peak_is_the_most_that_ran_at_once():
    """Concurrency is counted from a call's start to its end, whichever way it ends."""
    provider = ScriptedProvider("a", RuntimeError(), "c", latency=1)
    async with asyncio.TaskGroup() as group:
        for delay in (0, 0.5, 0.9):
            group.create_task(_swallow(provider, delay))
    await provider()
    assert (3, 0, 4) == (provider.peak, provider.in_flight, provider.count)


async def _swallow(provider, delay):
    await asyncio.sleep(delay)
    await asyncio.gather(provider(), return_exceptions=True)


async def test_hang_never_answers_and_can_be_cancelled():
    """A call that hangs ends only by a cancellation, which it records."""
    provider = ScriptedProvider(hang())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(provider(), 30)
    (call,) = provider.calls
    assert (30, asyncio.CancelledError) == (call.ended_at - call.started_at, type(call.error))
    assert 0 == provider.in_flight


def test_a_hang_without_a_timeout_is_a_deadlock():
    """On virtual time a provider that never answers is reported, not waited for."""
    with pytest.raises(Deadlock, match="_answer"):
        run(ScriptedProvider(hang())("prompt"))


async def test_a_script_may_be_exact():
    """With repeat=False one call too many is an AssertionError that says so."""
    provider = ScriptedProvider("only", repeat=False, name="ask")
    await provider()
    with pytest.raises(ScriptExhausted, match="call 2 of ask, whose script has 1 steps"):
        await provider()
    assert issubclass(ScriptExhausted, AssertionError)


async def test_a_stream_lasts_until_it_is_over():
    """The call of a stream is in flight while it is read, and ends with its last item."""
    provider = ScriptedProvider(stream(["a", "b"], gap=1), latency=5)
    started = now()
    answer = await provider("prompt")
    (call,) = provider.calls
    assert (started + 5, None, 1) == (now(), call.ended_at, provider.in_flight)
    assert ["a", "b"] == [item async for item in answer]
    assert (started + 7, None, 0) == (call.ended_at, call.error, provider.in_flight)


async def test_each_call_plays_its_stream_from_the_start():
    """One script of a stream serves many calls at once."""
    provider = ScriptedProvider(stream("abc", gap=1))
    first, second = await provider(), await provider()
    assert "a" == await anext(first)
    assert ["a", "b", "c"] == [item async for item in second]
    await first.close()
    assert (2, 0) == (provider.peak, provider.in_flight)


async def test_the_error_of_a_stream_is_recorded():
    """A stream that breaks ends its call with the error."""
    error = ConnectionResetError("broken")
    provider = ScriptedProvider(stream("abc", fail_at=1, error=error))
    answer = await provider()
    await anext(answer)
    with pytest.raises(ConnectionResetError):
        await anext(answer)
    assert error is provider.calls[0].error


async def test_completions_are_answers():
    """A completion is a step like any other value, shared by the calls that get it."""
    answer = completion("hello")
    assert answer is await ScriptedProvider(answer)("prompt")


@pytest.mark.parametrize("latency", [-1, "soon"])
def test_a_latency_is_a_duration(latency):
    """The error names the value."""
    with pytest.raises(ValueError, match="latency"):
        ScriptedProvider(latency=latency)
    with pytest.raises(ValueError, match="latency"):
        after(latency, "late")
