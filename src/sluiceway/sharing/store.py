"""What keeps the state that processes share, whatever it is made of."""

from __future__ import annotations

import asyncio
import copy
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from sluiceway.durations import Duration, seconds
from sluiceway.sharing.line import Line
from sluiceway.sharing.shared_retries import SharedRetries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from sluiceway.algorithms.retry_budget import RetryBudget

Away: TypeAlias = Literal["local_share", "open", "closed"]
Kind: TypeAlias = Literal["rate", "places", "budget", "notes"]

AWAY: Final = ("local_share", "open", "closed")


class SharedStore(ABC):
    """State that processes share, and what to do while it cannot be reached.

    Layers that were given the same store (the same `prefix`) and are of one kind share their state, as two functions
    share one layer object: give each limit of its own a name of its own with `named`, as
    ``rate_limited(rpm=500, store=store.named("gpt-4o"))``.

    Nothing waits for the store longer than `timeout`. Calls do not ask it themselves: a background task for each shared
    state fetches permits in small blocks and returns what is not used. These tasks start with the first call, end by
    themselves when there is nothing left to exchange, and end at once with `aclose()`, with the session
    around, or with the event loop.

    Args:
        prefix: what the names of all keys begin with.
        away: what holds while it cannot be reached. `"local_share"` goes on with this process's part of each limit, by
            the number of workers last heard of (all of it if it never answered); `"open"` lets everything pass;
            `"closed"` nothing.
        block: how much a process may fetch in advance of a limit, as a duration of its rate; 0 fetches each permit
            alone. It is also by how much permits may be late, so a burst is smaller by twice that.
        lease: after how long a process that says nothing is taken for dead, and what it holds is free again.
        timeout: the longest that one operation may take.

    Raises:
        TypeError, ValueError: a setting has the wrong type or is out of range.
    """

    def __init__(
        self,
        *,
        prefix: str,
        away: Away = "local_share",
        block: Duration = "100ms",
        lease: Duration = "10s",
        timeout: Duration = "1s",
    ) -> None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix={prefix!r} must be a str")
        if not prefix or set(prefix) & set("{}"):
            raise ValueError(f"prefix={prefix!r} must have at least one letter, and no braces")
        if away not in AWAY:
            raise ValueError(f"away={away!r} must be one of {', '.join(map(repr, AWAY))}")
        self.prefix = prefix
        self.away = away
        self.block = seconds(block, "block", zero=True)
        self.lease = seconds(lease, "lease")
        self.timeout = seconds(timeout, "timeout")
        if self.timeout >= self.lease / 2:
            raise ValueError(f"timeout={timeout!r} must be less than half of lease={lease!r}")
        self._lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Line] = weakref.WeakKeyDictionary()

    def named(self, name: str) -> Self:
        """Return this store, on the same connection, for state of its own under *name*."""
        if not isinstance(name, str) or not name:
            raise ValueError(f"name={name!r} must be a str of at least one letter")
        other = copy.copy(self)
        other.prefix = f"{self.prefix}:{name}"
        return other

    def line(self, loop: asyncio.AbstractEventLoop) -> Line:
        """Return the line that *loop* has to the store, made on first use."""
        line = self._lines.get(loop)
        if line is None or line.stale():
            line = self._lines[loop] = Line()
        return line

    def share_retries(self, budget: RetryBudget) -> Callable[[], None]:
        """Keep *budget* told of what is in flight in other processes; return what to call when a retry begins."""
        return SharedRetries(self, budget).spending

    @abstractmethod
    async def send(self, line: Line, kind: Kind, key: str, ask: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of the book of *kind* under *key* to *ask*; see `algorithms/*_book.py`.

        If *ask* has a number under `expires` and that is past by the store's clock, the book is not asked, and the
        answer is `now` and ``late: True``.

        Raises:
            Exception: whatever goes wrong; the store is then away.
        """

    async def disconnect(self, line: Line) -> None:  # noqa: B027 - not every store has a connection
        """Close what *line* has open; it may be used again."""

    async def aclose(self) -> None:
        """Give back what this event loop holds, end its tasks and close its connection; the next call begins anew."""
        line = self._lines.get(asyncio.get_running_loop())
        if line is not None:
            await line.rest()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def checked(store: object) -> SharedStore | None:
    """Return *store* as given to a layer.

    Raises:
        TypeError: it is no store.
    """
    if store is not None and not isinstance(store, SharedStore):
        raise TypeError(f"store={store!r} must be a store such as RedisStore(url, prefix=...), or None")
    return store
