"""Events to numbers: what a session's statistics are made of."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sluiceway.arguments import given
from sluiceway.events import (
    AttemptFinished,
    BackedOff,
    CacheHit,
    CallFinished,
    CallRejected,
    CallStarted,
    Coalesced,
    HedgeLost,
    HedgeSent,
    Settled,
    Waited,
)
from sluiceway.running import outcome_of

from .kinds import kind_of, model_of
from .last_minute import LastMinute
from .pricing import cost_of
from .sketch import BATCH
from .stats import OTHER, Figures, Stats, Tokens, Waits
from .tally import MOST, Price, Tallies, Tally, figures

if TYPE_CHECKING:
    from sluiceway.call import Attempt, Call, Run
    from sluiceway.events import Event
    from sluiceway.providers.usage import Usage


def _unknown(model: str | None, usage: Usage) -> None:
    """Know no price."""


def _never(error: BaseException | None) -> bool:  # noqa: ARG001 - see `Statistics`
    """Excuse nothing."""
    return False


class _Handlers(dict[type["Event"], Callable[[Any], None]]):
    """What to do with each type of event: nothing, by default."""

    def __missing__(self, kind: type[Event]) -> Callable[[Any], None]:
        self[kind] = _pass_over
        return _pass_over


def _pass_over(event: Event) -> None:
    """Count nothing."""


class Statistics:
    """Counts what it hears, in bounded memory; a call costs about a microsecond.

    Nothing of a call is kept when it is over but numbers and the names of models, tenants and kinds of errors.

    Args:
        started_at: seconds of the event loop's clock.
        name: of what is counted.
        price: what a usage of a model costs; None for unknown.
        on_bad: told of every call that ended in something else than success or its caller's cancellation, after it
            was counted.
        excused: whether calls that end with an error are none of the error rate's, like those cancelled.

    Attributes:
        in_flight: calls that started and are not over.
        on_idle: called when the last call in flight is over, if somebody set it.
        last_minute: how the calls of the last minute ended.
        last_at: when the last call ended.
    """

    __slots__ = (
        "_attempt_errors",
        "_cache_hits",
        "_coalesced",
        "_errors",
        "_excused",
        "_handlers",
        "_hedges",
        "_latest",
        "_models",
        "_name",
        "_on_bad",
        "_possibly_billed",
        "_price",
        "_refusals",
        "_settled",
        "_started_at",
        "_tenants",
        "_unnamed",
        "_waits",
        "_wasted",
        "_wasted_attempts",
        "in_flight",
        "last_at",
        "last_minute",
        "on_idle",
    )

    def __init__(
        self,
        started_at: float,
        name: str = "",
        *,
        price: Price | None = None,
        on_bad: Callable[[CallFinished], None] | None = None,
        excused: Callable[[BaseException | None], bool] = _never,
    ) -> None:
        self._started_at = self.last_at = started_at
        self._name = name
        self._price = price or _unknown
        self._on_bad = on_bad
        self._excused = excused
        self.on_idle: Callable[[], None] | None = None
        self.in_flight = 0
        self.last_minute = LastMinute(started_at)
        self._models = Tallies()
        self._latest: tuple[Attempt | None, Tally] | None = None
        self._tenants = Tallies()
        self._unnamed: dict[str, list[int]] = {}
        self._waits: dict[str, list[float]] = {}
        self._errors: Counter[str] = Counter()
        self._attempt_errors: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._possibly_billed = 0
        self._cache_hits = 0
        self._coalesced = 0
        self._hedges = 0
        self._wasted_attempts = 0
        self._wasted = Tokens()
        self._settled: tuple[object, ...] | None = None
        self._handlers = _Handlers(
            {
                CallStarted: self._call_started,
                AttemptFinished: self._attempt_finished,
                CallFinished: self._call_finished,
                Waited: self._waited,
                BackedOff: self._backed_off,
                CallRejected: self._refused,
                Settled: self._settle,
                CacheHit: self._cache_hit,
                Coalesced: self._coalesce,
                HedgeSent: self._hedge,
                HedgeLost: self._waste,
            }
        )

    def hear(self, event: Event) -> None:
        """Count *event*; kinds of events that say nothing countable are passed over."""
        self._handlers[type(event)](event)

    def snapshot(self, now: float, *, parts: bool = True) -> Stats:
        """Return what was counted until *now*, in seconds of the loop's clock.

        Without *parts* `by_model` and `by_tenant` stay empty: a thousand tenants take a third of a second.
        """
        now = max(now, self.last_at)
        elapsed = now - self._started_at
        bad, seen = self.last_minute.seen(now)
        total = figures(self._models)
        shared = {each.name: getattr(total, each.name) for each in dataclasses.fields(Figures)}
        shared["calls"] = total.calls + self.in_flight
        return Stats(
            **shared,
            name=self._name,
            elapsed=elapsed,
            in_flight=self.in_flight,
            throughput=total.succeeded / elapsed if elapsed > 0 else 0.0,
            recent_throughput=self.last_minute.recent(now, self._started_at),
            error_rate=bad / seen if seen else None,
            possibly_billed=self._possibly_billed,
            cache_hits=self._cache_hits,
            coalesced=self._coalesced,
            hedges=self._hedges,
            wasted_attempts=self._wasted_attempts,
            wasted=self._wasted,
            waits=MappingProxyType({reason: Waits(int(n), s, most) for reason, (n, s, most) in self._waits.items()}),
            errors=MappingProxyType(dict(self._errors.most_common())),
            attempt_errors=MappingProxyType(dict(self._attempt_errors.most_common())),
            refusals=MappingProxyType(dict(self._refusals.most_common())),
            by_model=MappingProxyType(self._models.figures() if parts else {}),
            by_tenant=MappingProxyType(self._tenants.figures() if parts else {}),
        )

    # ------------------------------------------------------------------ one event each

    def _call_started(self, _: CallStarted) -> None:
        self.in_flight += 1

    def count(self, call: Call, at: float, error: BaseException | None) -> None:
        """Count *call*, which ended at *at* with *error*: what its events would have told, without making them."""
        run = call.run
        attempts = run.attempts
        if (
            error is not None
            or len(attempts) != 1
            or attempts[0].outcome != "ok"
            or run.tallied
            or self._unnamed
            or call.hints.tenant is not None
        ):
            self._call_finished(CallFinished(at, call, outcome_of(error), error, at - run.started_at))
            return
        attempt = attempts[0]
        usage = attempt.usage
        if usage is None and attempt.reader is None:
            function, args, kwargs = attempt.asked or (call.function, call.args, call.kwargs)
            model = kwargs.get("model")  # as `model_of` would find, the usual "no" of `given` written out
            try:
                if model is None and (args or function.__defaults__ or function.__kwdefaults__):
                    model = given(function, args, kwargs, "model")
            except AttributeError:
                model = given(function, args, kwargs, "model")
            if model is not None and type(model) is not str:
                model = model_of(call, attempt)
            tally = self._models.by_name[model]
            if not attempt.contained:
                tally.attempts += 1
                tally.unmetered += 1
        else:
            model = model_of(call, attempt)
            tally = self._models.by_name[model]
            if not attempt.contained:
                cost = None if usage is None else cost_of(attempt, model, usage, self._price)
                tally.end_attempt(attempt, usage, cost)
        self.in_flight -= 1
        self.last_at = at
        minute = self.last_minute
        if at >= minute.until:
            minute.advance(at)
        minute.good += 1
        tally.ok += 1  # as `Tally.end` would, and `Sketch.add`
        new = tally.latencies.new
        new.append(at - run.started_at)
        if len(new) >= BATCH:
            tally.latencies.fold()
        if self.on_idle is not None and not self.in_flight:
            self.on_idle()

    def _attempt_finished(self, event: AttemptFinished) -> None:
        assert event.call is not None
        self._attempt_over(event.call, event.attempt)

    def _catch_up(self, call: Call) -> None:
        """Count the attempts of a call that only this session hears: they are told by its record, not by events."""
        run = call.run
        while run.outer is not None:
            run = run.outer
        if run.listening:
            return
        attempts = run.attempts
        while run.tallied < len(attempts) and attempts[run.tallied].ended_at is not None:
            self._attempt_over(call, attempts[run.tallied])
            run.tallied += 1

    def _attempt_over(self, call: Call, attempt: Attempt) -> None:
        if attempt.contained:
            return
        model = model_of(call, attempt)
        tally = self._models.of(model)
        self._latest = (attempt, tally)
        usage = attempt.usage
        cost = None if usage is None else cost_of(attempt, model, usage, self._price)
        tally.end_attempt(attempt, usage, cost)
        tenant = call.hints.tenant
        if tenant is not None:
            self._tenants.of(tenant).end_attempt(attempt, usage, cost)
        if attempt.outcome != "ok":
            self._attempt_failed(call.run, attempt, model)

    def _attempt_failed(self, run: Run, attempt: Attempt, model: str | None) -> None:
        if model is None:
            self._note_unnamed(run, attempts=1)
        if attempt.outcome == "error" and attempt.error is not None:
            _count(self._attempt_errors, kind_of(attempt.error))

    def _call_finished(self, event: CallFinished) -> None:
        call = event.call
        assert call is not None
        run = call.run
        if not run.listening:
            self._catch_up(call)
        if self.in_flight:
            self.in_flight -= 1
        latest, self._latest = self._latest, None
        known = latest is not None and latest[0] is run.last  # as a rule: nothing comes between the two events
        tally = latest[1] if known else self._models.of(model_of(call, run.last))  # type: ignore[index]
        tenant = call.hints.tenant
        tenants = None if tenant is None else self._tenants.of(tenant)
        if self._unnamed:
            self._name_unnamed(run, tally)
        self.last_at = at = event.at
        minute = self.last_minute
        if at >= minute.until:
            minute.advance(at)
        if event.outcome == "ok":
            minute.good += 1
            tally.end("ok", event.latency)
            if tenants is not None:
                tenants.end("ok", event.latency)
        else:
            self._call_failed(event, tally, tenants)
        if self.on_idle is not None and not self.in_flight:
            self.on_idle()

    def _call_failed(self, event: CallFinished, tally: Tally, tenants: Tally | None) -> None:
        tally.end(event.outcome, event.latency)
        if tenants is not None:
            tenants.end(event.outcome, event.latency)
        if event.outcome == "cancelled":
            return
        if event.error is not None:
            _count(self._errors, kind_of(event.error))
        if self._excused(event.error):
            return
        self.last_minute.bad += 1
        if self._on_bad is not None:
            self._on_bad(event)

    def _waited(self, event: Waited) -> None:
        self._wait(event.reason or event.layer, event.at - event.started_at)

    def _backed_off(self, event: BackedOff) -> None:
        self._wait("backoff", event.at - event.started_at)
        call = event.call
        assert call is not None
        self._catch_up(call)
        model = model_of(call, call.run.last)
        self._models.of(model).retries += 1
        if model is None:
            self._note_unnamed(call.run, retries=1)
        if call.hints.tenant is not None:
            self._tenants.of(call.hints.tenant).retries += 1

    def _refused(self, event: CallRejected) -> None:
        _count(self._refusals, event.layer)

    def _cache_hit(self, _: CacheHit) -> None:
        self._cache_hits += 1

    def _coalesce(self, _: Coalesced) -> None:
        self._coalesced += 1

    def _hedge(self, _: HedgeSent) -> None:
        self._hedges += 1

    def _waste(self, event: HedgeLost) -> None:
        self._wasted_attempts += 1
        usage, wasted = event.attempt.usage, self._wasted
        if usage is not None and not event.attempt.contained:
            self._wasted = Tokens(
                wasted.input + usage.input_tokens,
                wasted.output + usage.output_tokens,
                wasted.cached + (usage.cached_tokens or 0),
                wasted.reasoning + (usage.reasoning_tokens or 0),
            )

    def _settle(self, event: Settled) -> None:
        if event.basis != "possibly billed" or event.call is None:
            return
        run = event.call.run
        attempt = run.last
        # Several limiters settle the same attempt, one right after the other.
        this = (run.id, None if attempt is None else attempt.number)
        if this != self._settled:
            self._settled = this
            self._possibly_billed += 1

    # ------------------------------------------------------------------ small parts of it

    def _wait(self, reason: str, seconds: float) -> None:
        if seconds <= 0:
            return
        if reason not in self._waits and len(self._waits) >= MOST:
            reason = OTHER
        wait = self._waits.setdefault(reason, [0, 0.0, 0.0])
        wait[0] += 1
        wait[1] += seconds
        wait[2] = max(wait[2], seconds)

    def _note_unnamed(self, run: Run, attempts: int = 0, retries: int = 0) -> None:
        """Remember what of *run* was counted under no model: a later attempt may tell which it is."""
        if run.left:  # the end of its call, at which this would be forgotten, has been
            return
        noted = self._unnamed.setdefault(run.id, [0, 0])
        noted[0] += attempts
        noted[1] += retries

    def _name_unnamed(self, run: Run, named: Tally) -> None:
        """Count what was noted of *run*, which is over, in the tally of its model."""
        attempts, retries = self._unnamed.pop(run.id, (0, 0))
        nameless = self._models.of(None)
        nameless.attempts -= attempts
        nameless.retries -= retries
        named.attempts += attempts
        named.retries += retries


def _count(counter: Counter[str], kind: str) -> None:
    counter[kind if kind in counter or len(counter) < MOST else OTHER] += 1
