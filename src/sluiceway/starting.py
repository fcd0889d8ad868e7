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
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator

OVER: Final = object()
"""What a first step returns that was all there is to do."""


class Begun(Coroutine[Any, Any, None]):
    """A coroutine that has made its first step; whoever runs this goes on from there."""

    __slots__ = ("_came", "_coroutine", "_told")

    def __init__(self) -> None:
        self._came: Any = None
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._told = False

    def at(self, came: Any, coroutine: Coroutine[Any, Any, None]) -> None:
        """Go on with *coroutine*, which waits for *came*; without this, there is nothing more to do."""
        self._came = came
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        """Go on; the first time with what the first step waits for."""
        if self._coroutine is None:
            raise StopIteration
        if self._told:
            return self._coroutine.send(value)
        self._told = True
        return self._came

    def throw(self, error: Any, *_: Any) -> Any:
        """Raise *error* where it stands; a cancellation first cancels what it waits for, as a task's own does."""
        if self._coroutine is None:
            raise StopIteration
        if not self._told:
            self._told = True
            if isinstance(error, CancelledError) and asyncio.isfuture(self._came) and self._came.cancel(*error.args):
                return self._came
        return self._coroutine.throw(error)

    def close(self) -> None:
        """End it."""
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("what has begun is gone on with by its task")


class Work(Protocol):
    """What a task is to do."""

    def first_step(self, task: Task[Any] | None, /) -> Any:
        """Do it in *task*, which runs now, until it waits for something; return that, or `OVER`."""

    def after_first(self, came: Any, /) -> Coroutine[Any, Any, None]:
        """Return what is left to do, which waits for *came* first."""


async def _whole(work: Work) -> None:
    came = work.first_step(asyncio.current_task())
    if came is not OVER:
        await work.after_first(came)


if sys.version_info >= (3, 12):

    def begun(work: Work, loop: asyncio.AbstractEventLoop) -> Task[None] | None:
        """Make the first step of *work* as that of a task; return the task, or None: as below for Python 3.11."""
        if loop.get_task_factory() is not None:
            return loop.create_task(_whole(work))
        task = Task(_whole(work), loop=loop, eager_start=True)
        if not task.done():
            return task
        task.result()
        return None

else:
    from .tasks import running

    class _Made(Task[None]):
        """The task of what has begun: of `made_of`, which waits for something, or is over."""

        __slots__ = ("made_of",)
        made_of: Any

    class _Unmade(Task[None]):
        """A task that is not made yet, but as soon as anybody touches it: in the loop `made_of`."""

        __slots__ = ("made_of",)
        made_of: Any

        def __getattribute__(self, name: str) -> Any:
            return _not_at_all if name == "cancelling" else getattr(_made(self), name)

    _new: Final = Task.__new__

    def _not_at_all() -> int:
        """Return how often a task that is not made yet was asked to cancel."""
        return 0

    def _made(task: Task[None]) -> Any:
        if type(task) is _Unmade:
            loop = object.__getattribute__(task, "made_of")
            task.__class__ = _Made  # type: ignore[assignment]  # it has the same slots
            task.made_of = Begun()
            Task.__init__(task, task.made_of, loop=loop)
        return task

    def begun(work: Work, loop: asyncio.AbstractEventLoop) -> Task[None] | None:
        """Make the first step of *work* as that of a task; return the task, which does the rest.

        None if it is over, since it never waited. A loop with a task factory of
        its own makes the task, whose first step is then made in the loop's next round.

        Raises:
            BaseException: what was raised before it first waited.
        """
        if loop.get_task_factory() is not None:
            return loop.create_task(_whole(work))
        outer = running.get(loop)
        running[loop] = task = _new(_Unmade)
        task.made_of = loop
        try:
            came = work.first_step(task)
            if came is OVER:
                return None
            coroutine = work.after_first(came)
            try:
                came = coroutine.send(None)
            except StopIteration:
                return None
        finally:
            if outer is None:
                del running[loop]
            else:
                running[loop] = outer
        _made(task).made_of.at(came, coroutine)
        return task


def started(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> Task[None] | None:
    """Return the task of *coroutine* after its first step, as `begun` does; None if it was over with that.

    Raises:
        BaseException: what the coroutine raised in its first step.
    """
    return begun(_Coroutine(coroutine), loop)


class _Coroutine:
    """A coroutine as `Work`: its steps are all the same."""

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine

    def first_step(self, _: Task[Any] | None) -> None:
        """Leave all to do."""

    def after_first(self, _: None) -> Coroutine[Any, Any, None]:
        """Return it."""
        return self._coroutine
