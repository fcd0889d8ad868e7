"""Events made by hand, to feed statistics without running calls."""

from __future__ import annotations

from sluiceway.call import Attempt, Call, Hints, Run
from sluiceway.events import AttemptFinished, AttemptStarted, CallFinished, CallStarted
from sluiceway.providers.usage import Usage

USAGE = Usage(100, 50, 20, 10)
ENDS = {
    "ok": None,
    "error": ConnectionError(),
    "rejected": ValueError(),
    "timed out": TimeoutError(),
    "cancelled": None,
}


class Answer:
    """What a provider returns, as far as statistics look at it."""

    def __init__(self, model):
        self.model = model


class Clock:
    """As much of an event loop as a `Run` needs."""

    def __init__(self):
        self.now = 0.0

    def time(self):
        return self.now


class FedCall:
    """One call, told step by step to a statistics' `hear`."""

    def __init__(self, hear, clock, *, model=None, tenant=None):
        self._hear = hear
        self._clock = clock
        run = Run(clock, None, None, (), "ask", None, Hints())
        run.listening = True
        self.call = Call(None, (), {} if model is None else {"model": model}, None, run, Hints(tenant=tenant))
        self.attempt = None

    def start(self):
        self._hear(CallStarted(self._clock.now, self.call))
        return self

    def begin_attempt(self):
        run = self.call.run
        self.attempt = run.last = Attempt(len(run.attempts) + 1, self._clock.now)
        run.attempts.append(self.attempt)
        self._hear(AttemptStarted(self._clock.now, self.call, self.attempt))
        return self

    def end_attempt(self, outcome="ok", *, usage=None, contained=False, answered=None, first_item=None, error=None):
        attempt = self.attempt
        attempt.outcome = outcome
        attempt.ended_at = self._clock.now
        attempt.usage = usage
        attempt.contained = contained
        attempt.result = Answer(answered)
        attempt.error = error or (None if outcome == "ok" else ConnectionError())
        if first_item is not None:
            attempt.first_item_at = attempt.started_at + first_item
        self._hear(AttemptFinished(self._clock.now, self.call, attempt))
        return self

    def finish(self, outcome="ok", latency=1.0, error=None):
        error = ENDS[outcome] if error is None else error
        self._hear(CallFinished(self._clock.now, self.call, outcome, error, latency))
        return self
