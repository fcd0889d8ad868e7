"""Repeat what failed, when repeating can help: later, at random, and only so often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from sluiceway.algorithms.backoff import Backoff, Jitter
from sluiceway.algorithms.rates import whole
from sluiceway.durations import Duration, optional_seconds, seconds
from sluiceway.events import Phase, SdkRetries
from sluiceway.layers.chance import random_of
from sluiceway.layers.repeating import BOUNDLESS, Repeating
from sluiceway.layers.retrying import Retrying
from sluiceway.layers.wanted import On, wanted
from sluiceway.order import Role

if TYPE_CHECKING:
    from random import Random

    from sluiceway.algorithms.retry_budget import RetryBudget
    from sluiceway.call import Call, Proceed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetrySnapshot:
    """The retry budget of a `retry_jitter` layer at one moment.

    Attributes:
        calls: how many are in flight through the layers that share the budget.
        retries: how many retries and hedges are under way among them, their backoff included.
        limit: how many there may be now; None without a budget.
    """

    calls: int
    retries: int
    limit: float | None


class retry_jitter(Repeating):
    """Repeat a call that failed by no fault of its own, after a random wait.

    ``@retry_jitter(attempts=5)``. Whether an error is worth repeating is decided by what it is, for any client
    library: too fast (429), overloaded, broken connections, 5xx, 408, 409 and timeouts are; no money left
    (`insufficient_quota`), wrong requests, refusals of our own layers and exceptions of your own code are not.
    Cancellation never is. A stream is repeated only before its first item, `hints(idempotent=False)` forbids it.

    The wait before retry ``i`` (0 is the first) is ``U(0, min(cap, base * 2**i))`` with full jitter; base counts double
    after a 429. Where the provider asks for a wait, it is ``max(that, min(retry_after, cap))`` and up to 10 % more. A
    wait that would not end before the call's deadline, or before `max_elapsed`, is not begun: the call fails at once.

    What comes out at the end is the last error as it was raised, with its type, traceback, cause and headers; a note
    on it (`__notes__`) says what was tried, how long it took, and why it ended.

    Args:
        attempts: how many in total, the first included.
        base: the longest wait before the first retry.
        cap: the longest wait of all, but for the 10 %.
        jitter: `"full"`, `"equal"` (``b/2 + U(0, b/2)``), `"decorrelated"` (``U(base, 3 * previous)``) or `"none"`.
        on: exception types: these are retried and no others (still never a quota that is used up). Or a function of
            the error: True and False decide, None leaves it to the error's kind; so
            ``lambda error: isinstance(error, MyError) or None`` adds to what is retried.
        max_elapsed: no further attempt begins once this has passed since the call came to this layer.
        budget: how many retries may be under way among all calls in flight, so that an outage does not multiply the
            load: ``max(3, 20 %)`` by default, together with the other layers of the pipeline that repeat. Give several
            layers one `RetryBudget` and they share it; False switches it off. A call for which none is left fails with
            its error.
        rng: where chance comes from; a `random.Random` for repeatable tests.

    Raises:
        TypeError: an argument has the wrong type, or `on` names a cancellation.
        ValueError: `attempts` is below 1, a time is negative, or `jitter` is unknown.
    """

    role: ClassVar[Role] = Role.REPEAT

    def __init__(
        self,
        attempts: int = 3,
        *,
        base: Duration = 0.5,
        cap: Duration = 30.0,
        jitter: Jitter = "full",
        on: On | None = None,
        max_elapsed: Duration | None = None,
        budget: RetryBudget | Literal[False] | None = None,
        rng: Random | None = None,
    ) -> None:
        super().__init__(budget)
        self._attempts = whole(attempts, "attempts")
        self.backoff = Backoff(seconds(base, "base", zero=True), seconds(cap, "cap", zero=True), jitter)
        self.max_elapsed = optional_seconds(max_elapsed, "max_elapsed", zero=True)
        self.wanted = wanted(on)
        self.rng = random_of(rng)
        self._told_of_sdk = attempts == 1  # one attempt of ours multiplies nothing

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Run *call*, and run it again while that makes sense; return its value or raise its last error."""
        run = call.run
        budget = self.budget
        counts = self.counts if run.layers is self.stands_in else self.counts_calls(run.layers)
        budget.calls += counts  # enter() and leave(), written out: as methods they are a third of what the layer costs
        try:
            began = run.time()
            try:
                result = await proceed(call)
            except Exception as error:
                retrying = Retrying(self, call, began)
                if not retrying.worthwhile(error):
                    raise
            else:
                last = run.last
                if last is not None and last.sdk_retries:
                    self.note_sdk_retries(call)
                if run.detailed:
                    self.decided(call, 1, "succeeded")
                return result
            return await retrying.run(proceed)
        finally:
            budget.calls -= counts

    def decided(self, call: Call, tries: int, reason: str) -> None:
        """Report the final decision about *call*, if somebody wants such detail."""
        run = call.run
        if run.detailed:
            now = run.time()
            attributes = {"sluiceway.retry.attempts": tries, "sluiceway.retry.reason": reason}
            run.sink(Phase(now, call, now, self.name, "retry check", attributes))

    def note_sdk_retries(self, call: Call) -> None:
        """Report, the first time it is seen, that the provider's SDK retries under us: attempts multiply."""
        last = call.run.last
        if last is not None and last.sdk_retries and not self._told_of_sdk:
            self._told_of_sdk = True
            call.report(SdkRetries(call.run.time(), call, last.sdk_retries))

    @property
    def attempts(self) -> int:
        """How many attempts a call makes at the most."""
        return self._attempts

    def snapshot(self) -> RetrySnapshot:
        """Return how much of the retry budget is taken."""
        budget = self.budget
        limit = None if budget.minimum == BOUNDLESS else budget.limit
        return RetrySnapshot(budget.calls, budget.spent, limit)

    def __repr__(self) -> str:
        shot = self.snapshot()
        limit = "" if shot.limit is None else f" of {shot.limit:g}"
        return f"<{super().__repr__()}: {shot.calls} calls in flight, {shot.retries}{limit} retries>"
