"""State shared within one process: what a server does, without a server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from sluiceway.algorithms.budget_book import BudgetBook
from sluiceway.algorithms.notes_book import NotesBook
from sluiceway.algorithms.places_book import PlacesBook
from sluiceway.algorithms.rate_book import RateBook
from sluiceway.durations import Duration, seconds
from sluiceway.sharing.store import Away, SharedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluiceway.sharing.line import Line
    from sluiceway.sharing.store import Kind

_BOOKS: Final[dict[str, Callable[[], Any]]] = {
    "rate": RateBook,
    "places": PlacesBook,
    "budget": BudgetBook,
    "notes": NotesBook,
}


class MemoryServer:
    """The books of a store in memory, on one clock: what a Redis server is to several `MemoryStore`.

    Attributes:
        down: whether it answers nobody.
        latency: seconds that an answer takes, half of it each way.
        ahead: seconds by which its clock is ahead of the event loop's.
        asked: how many questions it has answered.
    """

    def __init__(self, latency: Duration = 0.0) -> None:
        self.down = False
        self.latency = seconds(latency, "latency", zero=True)
        self.ahead = 1_000_000.0
        self.asked = 0
        self._books: dict[str, Any] = {}

    def lose_everything(self) -> None:
        """Forget all books, as a server does that starts again and keeps nothing on disk."""
        self._books.clear()

    async def answer(self, kind: Kind, key: str, ask: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of the book of *kind* under *key* to *ask*.

        Raises:
            ConnectionError: the server is down.
        """
        text = json.dumps(ask)  # what cannot travel shall not work here either
        await asyncio.sleep(self.latency / 2.0)
        if self.down:
            raise ConnectionError("the server is down")
        self.asked += 1
        if key not in self._books:
            self._books[key] = _BOOKS[kind]()
        now = asyncio.get_running_loop().time() + self.ahead
        if (ask.get("expires") or now) < now:
            return {"now": now, "late": True}
        answer: dict[str, Any] = json.loads(json.dumps(self._books[key].exchange(json.loads(text), now)))
        await asyncio.sleep(self.latency / 2.0)
        return answer


class MemoryStore(SharedStore):
    """A store in this process's memory, for tests and plans of what a `RedisStore` does: it has the same rules.

    Several of them on one server are as many workers.

    Args:
        server: where the books are; None for one of its own.
        prefix, away, block, lease, timeout: see `SharedStore`.
    """

    def __init__(
        self,
        server: MemoryServer | None = None,
        *,
        prefix: str = "sluiceway",
        away: Away = "local_share",
        block: Duration = "100ms",
        lease: Duration = "10s",
        timeout: Duration = "1s",
    ) -> None:
        super().__init__(prefix=prefix, away=away, block=block, lease=lease, timeout=timeout)
        self.server = server or MemoryServer()

    async def send(self, line: Line, kind: Kind, key: str, ask: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - there is no connection
        """Ask the server."""
        return await self.server.answer(kind, key, ask)

    def __repr__(self) -> str:
        return f"MemoryStore(prefix={self.prefix!r})"
