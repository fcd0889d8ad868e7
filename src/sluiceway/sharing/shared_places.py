"""Places in flight, leased from a store."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from sluiceway.sharing.feeder import Feeder
from sluiceway.sharing.line import StoreAwayError

if TYPE_CHECKING:
    from sluiceway.admission import WaitingRoom
    from sluiceway.algorithms.in_flight import InFlight
    from sluiceway.sharing.store import SharedStore

_EVERY: Final = 0.25  # seconds between two turns of one who waits for nothing; longer where there are many workers
_EACH: Final = 0.002  # seconds, for each of them
_SHORT: Final = 0.01  # seconds between the first two turns of one who waits for places, growing up to _EVERY
_LINGER: Final = 1.0  # seconds for which places are kept that nobody wants
_ANY: Final = 2**53


class SharedPlaces(Feeder):
    """Sets the limit of *places*, which are this process's own, to what it has leased of those for all.

    Args:
        store: where the places are kept.
        key: whose they are.
        limit: how many there are for all processes together.
        places: those of this process.
    """

    kind = "places"

    def __init__(self, store: SharedStore, key: object, limit: int, places: InFlight) -> None:
        super().__init__(store, key)
        self.limit = limit
        self.places = places
        self.room: WaitingRoom | None = None
        places.limit = 0
        self._used_at = -math.inf
        self._grew_at = -math.inf
        self._pause = _SHORT

    async def turn(self, now: float) -> float | None:
        """Renew what is leased, ask for what is wanted, give back the rest."""
        places = self.places
        busy = int(places.held)
        waiting = 0 if self.room is None else len(self.room)
        if busy or waiting:
            self._used_at = now
        elif now - self._used_at > _LINGER and not (self.line is not None and self.line.away):
            return None  # not while nobody could be asked for them again
        spare = 1 + busy // 4 if now - self._used_at < _LINGER / 2.0 else 0
        before = places.limit
        had = before > 0 or busy > 0
        wanted = busy + waiting + spare
        # Calls begin while the question is on its way: of what it gives back none may, and the rest counts as in use.
        if self.line is not None and self.line.away:
            busy = max(busy, min(int(before), self.limit))  # who waits for a store that hangs, waits for nothing
        else:
            places.limit = min(before, wanted)
            busy = max(busy, int(places.limit))
        question = self._question(wanted, busy, had=had, bye=False)
        try:
            part = int((await self.ask(question))["part"])
        except StoreAwayError:
            part = self._stand_in()
        places.limit = part
        if self.room is not None and self.room.occupied:
            self.room.serve()
        short = self.room is not None and len(self.room) > 0
        self._pause = _SHORT if part > before or not short else min(_EVERY, self._pause * 1.5)
        usual = max(_EVERY, _EACH * self.workers)
        if busy > part:  # what is over goes back as calls end, or at once if none began
            return _SHORT * 2.0
        return min(usual, max(self._pause, _EACH * self.workers)) if short else min(usual, self.store.lease / 3.0)

    def _question(self, wanted: int, busy: int, *, had: bool, bye: bool) -> dict[str, Any]:
        ttl = self.store.lease
        return {"limit": self.limit, "wanted": wanted, "busy": busy, "had": had, "ttl": ttl, "bye": bye}

    def _stand_in(self) -> int:
        if self.store.away == "open":
            return _ANY
        return 0 if self.store.away == "closed" else max(1, self.limit // self.workers)

    def abandoned(self) -> None:
        """Hold none."""
        self.places.limit = 0

    async def goodbye(self, now: float) -> None:  # noqa: ARG002 - places know no time
        """Give back what is not in use; what is stays leased for as long as the lease runs."""
        busy = int(self.places.held)
        self.places.limit = 0
        line = self.line
        if line is not None and not line.away:
            await self.ask(self._question(busy, busy, had=busy > 0, bye=not busy))
