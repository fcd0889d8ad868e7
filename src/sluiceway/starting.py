"""A task whose first step is made at once, within its maker's, and not in the event loop's next round.

What ends in its first step (a refusal, an answer that was kept) costs neither a task nor a round of the loop; what goes
on has come to the layers inside in the order in which its callers came. From Python 3.12 on asyncio does that itself
(`eager_start`). In 3.11 we make the first step under the name of a task that is made only if it is needed, in the way
in which asyncio has task classes of others do it: https://docs.python.org/3/library/asyncio-extending.html
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import CancelledError, Task
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from .tasks import task_of

if TYPE_CHECKING:
    from collections.abc import Generator


class Begun(Coroutine[Any, Any, None]):
    """A coroutine that `begin` lets make its first step; whoever runs this goes on from there."""

    __slots__ = ("_came", "_coroutine", "_goes_on", "_told")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._came: Any = None
        self._goes_on = False
        self._told = False

    def begin(self) -> bool:
        """Make the first step, and return whether there is more to come.

        Raises:
            BaseException: what the coroutine raises.
        """
        try:
            self._came = self._coroutine.send(None)
        except StopIteration:
            return False
        self._goes_on = True
        return True

    def send(self, value: Any) -> Any:
        """Go on; the first time with what the first step waits for."""
        if not self._goes_on:
            raise StopIteration
        if self._told:
            return self._coroutine.send(value)
        self._told = True
        return self._came

    def throw(self, error: Any, *_: Any) -> Any:
        """Raise *error* where it stands; a cancellation first cancels what it waits for, as a task's own does."""
        if not self._goes_on:
            raise StopIteration
        if not self._told:
            self._told = True
            if isinstance(error, CancelledError) and asyncio.isfuture(self._came) and self._came.cancel(*error.args):
                return self._came
        return self._coroutine.throw(error)

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("what has begun is gone on with by its task")


if sys.version_info >= (3, 12):

    def _start(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> Task[None] | None:
        task = Task(coroutine, loop=loop, eager_start=True)
        if not task.done():
            return task
        task.result()
        return None

else:

    class _Made(Task[None]):
        """The task of what has begun."""

        __slots__ = ("made_of",)

    class _Unmade(Task[None]):
        """A task that is not made yet, but as soon as anybody touches it."""

        __slots__ = ("made_of",)

        def __init__(self, begun: Begun, loop: asyncio.AbstractEventLoop) -> None:
            self.made_of = begun, loop

        def __getattribute__(self, name: str) -> Any:
            return _not_at_all if name == "cancelling" else getattr(_made(self), name)

    def _not_at_all() -> int:
        """Return how often a task that is not made yet was asked to cancel."""
        return 0

    def _made(task: Task[None]) -> Task[None]:
        if type(task) is _Unmade:
            begun, loop = object.__getattribute__(task, "made_of")
            task.__class__ = _Made  # type: ignore[assignment]  # it has the same slots
            Task.__init__(task, begun, loop=loop)
        return task

    def _start(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> Task[None] | None:
        begun = Begun(coroutine)
        outer, task = task_of(loop), _Unmade(begun, loop)
        if outer is not None:
            asyncio.tasks._leave_task(loop, outer)  # noqa: SLF001 - documented, as are its sisters below
        asyncio.tasks._enter_task(loop, task)  # noqa: SLF001
        try:
            goes_on = begun.begin()
        finally:
            asyncio.tasks._leave_task(loop, task)  # noqa: SLF001
            if outer is not None:
                asyncio.tasks._enter_task(loop, outer)  # noqa: SLF001
        return _made(task) if goes_on else None


def started(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> Task[None] | None:
    """Return the task of *coroutine* after its first step; None if it was over with that.

    A loop with a task factory of its own makes the task, whose first step is then made in the loop's next round.

    Raises:
        BaseException: what the coroutine raised in its first step.
    """
    if loop.get_task_factory() is not None:
        return loop.create_task(coroutine)
    return _start(coroutine, loop)
