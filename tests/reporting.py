"""Layers that do little but report, for the tests of what hears them."""

from __future__ import annotations

import asyncio

from sluiceway.errors import CircuitOpen
from sluiceway.events import BackedOff, CallRejected, CircuitChanged, LimitPaused, Phase, SdkRetries, Waited
from sluiceway.layer import Layer


class Waits(Layer):
    """Waits for a time and reports it as `bounded` would."""

    def __init__(self, seconds, reason="bounded", **attributes):
        self.seconds = seconds
        self.reason = reason
        self.attributes = attributes or {"sluiceway.bounded.limit": 30}

    async def handle(self, call, proceed):
        run = call.run
        since = run.loop.time()
        if self.seconds:
            await asyncio.sleep(self.seconds)
            run.waited(f"{self.reason} wait", since, run.loop.time())
        if self.seconds or run.detailed:
            event = Waited(
                run.loop.time(),
                call,
                since,
                self.reason,
                f"{self.reason} wait",
                self.attributes,
                reason=self.reason,
                queue_depth=2,
            )
            call.report(event)
        return await proceed(call)


class Retries(Layer):
    """Repeats after each of the delays, and reports the backoff."""

    def __init__(self, *delays):
        self.delays = delays

    async def handle(self, call, proceed):
        run = call.run
        for number, delay in enumerate(self.delays, 2):
            try:
                return await proceed(call)
            except Exception as error:  # noqa: BLE001
                cause = error
            since = run.loop.time()
            await asyncio.sleep(delay)
            run.waited("backoff", since, run.loop.time())
            attributes = {"sluiceway.retry.delay": delay}
            now = run.loop.time()
            call.report(
                BackedOff(
                    now, call, since, "retry_jitter", "backoff", attributes, delay=delay, cause=cause, attempt=number
                )
            )
            call = call.again(number)
        return await proceed(call)


class Refuses(Layer):
    """Refuses every call as an open circuit does: a failed check, and the fact."""

    async def handle(self, call, proceed):
        now = call.run.loop.time()
        error = CircuitOpen("the circuit is open", layer="circuit_breaker", retry_after=3.0)
        state = {"sluiceway.circuit_breaker.state": "open"}
        if call.run.listening:
            call.report(Phase(now, call, now, "circuit_breaker", "circuit check", state, error))
        call.report(CallRejected(now, call, "circuit_breaker", error))
        raise error


class Notes(Layer):
    """Reports moments: a circuit that opens, a pause, retries of the SDK."""

    async def handle(self, call, proceed):
        now = call.run.loop.time()
        call.report(CircuitChanged(now, call, "circuit_breaker", "a secret key", "closed", "open", "half failed"))
        call.report(LimitPaused(now, call, "rate_limited", "a secret key", 2.5, "retry-after"))
        call.report(SdkRetries(now, call, 2))
        return await proceed(call)


class Reports(Layer):
    """Reports the given events, made by functions of the call."""

    takes_functions = True

    def __init__(self, *events):
        self.events = events

    async def handle(self, call, proceed):
        for make in self.events:
            call.report(make(call))
        return await proceed(call)
