"""Events to metrics: what is going on in a process, in few and bounded series.

Labels are a call's name, a model (the first thousand, then "other"), a layer, an outcome, an error's class: never a
session, a call, a user or a key.
Gauges are read from the layers when somebody collects, by the name of the calls that ran through them: a limit that
two functions share is shown for both. Of a layer with keys (`by=`) they show the key that has least left.

**When they are recorded.** Only where somebody collects: a meter provider was given to `telemetry.configure`, or the
application set a global one, whenever it did so. The API tells the latter only by `get_meter_provider()`, which costs
more than all the rest of an idle call (1.1 us, and it may load a provider named by the environment), so the variable
behind it is read instead (16 ns); a test holds us to its being there. Until then no instrument exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import finalize

from opentelemetry import metrics as api
from opentelemetry.metrics import _internal as api_state

from sluiceway import events

from . import conventions as names
from .conventions import type_name
from .instruments import Instruments
from .kinds import model_of
from .pricing import Pricing, cost_of, load_soon
from .recording import Labels
from .stats import OTHER
from .tally import MOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider

    from sluiceway.call import Call
    from sluiceway.events import Event, Sink
    from sluiceway.providers.usage import Usage


_SCOPE: Final = "sluiceway"
_SERIES: Final = 2_000  # label sets remembered; beyond it we start anew, which costs time and no data
_price: Final = Pricing()
_made: Final[dict[int, Instruments]] = {}
"""One set of instruments for each provider, however often it is configured: a gauge takes no second callback.

By identity, since a provider need not be hashable: logfire's is not.
"""


def _nowhere(event: Event) -> None:
    """Record nothing."""


class Metering:
    """What was configured for metrics, and the instruments once a real provider is there.

    Attributes:
        sink: records with these instruments, whatever is configured by then: a call ends in those that it began in.
    """

    __slots__ = ("_labels", "_models", "instruments", "on", "sink")

    def __init__(self) -> None:
        self.on = True
        self.instruments: Instruments | None = None
        self.sink: Sink = _nowhere
        self._labels: dict[tuple[Any, ...], Labels] = {}
        self._models: set[str] = set()

    def set(self, *, provider: MeterProvider | None, on: bool) -> None:
        """Take new settings; None looks for the application's global provider."""
        self.on = on
        self.instruments = None
        self._models.clear()
        if provider is not None and on:
            self._make(provider)

    def look(self) -> bool:
        """Make the instruments if the application has set a real meter provider by now."""
        provider = getattr(api_state, "_METER_PROVIDER", None)
        if provider is None or isinstance(provider, api.NoOpMeterProvider):
            return False
        self._make(provider)
        return True

    def _make(self, provider: MeterProvider) -> None:
        load_soon()
        made = _made.get(id(provider))
        if made is None:
            _made[id(provider)] = made = Instruments(provider.get_meter(_SCOPE))
            finalize(provider, _made.pop, id(provider)).atexit = False
        self.instruments = made
        self.sink = hearing(made)

    def labels(self, *pairs: str | int | None) -> Labels:
        """Return names and values in turn as labels, those that are None left out; made once for each set."""
        found = self._labels.get(pairs)
        if found is None:
            if len(self._labels) >= _SERIES:
                self._labels.clear()
            items = zip(pairs[::2], pairs[1::2], strict=True)
            self._labels[pairs] = found = Labels(
                {str(name): _written(value) for name, value in items if value is not None}
            )
        return found

    def model(self, name: str | None) -> str | None:
        """Return what measurements of the model *name* are labelled with: callers name them, maybe without end."""
        if name is None or name in self._models:
            return name
        if len(self._models) >= MOST:
            return OTHER
        self._models.add(name)
        return name


def _written(value: str | int) -> str | int:
    """Return *value* as UTF-8 can have it: one half of a surrogate pair in it, and no scrape succeeds any more."""
    return value if type(value) is not str or value.isascii() else value.encode(errors="backslashreplace").decode()


metering: Final = Metering()


def enabled() -> bool:
    """Whether somebody collects metrics."""
    if metering.instruments is not None:
        return True
    return api_state._METER_PROVIDER is not None and metering.on and metering.look()  # noqa: SLF001 - see the module


def hear(event: Event) -> None:
    """Record what *event* says."""
    record = _RECORD.get(type(event))
    instruments = metering.instruments
    if record is not None and instruments is not None:
        record(instruments, event)


def hearing(to: Instruments) -> Sink:
    """Return what records events with the instruments *to*."""

    def hear_with(event: Event) -> None:
        record = _RECORD.get(type(event))
        if record is not None:
            record(to, event)

    return hear_with


# ------------------------------------------------------------------ one function a kind of event


def _name(call: Call | None) -> str | None:
    return None if call is None else call.run.name


def _call_started(to: Instruments, event: events.CallStarted) -> None:
    call = event.call
    assert call is not None
    to.levels.note(call.run)
    to.active.change(call.run.name, 1)


def _call_finished(to: Instruments, event: events.CallFinished) -> None:
    name = _name(event.call)
    to.active.change(name or "", -1)
    kind = None if event.error is None or event.outcome == "cancelled" else type_name(event.error)
    to.call_duration.record(
        event.latency,
        metering.labels(names.CALL_NAME, name, names.CALL_OUTCOME, event.outcome, names.ERROR_TYPE, kind),
    )


def _attempt_finished(to: Instruments, event: events.AttemptFinished) -> None:
    attempt = event.attempt
    call = event.call
    assert call is not None
    name = call.run.name
    asked = None if attempt.contained else model_of(call, attempt)
    model = metering.model(asked)
    kind = type_name(attempt.error) if attempt.error is not None and attempt.outcome == "error" else None
    to.attempt_duration.record(
        event.at - attempt.started_at,
        metering.labels(
            names.CALL_NAME, name, names.REQUEST_MODEL, model, names.ATTEMPT_OUTCOME, attempt.outcome,
            names.ERROR_TYPE, kind, names.HTTP_STATUS, attempt.status,
        ),
    )  # fmt: skip
    if attempt.usage is not None and not attempt.contained:
        _tokens(to, name, model, attempt.usage, cost_of(attempt, asked, attempt.usage, _price))


def _tokens(to: Instruments, name: str, model: str | None, usage: Usage, cost: float | None) -> None:
    counts = (
        ("input", usage.input_tokens),
        ("output", usage.output_tokens),
        ("cached", usage.cached_tokens),
        ("reasoning", usage.reasoning_tokens),
    )
    for kind, count in counts:
        if count or kind in {"input", "output"}:
            to.tokens.record(
                count, metering.labels(names.CALL_NAME, name, names.REQUEST_MODEL, model, names.KIND_OF_TOKEN, kind)
            )
    if cost is not None:
        to.cost.record(cost, metering.labels(names.CALL_NAME, name, names.REQUEST_MODEL, model))


def _first_item(to: Instruments, event: events.FirstItem) -> None:
    if event.attempt.number:  # a stream that a cache replays is nobody's attempt
        to.first_item.record(event.latency, metering.labels(names.CALL_NAME, _name(event.call)))


def _of_layer(event: Any) -> Labels:
    return metering.labels(names.CALL_NAME, _name(event.call), names.LAYER, event.layer)


def _waited(to: Instruments, event: events.Waited) -> None:
    if event.at > event.started_at:  # passing without waiting is not told by every call
        labels = metering.labels(names.CALL_NAME, _name(event.call), names.REASON, event.reason or event.layer)
        to.wait_duration.record(event.at - event.started_at, labels)


def _backed_off(to: Instruments, event: events.BackedOff) -> None:
    name = _name(event.call)
    kind = None if event.cause is None else type_name(event.cause)
    to.retries.add(1, metering.labels(names.CALL_NAME, name, names.ERROR_TYPE, kind))
    to.wait_duration.record(
        event.at - event.started_at, metering.labels(names.CALL_NAME, name, names.REASON, "backoff")
    )


def _rejected(to: Instruments, event: events.CallRejected) -> None:
    labels = metering.labels(
        names.CALL_NAME, _name(event.call), names.LAYER, event.layer, names.ERROR_TYPE, type_name(event.error)
    )
    to.rejections.add(1, labels)


def _circuit_changed(to: Instruments, event: events.CircuitChanged) -> None:
    labels = metering.labels(names.CALL_NAME, _name(event.call), names.LAYER, event.layer, names.STATE, event.new)
    to.circuit_transitions.add(1, labels)


def _cache_hit(to: Instruments, event: events.CacheHit) -> None:
    to.cache_hits.add(1, _of_layer(event))


def _store_changed(to: Instruments, event: events.StoreChanged) -> None:
    to.store_changes.add(1, metering.labels("sluiceway.store", event.store, "sluiceway.store.state", event.state))


def _limit_paused(to: Instruments, event: events.LimitPaused) -> None:
    to.pauses.add(1, _of_layer(event))


def _fell_back(to: Instruments, event: events.FellBack) -> None:
    labels = metering.labels(
        names.CALL_NAME, _name(event.call), names.LAYER, event.layer, names.FALLBACK_TO, event.to,
        names.ERROR_TYPE, type_name(event.cause),
    )  # fmt: skip
    to.fallbacks.add(1, labels)


def _passed_over(to: Instruments, event: events.PassedOver) -> None:
    labels = metering.labels(
        names.CALL_NAME, _name(event.call), names.LAYER, event.layer, names.DEPLOYMENT, event.deployment,
        names.ERROR_TYPE, type_name(event.cause),
    )  # fmt: skip
    to.passed_over.add(1, labels)


def _hedge_sent(to: Instruments, event: events.HedgeSent) -> None:
    to.hedges.add(1, _of_layer(event))


def _hedge_lost(to: Instruments, event: events.HedgeLost) -> None:
    to.wasted_attempts.add(1, _of_layer(event))


def _coalesced(to: Instruments, event: events.Coalesced) -> None:
    to.coalesced.add(1, _of_layer(event))


_RECORD: Final[dict[type[Event], Callable[[Instruments, Any], None]]] = {
    events.CallStarted: _call_started,
    events.CallFinished: _call_finished,
    events.AttemptFinished: _attempt_finished,
    events.FirstItem: _first_item,
    events.Waited: _waited,
    events.BackedOff: _backed_off,
    events.CallRejected: _rejected,
    events.CircuitChanged: _circuit_changed,
    events.CacheHit: _cache_hit,
    events.HedgeSent: _hedge_sent,
    events.HedgeLost: _hedge_lost,
    events.Coalesced: _coalesced,
    events.LimitPaused: _limit_paused,
    events.StoreChanged: _store_changed,
    events.FellBack: _fell_back,
    events.PassedOver: _passed_over,
}
