"""The generator that cancels at every step finds what only one step shows."""

import asyncio
from asyncio import CancelledError

from stepping import WAITING, WOKEN, cancel_at_every_step


async def three_steps():
    await asyncio.sleep(0)
    await asyncio.sleep(1)
    await asyncio.get_running_loop().run_in_executor(None, int)
    return "through"


async def test_every_step_is_cancelled_at_both_moments_and_then_it_gets_through():
    """Three suspensions are cancelled while they wait and as they are woken, and each series ends with a pass."""
    rounds = [(step.when, step.number, await step(three_steps())) for step in cancel_at_every_step()]
    expected = [
        (when, number, "cancelled" if number < 4 else "value") for when in (WAITING, WOKEN) for number in (1, 2, 3, 4)
    ]
    assert expected == rounds


async def test_it_finds_a_grant_that_is_lost_only_when_the_cancellation_overtakes_it():
    """A lock that forgets a grant whose waiter was cancelled in the same round is found out as it is woken."""

    class Leaky:
        def __init__(self):
            self.held = 0

        async def use(self):
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(1, self.grant, future)
            await future
            try:
                await asyncio.sleep(0)
            finally:
                self.held -= 1

        def grant(self, future):
            if not future.done():
                self.held += 1
                future.set_result(None)

    leaks = []
    for step in cancel_at_every_step():
        leaky = Leaky()
        await step(leaky.use())
        await asyncio.sleep(2)
        if leaky.held:
            leaks.append((step.when, step.number))
    assert [(WOKEN, 1)] == leaks


async def test_a_swallowed_cancellation_is_reported_as_its_value():
    """A coroutine that swallows the cancellation ends as a value, though the step was reached."""

    async def stubborn():
        try:
            await asyncio.sleep(1)
        except CancelledError:
            return "went on"

    ends = [(step.reached, await step(stubborn()), step.reached, step.value) for step in cancel_at_every_step()]
    assert [(False, "value", True, "went on"), (False, "value", False, None)] * 2 == ends


async def test_an_error_is_reported_as_itself():
    """What the coroutine raises instead of the cancellation is kept for the test to look at."""

    async def stumbling():
        try:
            await asyncio.sleep(1)
        except CancelledError:
            raise ValueError("stumbled") from None

    kinds = []
    for step in cancel_at_every_step():
        await step(stumbling())
        kinds.append(type(step.error))
    assert [ValueError, type(None)] * 2 == kinds
