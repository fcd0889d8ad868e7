"""One function over many items: a task for each, never more than so many, outcomes as they come.

Which of the three to take:

- `session.gather(f, items)` when you want everything: it runs all items, whatever fails, and returns one `Outcome` for
  each, in the order of the items. All of them are in memory.
- `session.map(f, items)` when there are more items than you want in memory, or you want to write each answer down
  as soon as it is there: it yields outcomes as they finish and reads on in *items* only as you take them.
- `session.all_or_nothing(f, items)` when one missing answer makes the rest worthless: it returns plain values, and
  the first failure cancels what still runs and is raised as it is.

How many run at a time is for the layers of *f* to say (`bounded`, `rate_limited`); `concurrency` only bounds how many
items are begun or finished and not taken, and so the memory. Where *f* has a total time limit that includes waiting
(an outermost `timed`), keep `concurrency` to what gets its turn within that limit.

*f* reads its stream, if it opens one, and returns what is wanted of it: a stream as a value is closed, and its item
ends with a `TypeError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from .functions import is_plain, require_async
from .gathering import Gathering, Items, Progress
from .single_result import require_single_result

if TYPE_CHECKING:
    from .call import Call
    from .errors import SessionClosed
    from .events import Event
    from .outcome import Outcome

T = TypeVar("T")
R = TypeVar("R")

CONCURRENCY: Final = 1000
"""Items begun or finished and not taken, unless told otherwise."""


class Outcomes(Generic[R]):
    """What `session.map` returns: an async iterator of outcomes as they finish.

    Leaving a loop over it early, `aclose()` and the end of the session cancel the items that still run.
    """

    __slots__ = ("__weakref__", "_gathering")

    def __init__(self, gathering: Gathering[Any, R]) -> None:
        self._gathering = gathering

    def __aiter__(self) -> Outcomes[R]:
        return self

    async def __anext__(self) -> Outcome[R]:
        return await self._gathering.take()

    async def aclose(self) -> None:
        """Cancel the items that still run and wait until they are over; a second time does nothing."""
        await self._gathering.close()

    async def __aenter__(self) -> Outcomes[R]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        gathering = getattr(self, "_gathering", None)
        if gathering is not None:
            gathering.abandon()


class ManyItems(ABC):
    """The part of a session that runs one function over many items."""

    id: str
    hear: Callable[[Event], None]
    """Who is told of each event of the session's calls; calls ask for it once, when they start."""

    drains: bool
    """Whether `admit` may refuse."""

    def __init__(self) -> None:
        self._gatherings: set[Gathering[Any, Any]] = set()

    @abstractmethod
    def admit(self, call: Call) -> None:
        """Let *call* begin, or raise `SessionClosed`."""

    @abstractmethod
    def refusal(self) -> SessionClosed | None:
        """Return why no further items may begin; None while they may."""

    def begins(self, gathering: Gathering[Any, Any]) -> None:
        """Know of *gathering*, so that it ends with the session."""
        self._gatherings.add(gathering)

    def rests(self, gathering: Gathering[Any, Any]) -> None:
        """None of its items runs; forget it if that will stay so."""
        if gathering.over():
            self._gatherings.discard(gathering)

    async def gather(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Items[T],
        *,
        concurrency: int | None = None,
        on_progress: Progress | None = None,
    ) -> list[Outcome[R]]:
        """Run ``function(item)`` for all *items*, whatever fails, and return an `Outcome` for each in their order.

        Items that had not begun when the session drains have a `SessionClosed` as their error.

        Args:
            function: an async function of one argument, with layers or without.
            items: an iterable or async iterable.
            concurrency: how many run at a time; 1,000 by default, since it is for the function's layers to say.
            on_progress: told ``(done, total)`` after each item; total is None until it is known. What it raises
                is logged.

        Raises:
            TypeError, ValueError: an argument cannot be what it has to be.
            SessionClosed: the session has ended, drains, or is left meanwhile.
        """
        outcomes = self._outcomes(function, items, concurrency, on_progress, to_the_end=True)
        try:
            found = {outcome.index: outcome async for outcome in outcomes}
        finally:
            await outcomes.aclose()
        return [found[index] for index in range(len(found))]

    def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Items[T],
        *,
        concurrency: int | None = None,
        on_progress: Progress | None = None,
    ) -> Outcomes[R]:
        """Run ``function(item)`` for all *items* and yield each `Outcome` as it finishes.

        ``async for outcome in session.map(ask, prompts): ...``. At most *concurrency* items have begun or are finished
        and not taken: *items* is read only so far ahead, and a slow reader slows it all down. Leaving the loop
        early cancels the rest. The arguments are those of `gather`.

        Raises:
            TypeError, ValueError: an argument cannot be what it has to be.
            SessionClosed: the session has ended or drains; while iterating, it began to drain before all items had
                begun, or was left before all were over.
            Exception: while iterating, what reading *items* raised, after the outcomes of all items before.
        """
        return self._outcomes(function, items, concurrency, on_progress, to_the_end=False)

    async def all_or_nothing(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Items[T],
        *,
        concurrency: int | None = None,
        on_progress: Progress | None = None,
    ) -> list[R]:
        """Run ``function(item)`` for all *items* and return the values in their order.

        The first failure cancels the items that still run, waits until they are over, and is raised as it is. The
        arguments are those of `gather`.
        """
        outcomes = self._outcomes(function, items, concurrency, on_progress, to_the_end=False)
        values: dict[int, R] = {}
        try:
            async for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                values[outcome.index] = outcome.value
        finally:
            await outcomes.aclose()
        return [values[index] for index in range(len(values))]

    def _outcomes(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Items[T],
        concurrency: int | None,
        on_progress: Progress | None,
        *,
        to_the_end: bool,
    ) -> Outcomes[R]:
        _check(function, items, concurrency, on_progress)
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        most = CONCURRENCY if concurrency is None else concurrency
        return Outcomes(Gathering(self, function, items, most, on_progress=on_progress, to_the_end=to_the_end))


def _check(function: Any, items: Any, concurrency: Any, on_progress: Any) -> None:
    require_async(function)
    require_single_result(function)
    if isinstance(items, (str, bytes)) or not isinstance(items, (Iterable, AsyncIterable)):
        raise TypeError(
            f"items must be an iterable or async iterable of items, such as a list, not one {type(items).__name__}"
        )
    if concurrency is not None and (not isinstance(concurrency, int) or isinstance(concurrency, bool)):
        raise TypeError(f"concurrency={concurrency!r} must be an int of at least 1")
    if concurrency is not None and concurrency < 1:
        raise ValueError(f"concurrency={concurrency!r} must be at least 1")
    if on_progress is not None and not is_plain(on_progress):
        raise TypeError(f"on_progress={on_progress!r} must be a plain function of (done, total)")
