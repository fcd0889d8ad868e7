"""Cancel a coroutine at each of its steps in turn: nothing may be left behind, whatever the moment.

A step is one suspension: the coroutine gives a future (or a bare turn) to the event loop. Two moments of each step are
dangerous, and both are played:

- *as it waits*: the cancellation comes while the future is pending;
- *as it is woken*: the future is done, its result on the way (a permit is granted), and the cancellation overtakes it.

Use it as a loop; it ends when the coroutine got through both times without being cancelled::

    for step in cancel_at_every_step():
        outcome = await step(ask("a prompt"))
        assert 0 == layer.snapshot()[0].in_flight
"""

from __future__ import annotations

import asyncio
import types
from asyncio import CancelledError

_MOST = 2000  # a coroutine with more steps than this is not a test's

WAITING = "as it waits"
WOKEN = "as it is woken"


class Step:
    """One round: call it with the coroutine; afterwards it knows how that ended.

    Attributes:
        number: the step at which it cancels, from 1; when: at which of its two moments.
        reached: whether the coroutine got so far, and was cancelled.
        outcome: `"value"`, `"cancelled"` or `"error"`.
        value, error: what came out.
        task: the task that ran it.
    """

    def __init__(self, number, when):
        self.number = number
        self.when = when
        self.reached = False
        self.outcome = None
        self.value = None
        self.error = None
        self.task = None

    def __repr__(self):
        return f"<cancelled {self.when} at step {self.number}: {self.outcome}>"

    async def __call__(self, coroutine):
        """Run *coroutine* in a task of its own, cancelled at this step; return `outcome`."""
        self.task = asyncio.get_running_loop().create_task(self._run(coroutine))
        try:
            self.value = await self.task
            self.outcome = "value"
        except CancelledError as error:
            self.error = error
            self.outcome = "cancelled"
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error
            self.outcome = "error"
        return self.outcome

    async def _run(self, coroutine):
        return await self._stepped(coroutine)

    @types.coroutine
    def _stepped(self, coroutine):
        """Await *coroutine* by hand, counting what it yields to the loop."""
        count = 0
        send = coroutine.send
        value = None
        while True:
            try:
                out = send(value)
            except StopIteration as stop:
                return stop.value
            count += 1
            if count == self.number:
                self._cancel_at(out)
            try:
                value = yield out
                send = coroutine.send
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - all that is thrown at us is for the coroutine
                send, value = coroutine.throw, error

    def _cancel_at(self, out):
        self.reached = True
        task = self.task
        if self.when == WAITING:
            task.cancel()
        elif out is None:  # a bare turn, as `sleep(0)` gives: the loop's next round wakes it
            asyncio.get_running_loop().call_soon(task.cancel)
        else:  # before the task's own callback, so that the result is there and the task has not seen it
            out.add_done_callback(lambda _: task.cancel())


def cancel_at_every_step():
    """Yield a `Step` for every moment at which the coroutine can be cancelled, and one each that it gets through."""
    for when in (WAITING, WOKEN):
        for number in range(1, _MOST + 1):
            step = Step(number, when)
            yield step
            assert step.outcome is not None, "await step(coroutine) inside the loop"
            if not step.reached:
                break
        else:
            raise AssertionError(f"more than {_MOST} steps")
