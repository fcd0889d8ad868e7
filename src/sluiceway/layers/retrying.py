"""One call's further attempts, from its first failure on."""

from __future__ import annotations

from asyncio import sleep
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from sluiceway.algorithms.backoff import delay_after
from sluiceway.events import BackedOff
from sluiceway.providers.errors import Fault, classify

if TYPE_CHECKING:
    from sluiceway.call import Call, Proceed
    from sluiceway.layers.retry_jitter import retry_jitter
    from sluiceway.providers.errors import Classification

T = TypeVar("T")

_NOT: Final = "not retryable"


class Retrying:
    """What a `retry_jitter` layer knows about one call that failed; nothing of it is shared.

    Args:
        layer: whose settings and budget hold.
        call: the call as it came to the layer.
        began: when that was, in seconds of the loop's clock.
    """

    __slots__ = (
        "_attempt_began",
        "_began",
        "_budget",
        "_call",
        "_cause",
        "_delay",
        "_fault",
        "_layer",
        "_lines",
        "_number",
        "_previous",
        "_source",
        "_tries",
    )

    def __init__(self, layer: retry_jitter, call: Call, began: float) -> None:
        self._layer = layer
        self._budget = layer.budget  # which may become another while calls are in flight
        self._call = call
        self._began = self._attempt_began = began
        self._number = call.attempt
        self._tries = 1
        self._lines: list[str] = []
        self._previous: float | None = None
        self._delay = 0.0
        self._source = ""
        self._fault = Fault.UNKNOWN
        self._cause: Exception | None = None

    async def run(self, proceed: Proceed[T]) -> T:
        """Wait and try, until it succeeds or trying again is not worthwhile; then raise that last error."""
        layer = self._layer
        call = self._call
        while True:
            try:
                try:
                    await self._back_off()
                    self._attempt_began = call.run.time()
                    self._tries += 1
                    result = await proceed(call.again(self._number))
                finally:
                    self._budget.give_back()
            except Exception as error:
                if not self.worthwhile(error):
                    raise
            else:
                layer.note_sdk_retries(call)
                layer.decided(call, self._tries, "succeeded")
                return result

    def worthwhile(self, error: Exception) -> bool:
        """Return whether to try again after *error*, a retry then being taken from the budget.

        If not, the decision is reported and, unless *error* was simply none to retry, noted on it.
        """
        call = self._call
        now = call.run.time()
        self._layer.note_sdk_retries(call)
        found = classify(error)
        status = "" if found.status is None else f" {found.status}"
        line = f"attempt {self._number}: {type(error).__name__}{status} after {now - self._attempt_began:.3g} s"
        obstacle = self._obstacle(error, found, now)
        if obstacle is None:
            self._lines.append(f"{line}, then waited {self._delay:.3g} s ({self._source})")
            self._number = max(self._number, len(call.run.attempts)) + 1
            self._fault = found.fault
            self._cause = error
            return True
        reason, detail = obstacle
        self._layer.decided(call, self._tries, reason)
        if self._lines or not reason.startswith(_NOT):
            tried = f"{self._tries} attempt{'s' * (self._tries > 1)} in {now - self._began:.3g} s"
            with suppress(Exception):  # a frozen exception takes no notes
                error.add_note("\n".join((f"sluiceway gave up after {tried}: {reason}{detail}", *self._lines, line)))
        return False

    def _wanted(self, error: Exception, found: Classification) -> bool:
        """Return whether *error* is one to retry: what the user's function says, else what it is."""
        if self._layer.wanted is None:
            return found.retryable
        said = self._layer.wanted(error)
        if said is not None and not isinstance(said, bool):
            raise TypeError(f"on= returned {said!r}: it must return True, False or None")
        return found.retryable if said is None else said

    def _obstacle(self, error: Exception, found: Classification, now: float) -> tuple[str, str] | None:
        """Return what forbids another attempt, and the numbers to it; None, having taken a retry, if nothing does."""
        layer = self._layer
        call = self._call
        run = call.run
        if not self._wanted(error, found):
            return f"{_NOT}: {_words(found.fault)}" + ("" if found.status is None else f" {found.status}"), ""
        if run.emitted:
            return "items of the stream are out", ""
        if not call.hints.idempotent:
            return "the call is not idempotent", ""
        if self._tries >= layer.attempts:
            return "attempts exhausted", ""
        self._draw(found)
        for name, end in (
            ("the deadline", run.deadline),
            ("max_elapsed", None if layer.max_elapsed is None else self._began + layer.max_elapsed),
        ):
            if end is not None and now + self._delay >= end:
                asked = "" if found.retry_after is None else f"; retry_after={found.retry_after:.3g} s"
                left = max(0.0, end - now)
                return f"{name} comes first", f" ({self._delay:.3g} s to wait, {left:.3g} s left{asked})"
        if not self._budget.try_spend():
            return "retry budget spent", f" ({self._budget.spent} retries among {self._budget.calls} calls in flight)"
        return None

    def _draw(self, found: Classification) -> None:
        """Set how long to wait, and who said so."""
        layer = self._layer
        backoff = layer.backoff
        asked = found.retry_after
        self._previous = jittered = backoff.delay(
            self._tries - 1, layer.rng, previous=self._previous, throttled=found.fault is Fault.RATE_LIMITED
        )
        self._delay = delay_after(asked, jittered, backoff.cap, layer.rng)
        by_provider = asked is not None and min(asked, backoff.cap) > jittered
        self._source = found.retry_after_source if by_provider else "backoff"

    async def _back_off(self) -> None:
        call = self._call
        run = call.run
        since = run.time()
        run.phase = ("backoff", since)
        try:
            await sleep(self._delay)
        finally:
            cause, self._cause = self._cause, None  # its traceback leads back to us
            now = run.time()
            run.waited("backoff", since, now)
            attributes = {
                "sluiceway.retry.delay": self._delay,
                "sluiceway.retry.delay_source": self._source,
                "sluiceway.retry.reason": _words(self._fault),
            }
            call.report(
                BackedOff(
                    now,
                    call,
                    since,
                    self._layer.name,
                    "backoff",
                    attributes,
                    delay=self._delay,
                    source=self._source,
                    cause=cause,
                    attempt=self._number,
                )
            )


def _words(fault: Fault) -> str:
    return fault.value.replace("_", " ")
