"""The five layers together: nothing is left behind, whatever ends a call, at whatever moment."""

import asyncio
import random
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway import Pipeline, bounded, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.testing import ScriptedProvider, chunks, completion, openai_error, run, stream
from stepping import cancel_at_every_step


class Stack:
    """The five layers around a scripted provider, and what must be as before when all calls are over."""

    def __init__(self, *script, places=2, rpm=600, **limits):
        self.retry = retry_jitter(3, base=0.1, rng=Random(1))
        self.bound = bounded(places)
        self.limiter = rate_limited(rpm=rpm, tpm=600_000, in_flight=places, counter="characters", **limits)
        self.breaker = circuit_breaker(min_calls=1_000)
        self.total = timed(60)
        self.attempt = timed(5, first_item=3, idle=2)
        self.provider = ScriptedProvider(*script)
        layers = (self.total, self.retry, self.bound, self.limiter, self.breaker, self.attempt)
        self.ask = Pipeline(*layers)(self.provider)

    def left(self):
        """Return what somebody still holds, waits for or reserved; nothing when all is well."""
        (bound,) = self.bound.snapshot()
        (limit,) = self.limiter.snapshot()
        budget = self.retry.budget
        return {
            name: count
            for name, count in {
                "places": bound.in_flight,
                "waiting for a place": bound.waiting,
                "permits": limit.in_flight,
                "waiting for a permit": limit.waiting,
                "calls in the retry budget": budget.calls,
                "retries": budget.spent,
                "total timers": len(self.total._wheel),
                "attempt timers": len(self.attempt._wheel),
            }.items()
            if count
        }

    async def read(self):
        """Make one call, and read its stream if it is one."""
        result = await self.ask("a prompt of some words")
        return [item async for item in result] if hasattr(type(result), "__anext__") else result


SCRIPTS = {
    "an answer": (completion("x", prompt_tokens=5, completion_tokens=5),),
    "a refusal, a failure, an answer": (
        openai_error(429, headers={"retry-after": "1"}),
        openai_error(503),
        completion("x", prompt_tokens=5, completion_tokens=5),
    ),
    "a stream": (stream(chunks("hello there", prompt_tokens=5, completion_tokens=5), gap=0.1),),
    "a stream that fails before its first item": (
        stream(["a"], fail_at=0, error=ConnectionResetError()),
        stream(["a", "b"], gap=0.1),
    ),
    "only failures": (openai_error(500),),
}


@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_call_cancelled_at_any_step_leaves_nothing_behind(script):
    """At every await of a call, cancelled as it waits or as it is woken, all that it took or reserved returns."""
    for step in cancel_at_every_step():
        stack = Stack(*SCRIPTS[script])
        await step(stack.read())
        await asyncio.sleep(1)
        assert {} == stack.left(), step


@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_call_cancelled_at_any_step_while_others_wait_holds_up_nobody(script):
    """Behind two calls that hold both places a third is cancelled at every step: the fourth gets its turn."""
    for step in cancel_at_every_step():
        stack = Stack(*[completion("x", prompt_tokens=5, completion_tokens=5)] * 2, *SCRIPTS[script] * 3)
        stack.provider.latency = 0.5
        first = [asyncio.create_task(stack.read()) for _ in range(2)]
        await asyncio.sleep(0)
        outcome = asyncio.create_task(step(stack.read()))
        await asyncio.sleep(0)
        fourth = asyncio.create_task(stack.read())
        done = await asyncio.gather(*first, outcome, fourth, return_exceptions=True)
        await asyncio.sleep(1)
        assert {} == stack.left(), (step, done)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_storm_of_calls_leaves_anything_behind(seed):
    """A hundred calls with failures, streams, early closes and cancellations: all places and permits come back."""

    async def storm():
        rng = random.Random(seed)
        answers = [step for script in SCRIPTS.values() for step in script]
        stack = Stack(*[rng.choice(answers) for _ in range(60)], places=rng.randint(1, 5), rpm=6_000)

        async def one():
            result = await stack.ask("prompt")
            if hasattr(type(result), "__anext__"):
                async for _ in result:
                    if rng.random() < 0.2:
                        await result.aclose()
                        break
                    if rng.random() < 0.1:
                        return

        tasks = []
        for _ in range(100):
            tasks.append(asyncio.create_task(one()))
            if rng.random() < 0.5:
                await asyncio.sleep(rng.choice([0, 0.01, 0.1]))
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            task.cancelled() or task.exception()
        tasks.clear()
        await asyncio.sleep(120)
        return stack.left()

    assert {} == run(storm())
