"""Faults in front of a provider, the same ones in every run."""

import asyncio
import inspect
from collections import Counter

import pytest

from sluiceway.testing import ScriptedProvider, completion, faulty, openai_error, run, stream


async def kinds(function, calls):
    """Return what each of so many calls ended with, in order."""

    async def one():
        try:
            return await asyncio.wait_for(function("prompt"), 1000)
        except TimeoutError:
            return "hung"
        except ConnectionResetError:
            return "reset"
        except Exception as error:  # noqa: BLE001 - whatever was injected is the result
            return getattr(error, "status_code", type(error).__name__)

    return await asyncio.gather(*(one() for _ in range(calls)))


async def test_without_faults_nothing_changes():
    """Arguments go in and the answer comes out."""
    provider = ScriptedProvider("answer")
    assert "answer" == await faulty(provider)("prompt", model="m")
    assert (("prompt",), {"model": "m"}) == (provider.calls[0].args, provider.calls[0].kwargs)


async def test_faults_come_as_often_as_they_are_likely():
    """Each kind has its share of the calls, and a call meets one at most."""
    provider = ScriptedProvider("answer")
    errors = {429: 0.1, 503: 0.2, ValueError: 0.1}
    met = Counter(await kinds(faulty(provider, errors=errors, hang=0.1, reset=0.1), 5000))
    expected = {429: 0.1, 503: 0.2, "ValueError": 0.1, "hung": 0.1, "reset": 0.1, "answer": 0.4}
    assert expected.keys() == met.keys()
    for kind, share in expected.items():
        assert abs(met[kind] / 5000 - share) < 0.03, kind


async def test_the_provider_is_called_for_answers_and_resets_only():
    """A reset loses an answer that was made; an error and a hang come before the provider."""
    provider = ScriptedProvider("answer")
    met = Counter(await kinds(faulty(provider, errors={500: 0.3}, hang=0.2, reset=0.2), 500))
    assert provider.count == met["answer"] + met["reset"]


def test_a_seed_makes_the_same_faults():
    """Two runs with one seed agree call by call, and another seed differs."""
    errors = {429: 0.3, 500: 0.3}

    def faults(seed):
        return run(kinds(faulty(ScriptedProvider(), errors=errors, latency=(0, 9), seed=seed), 100))

    assert faults(1) == faults(1)
    assert faults(1) != faults(2)


async def test_fates_do_not_depend_on_concurrency():
    """Calls one after another meet what the same calls met all at once."""
    at_once = await kinds(faulty(ScriptedProvider(), errors={429: 0.5}), 50)
    function = faulty(ScriptedProvider(), errors={429: 0.5})
    assert at_once == [(await kinds(function, 1))[0] for _ in range(50)]


@pytest.mark.parametrize("certain", [{"errors": {418: 1}}, {"hang": 1}, {"reset": 1}])
async def test_a_certain_fault_always_comes(certain):
    """A probability of 1 spares no call."""
    met = await kinds(faulty(ScriptedProvider("answer"), **certain), 50)
    assert 1 == len(set(met))
    assert "answer" not in met


async def test_latency_may_be_fixed_drawn_or_computed():
    """A duration, two bounds, or a function of a random generator."""
    loop = asyncio.get_running_loop()

    async def took(latency):
        started = loop.time()
        await faulty(ScriptedProvider(), latency=latency)()
        return loop.time() - started

    assert pytest.approx(0.25) == await took("250ms")
    assert 1 <= await took((1, "2s")) <= 2
    assert pytest.approx(7) == await took(lambda rng: 7 + rng.random() * 0)


async def test_errors_may_be_made_by_a_function():
    """Headers and codes come from a maker; each call gets a fresh exception."""

    def broke():
        return openai_error(429, code="insufficient_quota", headers={"retry-after": "9"})

    function = faulty(ScriptedProvider(), errors={broke: 1})
    first, second = await asyncio.gather(function(), function(), return_exceptions=True)
    assert ("insufficient_quota", "9") == (first.code, first.response.headers["retry-after"])
    assert first is not second


async def test_a_reset_closes_the_stream_it_loses():
    """A stream whose opening was lost is not left open at the provider."""
    provider = ScriptedProvider(stream("abc"))
    with pytest.raises(ConnectionResetError):
        await faulty(provider, reset=1)()
    assert (1, 0) == (provider.count, provider.in_flight)


async def test_streams_pass_through():
    """What a coroutine returns is returned as it is."""
    function = faulty(ScriptedProvider(stream("abc")), latency=1)
    assert ["a", "b", "c"] == [item async for item in await function()]


async def test_it_looks_like_what_it_wraps():
    """Name, docstring and signature are the function's, and it is a coroutine function."""

    async def ask(prompt: str) -> str:
        """Ask."""
        return prompt

    function = faulty(ask)
    assert ("ask", "Ask.", inspect.signature(ask)) == (
        function.__name__,
        function.__doc__,
        inspect.signature(function),
    )
    assert inspect.iscoroutinefunction(function)


async def test_methods_stay_methods():
    """A function of a class can be wrapped there."""

    class Client:
        async def ask(self, prompt):
            return completion(prompt)

        ask = faulty(ask)

    assert "hi" == (await Client().ask("hi")).choices[0].message.content


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"errors": {429: 1.5}}, r"errors\[429\] must be a probability from 0 to 1, not 1.5"),
        ({"hang": -0.1}, "hang .* not -0.1"),
        ({"reset": float("nan")}, "reset .* not nan"),
        ({"errors": {429: 0.6}, "hang": 0.6}, "together .* not 1.2"),
        ({"errors": {200: 0.1}}, "status .* not 200"),
        ({"latency": -1}, "latency"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    """The error names the value and what is allowed."""
    with pytest.raises(ValueError, match=message):
        faulty(ScriptedProvider(), **wrong)


async def test_only_coroutine_functions_are_taken():
    """An async generator is refused at once, a synchronous function when it shows."""

    async def items():
        yield 1

    for wrong in (items, "ask"):
        with pytest.raises(TypeError, match="coroutine function"):
            faulty(wrong)
    with pytest.raises(TypeError, match="synchronous"):
        await faulty(lambda: 1)()
