"""A budget's allowances, leased from a store."""

from __future__ import annotations

import asyncio
import math
from asyncio import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sluiceway.algorithms.rates import EPSILON
from sluiceway.expiry import one_loop_at_a_time
from sluiceway.sharing.feeder import Feeder
from sluiceway.sharing.line import StoreAwayError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.algorithms.allowance import Allowance
    from sluiceway.sharing.store import SharedStore

_EVERY: Final = 0.25  # seconds between two reports of what was spent; longer where there are many workers
_EACH: Final = 0.002  # seconds, for each of them
_LINGER: Final = 1.0  # seconds for which an allowance is kept that nobody uses
_DAY: Final = 86_400.0


class SharedBudget(Feeder):
    """Gets *allowance* its slices, tells the store what was spent of them, and gives back the rest.

    Args:
        store: where the budget is kept.
        key: whose it is.
        allowance: this process's part; units: what each amount of it is.
        keep: days for which the store remembers it after its last use.
    """

    kind = "budget"

    def __init__(
        self, store: SharedStore, key: object, allowance: Allowance, units: Sequence[str], keep: float
    ) -> None:
        super().__init__(store, key)
        self.allowance = allowance
        self._units = list(units)
        self._keep = keep * _DAY
        self._lock: asyncio.Lock | None = None
        self._used_at = -math.inf
        self._shared_out = False  # whether this process has taken its part while the store is away
        self._left: Sequence[float] = ()  # of that part, when nobody was there to tell what is spent of it

    @property
    def busy(self) -> bool:
        """Whether there is something here that the store does not know."""
        return self._task is not None or any(self.allowance.untold()) or any(self._left)

    def in_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in *loop*.

        Raises:
            RuntimeError: the one before still runs, in another thread.
        """
        if loop is not self._loop:
            one_loop_at_a_time(self._loop, "shared budget")
            self._lock = asyncio.Lock()
        super().in_loop(loop)

    async def lease(self, costs: Sequence[float]) -> int | None:
        """Reserve *costs* after a `kick`, with a further slice if there is one; return what `Budget.reserve` does."""
        loop = asyncio.get_running_loop()
        lock = self._lock
        assert lock is not None
        await lock.acquire()  # what a question says it holds must be so when it arrives
        if self.allowance.reserve(costs) is None:  # the slice of somebody before is enough
            lock.release()
            return None
        asking = loop.create_task(self._further(costs, loop))  # its answer is for all, whatever becomes of the caller
        asking.add_done_callback(lambda _: lock.release())
        try:
            return await asyncio.shield(asking)
        except CancelledError:
            asking.add_done_callback(partial(self._unused, costs))
            raise

    async def _further(self, costs: Sequence[float], loop: asyncio.AbstractEventLoop) -> int | None:
        """Ask for a further slice and reserve *costs*; nobody else may ask at the same time."""
        allowance = self.allowance
        self.line = self.store.line(loop)
        need = [max(0.0, cost - have) for cost, have in zip(costs, allowance.spare(), strict=True)]
        try:
            answer = await self._exchange(need)
        except StoreAwayError:
            self._stand_in(need)
            return allowance.reserve(costs)
        allowance.grant(answer["granted"] or [0.0 for _ in costs])
        short = allowance.reserve(costs)
        return short if short is None or answer["short"] < 0 else int(answer["short"])

    def _unused(self, costs: Sequence[float], asking: asyncio.Task[int | None]) -> None:
        """Take back what was reserved for a caller that has left."""
        if not asking.cancelled() and asking.exception() is None and asking.result() is None:
            self.allowance.settle(costs, [0.0 for _ in costs])

    async def _exchange(self, need: Sequence[float], *, hold: bool = True, bye: bool = False) -> dict[str, Any]:
        allowance = self.allowance
        told = list(allowance.spent)
        question = {
            "units": self._units,
            "limits": list(allowance.whole),
            "spent": told,
            "told": list(allowance.told),
            "hold": allowance.held() if hold else list(allowance.reserved),
            "busy": list(allowance.reserved),
            "need": list(need),
            "ttl": self.store.lease,
            "keep": self._keep,
            "bye": bye,
        }
        answer = await self.ask(question)
        allowance.told = told
        allowance.spent_by_all, allowance.leased_by_all = answer["spent"], answer["leased"]
        self._shared_out, self._left = False, ()
        return answer

    def _stand_in(self, need: Sequence[float]) -> None:
        """Allow what the policy says while the store is away."""
        allowance, away = self.allowance, self.store.away
        if away == "open":
            allowance.grant([amount + EPSILON * limit for amount, limit in zip(need, allowance.whole, strict=True)])
        elif away == "local_share" and not self._shared_out:
            self._shared_out = True
            known = zip(allowance.whole, allowance.spent_by_all, allowance.leased_by_all, strict=True)
            allowance.grant([max(0.0, limit - spent - leased) / self.workers for limit, spent, leased in known])
        elif away == "local_share" and self._left:
            allowance.grant(self._left)
            self._left = ()

    async def turn(self, now: float) -> float | None:
        """Tell what was spent, and renew the lease."""
        assert self._lock is not None
        if self.allowance.in_flight:
            self._used_at = now
        elif now - self._used_at > _LINGER and not (self.line is not None and self.line.away):
            return None
        async with self._lock:
            try:
                await self._exchange([])
            except StoreAwayError:
                return _EVERY if self._used_at + _LINGER >= now else self.store.lease / 3.0
        return min(max(_EVERY, _EACH * self.workers), self.store.lease / 3.0)

    async def goodbye(self, now: float) -> None:  # noqa: ARG002 - a budget knows no time
        """Tell what was spent, and give back what is not reserved."""
        assert self._lock is not None
        allowance = self.allowance
        try:
            async with self._lock:
                if self.line is None or self.line.away:
                    return
                if any(
                    allowance.untold()
                ):  # by itself: of a worker that is gone the store no longer knows what it has heard
                    await self._exchange([])
                self._lay_down()
                await self._exchange([], bye=not allowance.in_flight)
        finally:
            self._lay_down()

    def abandoned(self) -> None:
        """Hold no more than is reserved."""
        self._lay_down()

    def _lay_down(self) -> None:
        """Hold no more than is reserved: nobody renews it from here on, or tells what is spent of it."""
        spare = self.allowance.spare()
        self.allowance.grant([-amount for amount in spare])
        if self._shared_out:
            self._left = [a + b for a, b in zip(spare, self._left or [0.0] * len(spare), strict=True)]

    def kick(self) -> None:
        """Somebody is about to spend: report now and then, from now on."""
        loop = asyncio.get_running_loop()
        self.in_loop(loop)
        self._used_at = loop.time()
        if self._task is None or self._ending:
            super().kick()
