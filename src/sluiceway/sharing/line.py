"""The line of one event loop to a store: whether it works, how long it takes, what time it is there."""

from __future__ import annotations

import asyncio
import math
import os
import random
from typing import TYPE_CHECKING, Any, Final

from sluiceway.events import StoreChanged
from sluiceway.telemetry.hub import publish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.sharing.feeder import Feeder
    from sluiceway.sharing.store import Kind, SharedStore

_FIRST: Final = 0.1  # seconds between two tries while the store is away, doubling up to _LAST
_LAST: Final = 2.0
_WINDOW: Final = 10.0  # seconds for which a measurement of the store's clock counts, and as long again


class StoreAwayError(Exception):
    """The store did not answer; inside of `sharing` only, no caller of a layer meets it."""


class Line:
    """One event loop's line to a store; it holds on to neither, since the store keeps it for as long as the loop lives.

    Attributes:
        id: what the names of its workers in the store begin with.
        away: whether the last operation failed; reason: how.
        trip: seconds that an operation takes, smoothed.
        offset: what to add to the store's time to have ours, at the earliest that is certain.
        feeders: the tasks that use it now.
        connection: what the store keeps of it.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.id = f"{self._pid}-{os.urandom(4).hex()}"
        self.away = False
        self.reason = ""
        self.trip = 0.0
        self._connects = True
        self.offset = math.inf
        self._offsets = (math.inf, math.inf)
        self._turned = -math.inf
        self._wait = _FIRST
        self._retry_at = -math.inf
        self.feeders: set[Feeder] = set()
        self.connection: Any = None

    def stale(self) -> bool:
        """Whether it was made before this process was forked off."""
        return self._pid != os.getpid()

    def retry_in(self) -> float:
        """Return the seconds until the store is tried again; 0 if it is not away."""
        return max(0.0, self._retry_at - _now()) if self.away else 0.0

    async def exchange(self, store: SharedStore, kind: Kind, key: str, ask: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the store answers.

        Raises:
            StoreAwayError: it does not, or did not a moment ago.
        """
        sent = _now()
        if self.away:
            if sent < self._retry_at:
                raise StoreAwayError(self.reason)
            self._retry_at = sent + self._wait  # one tries, the others wait for how that ends
        try:
            async with asyncio.timeout(store.timeout):
                answer = await self._heeded(store, kind, f"{{{store.prefix}:{key}}}:{kind}", ask, sent + store.timeout)
        except Exception as error:
            self._failed(store, error)
            raise StoreAwayError(self.reason) from error
        if self.away:
            self.away = False
            self._wait = _FIRST
            self._tell(store, "back")
        return answer

    async def _heeded(
        self, store: SharedStore, kind: Kind, key: str, ask: Mapping[str, Any], until: float
    ) -> dict[str, Any]:
        """Return the answer to *ask*, which says when nobody waits for it any more: by then it changes nothing.

        A server that stood still answers all at once what was asked meanwhile, in any order, and what was given up
        would undo what came after it.

        Raises:
            TimeoutError: it came too late, by a clock that was measured just now.
        """
        for _ in range(2):  # the first may find that the server's clock was set
            sent = _now()
            expires = until - self.offset if self.offset < math.inf else None
            answer = await store.send(self, kind, key, {**ask, "expires": expires})
            self._heard(sent, _now(), answer["now"])
            if not answer.get("late"):
                return answer
        raise TimeoutError

    def _failed(self, store: SharedStore, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            self.reason = f"no answer within {store.timeout:g} s"
        else:  # not repr: that of redis-py leaves out what the server said
            self.reason = f"{type(error).__name__}({str(error)!r})"[:200]
        self._retry_at = _now() + self._wait * random.uniform(0.75, 1.25)
        self._wait = min(_LAST, self._wait * 2.0)
        self._connects = True
        if not self.away:
            self.away = True
            self._tell(store, "away")

    def _tell(self, store: SharedStore, what: str) -> None:
        reason = self.reason if what == "away" else ""
        publish(StoreChanged(_now(), None, type(store).__name__, what, store.away, reason))

    def _heard(self, sent: float, received: float, there: float) -> None:
        """Measure the store's clock: its moment lay between *sent* and *received*, and late is safer than early."""
        trip = received - sent
        if self._connects:  # the first answer of a connection took several trips
            self._connects = False
        else:
            self.trip = trip if not self.trip else min(trip, self.trip + (trip - self.trip) / 8.0)
        if received - self._turned >= _WINDOW or sent - there > self.offset:  # or its clock was set back
            fresh = sent - there > self.offset or received - self._turned >= 2.0 * _WINDOW
            self._offsets = (math.inf, math.inf if fresh else self._offsets[0])
            self._turned = received
        self._offsets = (min(self._offsets[0], received - there), self._offsets[1])
        self.offset = min(self._offsets)

    async def rest(self) -> None:
        """Have all tasks give back what they hold, and wait until they have ended."""
        tasks = [task for task in [feeder.rest() for feeder in list(self.feeders)] if task is not None]
        if tasks:
            await asyncio.wait(tasks)


def _now() -> float:
    return asyncio.get_running_loop().time()
