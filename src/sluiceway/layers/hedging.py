"""One call's attempts side by side, and who of them comes first."""

from __future__ import annotations

from asyncio import CancelledError, wait
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from sluiceway.branching import Branch, ended, tell_first_item
from sluiceway.events import HedgeLost, HedgeSent, Phase
from sluiceway.expiry import Scope
from sluiceway.tasks import task_of

if TYPE_CHECKING:
    from asyncio import Task, TimerHandle
    from contextvars import Context

    from sluiceway.algorithms.retry_budget import RetryBudget
    from sluiceway.call import Attempt, Call, Proceed
    from sluiceway.layers.hedged import hedged


class Race:
    """The attempts of one call.

    The first runs where it would run without us, in the call's own steps: a call that is not slow needs no task. When
    a hedge comes first, that part is cancelled as a time limit would cancel it, and the cancellation is taken back.
    The clock runs only while somebody waits: a stream that nobody reads is not slow.

    Args:
        layer: whose settings hold, and who counts.
        call, proceed: as the layer was handed them.
        budget: what hedges are taken from.
        delay: seconds after which a hedge is sent.
    """

    __slots__ = (
        "_budget",
        "_call",
        "_context",
        "_delay",
        "_due",
        "_first",
        "_hedges",
        "_layer",
        "_left",
        "_over",
        "_proceed",
        "_racing",
        "_scope",
        "_timer",
        "_unread",
        "_winner",
    )

    def __init__(self, layer: hedged, call: Call, proceed: Proceed[Any], budget: RetryBudget, delay: float) -> None:
        run = call.run
        task = task_of(run.loop)
        self._layer = layer
        self._call = call
        self._proceed = proceed
        self._budget = budget
        self._delay = delay
        self._first = Branch(call, proceed, run.context, call.emit)
        self._scope = Scope(run, None if task is run.task else task)
        self._winner: Branch | None = None
        self._hedges: list[tuple[Branch, Task[None]]] = []
        self._racing: set[Branch] = set()
        self._context: Context = copy_context()
        self._timer: TimerHandle | None = None
        self._due = 0.0
        self._left: float | None = None  # of the delay, where the clock stands still
        self._unread = False  # a hedge won while nobody read
        self._over = False  # the first is

    async def run(self) -> Any:
        """Return what comes first.

        Raises:
            BaseException: the first attempt's error, if none came.
        """
        self._begin()
        hopeless = False
        try:
            try:
                result = await self._proceed(self._first.call)
            except CancelledError:
                if not self._beaten():
                    raise
            except Exception:
                self._over = True
                self._stop_clock()
                if not await self._rescued():
                    raise
            else:
                self._first_won()
                return result
            self._over = True
            assert self._winner is not None
            self._hedge_won(self._winner)
            return await self._winner.rest(self._call)
        except GeneratorExit:  # nobody can await any more
            hopeless = True
            raise
        finally:
            self._release()
            if self._hedges:
                await self._end(hopeless=hopeless)

    # ------------------------------------------------------------------ the first attempt

    def _begin(self) -> None:
        run = self._call.run
        inner = self._first.run
        inner.at_first_item = [_first_item, None, self]
        inner.began = self._began
        if run.watches is None:
            run.watches = []
        run.watches.append(self)
        if run.detailed:
            now = run.time()
            after = {"sluiceway.hedged.after": self._delay}
            run.sink(Phase(now, self._call, now, self._layer.name, "hedge check", after))

    def _began(self, _: Attempt) -> None:
        """The first attempt left the last layer that waits."""
        self._first.run.began = None
        self._arm(self._delay)

    def first_item(self) -> None:
        """The first item of its stream came: that decides, even if our cancellation is under way to it."""
        self._first_won()
        run = self._call.run
        self._call.record = self._first.call.record
        for _, task in self._hedges:
            task.cancel()
        tell_first_item(run)

    def _first_won(self) -> None:
        if self._winner is self._first:
            return
        self._winner = self._first
        self._stop_clock()
        self._take_back()
        run = self._call.run
        if self._first.run.attempts:
            run.last = self._first.run.last
            self._call.record = self._first.call.record
        self._learn()

    def _beaten(self) -> bool:
        """Whether what cancelled the first attempt is that a hedge came first, and nobody else."""
        ours = self._scope.fired and self._scope.settle()
        return ours and self._winner is not None

    async def _rescued(self) -> bool:
        """Wait for hedges that are under way, now that the first attempt has failed; whether one of them came."""
        self._take_back()
        running = {task for _, task in self._hedges}
        while self._winner is None and running:
            _, running = await wait(running, return_when="FIRST_COMPLETED")
        return self._winner not in (None, self._first)  # which may have won with an item, and broken since

    def _learn(self) -> None:
        """Tell the layer how long the first attempt took, or was given before another one came."""
        attempts = self._first.run.attempts
        if attempts:
            self._layer.learn(max(0.0, self._call.run.time() - attempts[0].started_at))

    def _take_back(self) -> None:
        """Take our cancellation back, if there was one."""
        if self._scope.hit is not None:
            self._scope.settle()

    # ------------------------------------------------------------------ the clock

    def _arm(self, delay: float) -> None:
        loop = self._call.run.loop
        self._due = loop.time() + delay
        self._timer = loop.call_at(self._due, self._send)

    def _stop_clock(self) -> None:
        self._left = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause(self) -> None:
        """Nobody waits."""
        if self._timer is not None:
            left = self._due - self._call.run.loop.time()
            self._stop_clock()
            self._left = max(0.0, left)

    def resume(self) -> None:
        """Somebody waits."""
        if self._unread:
            self._call.run.loop.call_soon(self._stop_first)  # not at once: the first item may be there
        elif self._left is not None:
            left, self._left = self._left, None
            self._arm(left)

    # ------------------------------------------------------------------ hedges

    def _send(self) -> None:
        """The first attempt is slow."""
        self._timer = None
        if self._winner is not None or not self._budget.try_spend():
            return
        branch = Branch(self._call, self._proceed, self._context.copy())
        branch.run.impatient = True
        branch.run.began = self._sent(branch)
        self._layer.racing += 1
        self._racing.add(branch)
        task = self._call.run.loop.create_task(self._race(branch))
        self._hedges.append((branch, task))
        task.add_done_callback(lambda _: self._hedge_over(branch))  # in case it is cancelled before it begins
        if len(self._hedges) < self._layer.most:
            self._arm(self._delay)

    def _sent(self, branch: Branch) -> Any:
        def began(attempt: Attempt) -> None:
            branch.run.began = None
            self._layer.sent += 1
            call = self._call
            delay = attempt.started_at - self._first.run.attempts[0].started_at
            call.report(HedgeSent(attempt.started_at, call, self._layer.name, attempt, delay))

        return began

    async def _race(self, branch: Branch) -> None:
        """Run a hedge in its task; what fails in it never ends the call."""
        try:
            try:
                await branch.start()
            except (Exception, CancelledError):  # noqa: BLE001 - its attempt's record and events tell
                return
            if self._winner is None:
                self._hedge_came(branch)
            else:
                await branch.close()
        finally:
            self._hedge_over(branch)

    def _hedge_came(self, branch: Branch) -> None:
        """*branch* has an answer, or the first item of a stream, before all others."""
        self._winner = branch
        self._stop_clock()
        for other, task in self._hedges:
            if other is not branch:
                task.cancel()
        self._stop_first()

    def _stop_first(self) -> None:
        """A hedge came first: cancel the first attempt, as soon as somebody waits for it."""
        self._unread = False
        if self._over or self._winner is self._first or self._scope.fired:
            return
        if self._scope.task is None and self._call.run.task is None:
            self._unread = True
        else:
            self._scope.fire()

    def _hedge_won(self, winner: Branch) -> None:
        """Count it, and what the first attempt cost in vain unless that had failed by itself."""
        self._layer.won += 1
        attempts = self._first.run.attempts
        if attempts and attempts[-1].outcome != "error":
            self._learn()
        self._lost(self._first)
        winner.run.impatient = False

    def _hedge_over(self, branch: Branch) -> None:
        """The task of a hedge has done its work."""
        if branch not in self._racing:
            return
        self._racing.discard(branch)
        self._budget.give_back()
        self._layer.racing -= 1
        if self._winner is not None and self._winner is not branch:
            self._lost(branch)

    def _lost(self, branch: Branch) -> None:
        """Report the attempts of *branch* that were cut off, or answered in vain."""
        call = self._call
        for attempt in branch.run.attempts:
            if attempt.outcome in ("ok", "cancelled"):
                call.report(HedgeLost(call.run.time(), call, self._layer.name, attempt))

    # ------------------------------------------------------------------ the end

    def _release(self) -> None:
        """Let go of everything that is not a task."""
        self._over = True
        self._stop_clock()
        self._take_back()
        inner = self._first.run
        inner.began = inner.at_first_item = None
        watches = self._call.run.watches
        if watches is not None and self in watches:
            watches.remove(self)

    async def _end(self, *, hopeless: bool) -> None:
        """Cancel the hedges that are under way, and wait until nothing of them is left."""
        if hopeless or self._call.run.loop.is_closed():
            for _, task in self._hedges:
                task.cancel()
        else:
            await ended(self._hedges)


def _first_item(entry: list[Any]) -> None:
    entry[2].first_item()
