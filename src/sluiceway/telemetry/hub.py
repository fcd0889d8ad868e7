"""Where every call's events go: found out once, when the call starts.

`observe` stands on the path of every call. With nothing configured it makes one probe (a span that does not record)
and three cheap checks, and leaves the call with a sink that passes only warnings on. Otherwise the call gets a
`Hearing`: the tuple of sinks that hear it, in the order trace, metrics, sessions, listeners, log.
"""

from __future__ import annotations

from asyncio import CancelledError
from contextvars import ContextVar
from functools import partial
from logging import INFO
from sys import modules
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from opentelemetry import trace as trace_api
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.trace import INVALID_SPAN

from sluiceway.functions import require_plain

from . import logs, metrics
from .by_identity import ByIdentity
from .linking import call_span
from .logs import WARNINGS, standard_log, told
from .metrics import enabled as metered
from .metrics import metering
from .observation import observation_of, watched
from .spans import follow, tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span

    from sluiceway.call import Call, Run
    from sluiceway.events import Event, Sink

    from .observation import Observation
    from .spans import Tracing

    Count: TypeAlias = Callable[[Call, float, BaseException | None], None]


class Counter(Protocol):
    """What counts the calls that only one session hears."""

    in_flight: int

    def count(self, call: Call, at: float, error: BaseException | None) -> None:
        """Count *call*, which ended at *at* (seconds of the loop's clock) with *error*."""


class Scope(Protocol):
    """A session, as far as calls know it.

    If it has an attribute `id` (a str), spans carry that as `session.id` and log lines as `session_id`. If it has an
    attribute `counter`, not None, and is the only one to hear a call, the call's regular events are not made for it:
    the counter is told of the call's start and end, and finds the attempts in its record. If it has an attribute
    `tracing`, not None, that says where the calls' spans begin (`linking.SessionSpan`).
    """

    drains: bool
    """Whether `admit` is to be asked."""

    def admit(self, call: Call) -> None:
        """Let *call* begin, or not; asked while it `drains`.

        It only decides: another scope may still refuse, so counting begins with `CallStarted`. Nothing is awaited
        between the two.

        Raises:
            SessionClosed: the session takes no new calls.
        """

    def hear(self, event: Event) -> None:
        """Take in *event*; what it raises is logged once."""


scopes: Final[ContextVar[tuple[Scope, ...]]] = ContextVar("sluiceway_scopes", default=())
"""The sessions around the running code, innermost first; every one of them hears its calls."""

process_scopes: Final[list[Scope]] = []
"""Sessions that hear every call of the process."""

attached: Final[ByIdentity[tuple[Scope, ...]]] = ByIdentity()
"""Sessions that hear every call through a layer object, by that object."""

_listeners: Final[list[Sink]] = []


class Hearing:
    """Who hears one call, and what was found out for it.

    Attributes:
        sinks: called in order with every event: trace, metrics, sessions, listeners, log.
        span: the call's span, recording or not; its ids stand in log lines.
        session: the innermost session's id; None outside one.
        told: whether the log is among the sinks; otherwise it gets the warnings only.
    """

    __slots__ = ("session", "sinks", "span", "told")

    def __init__(self, sinks: list[Sink], span: Span, session: str | None, *, told: bool) -> None:
        self.sinks = sinks
        self.span = span
        self.session = session
        self.told = told

    def hear(self, event: Event) -> None:
        """Tell *event* to every sink; one that raises is logged once and disturbs neither the call nor the others.

        Nobody awaits here: a `CancelledError` is that of some future whose result a sink asked for.
        """
        for sink in self.sinks:
            try:
                sink(event)
            except (Exception, CancelledError) as error:  # noqa: BLE001 - a sink is the last thing that may break a call
                logs.broken(sink, error)
        if not self.told and type(event) in WARNINGS:
            warnings_only(event)


def warnings_only(event: Event) -> None:
    """Pass *event* to the log if it is worth a warning: what is left of a call that nobody observes."""
    if type(event) in WARNINGS:
        try:
            logs.hear(event)
        except (Exception, CancelledError) as error:  # noqa: BLE001 - as in `Hearing.hear`
            logs.broken(logs.hear, error)


class _Sole:
    """What a call is given that one session hears and nobody else, kept from the last such call: that is the usual."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        nobody = Hearing([], INVALID_SPAN, None, told=False)
        self._kept: tuple[Sink, Counter | None, Count | None, Hearing] = (warnings_only, None, None, nobody)

    def listen(self, run: Run, scope: Scope) -> None:
        """Let *scope* alone hear the call; what it hears with may have become another since the last one."""
        hear = scope.hear
        kept = self._kept  # all of it at once: event loops of other threads have sessions of their own
        if hear is not kept[0]:
            counter: Counter | None = getattr(scope, "counter", None)
            hearing = Hearing([hear], INVALID_SPAN, getattr(scope, "id", None), told=False)
            self._kept = kept = (hear, counter, None if counter is None else counter.count, hearing)
        _, counter, count, run.facts = kept  # facts are where its sink finds them
        if counter is None:
            run.listening = True
        else:
            counter.in_flight += 1
            run.counted = count


def _guarded(sink: Sink) -> Sink:
    """Return what `Hearing.hear` does, for one sink."""

    def hear(event: Event) -> None:
        try:
            sink(event)
        except (Exception, CancelledError) as error:  # noqa: BLE001 - as in `Hearing.hear`
            logs.broken(sink, error)
        if type(event) in WARNINGS:
            warnings_only(event)

    return hear


_sole: Final = _Sole()


def observe(run: Run, call: Call) -> Callable[[], None] | None:
    """Find out who hears *call*, which is about to start; return what is to be run in its own context for them.

    Raises:
        SessionClosed: a session around the call takes no new ones. Nothing else is ever raised.
    """
    heard = scopes.get()
    # `tracing.wanted() or metered() or told()`, of which every part is written out as far as its usual "no".
    others = (
        _listeners
        or trace_api._TRACER_PROVIDER is not None  # noqa: SLF001 - public is only a look-up of 0.8 us
        or tracing.given
        or (metrics_api._METER_PROVIDER is not None and metered())  # noqa: SLF001 - as above
        or metering.instruments is not None
        or (("structlog" in modules or standard_log.isEnabledFor(INFO)) and told())
    )
    if process_scopes or attached:
        heard = _everybody(heard, run.layers)
    if not (others or heard or watched):
        return None  # what is worth a warning goes to the log all the same: see `Run.sink`
    own = observation_of(run.layers) if watched else None
    if not (others or heard or own):
        return None
    for scope in heard:
        if scope.drains:
            scope.admit(call)
    if not others and own is None and len(heard) == 1:
        _sole.listen(run, heard[0])
        return None
    return partial(_introduce, run, heard, own)


def _introduce(run: Run, heard: tuple[Scope, ...], own: Observation | None) -> None:
    """Give the call everybody who hears it, and nobody if that fails; *own* is what its layers say about that."""
    try:
        settings = tracing if own is None else own.tracing
        if trace_api._TRACER_PROVIDER is None and own is None and not tracing.given:  # noqa: SLF001 - as in `observe`
            span: Span = INVALID_SPAN  # which is what it would come to
        else:
            span = call_span(settings, f"call {run.name}", heard)
        _listening(run, span, heard, settings, own)
    except Exception as error:  # noqa: BLE001 - somebody's sampler or logger
        run.sink = warnings_only  # type: ignore[method-assign]  # made to be set
        logs.broken(observe, error)


def _listening(run: Run, span: Span, heard: tuple[Scope, ...], settings: Tracing, own: Observation | None) -> None:
    counted, logged = metered(), told()
    session = getattr(heard[0], "id", None) if heard else None
    trace = None if span is INVALID_SPAN else follow(span, run, session, settings)
    sinks: list[Sink] = []
    if trace is not None:
        sinks.append(trace.hear)
        run.detailed = settings.detailed
    if own is not None and own.metering is not None and own.count is not None:
        sinks.append(own.count)
    elif counted:
        sinks.append(metering.sink)
    if heard:
        sinks += [scope.hear for scope in heard]
    if _listeners:
        sinks += _listeners
    if own is not None:
        sinks += own.sinks
    if own is not None and own.log is not None:
        sinks.append(own.log.hear)
        logged = True
    elif logged:
        sinks.append(logs.hear)
    elif not sinks:  # sampled out
        run.sink = warnings_only  # type: ignore[method-assign]  # made to be set
        return
    elif trace is not None and len(sinks) == 1:
        run.facts = trace
        run.sink = _guarded(trace.hear)  # type: ignore[assignment, method-assign]  # made to be set
        run.listening = True
        return
    elif trace is None and len(sinks) == 1 and sinks[0] is metering.sink:
        run.sink = _guarded(metering.sink)  # type: ignore[assignment, method-assign]  # made to be set
        run.listening = True
        return
    run.facts = hearing = Hearing(sinks, span, session, told=logged)
    run.sink = hearing.hear  # type: ignore[method-assign]  # made to be set
    run.listening = True


def publish(event: Event) -> None:
    """Tell *event*, a fact outside any call, to the sessions around, to listeners, metrics and the log."""
    sinks: list[Sink] = [metrics.hear] if metered() else []
    sinks += [scope.hear for scope in _everybody(scopes.get(), ())]
    Hearing([*sinks, *_listeners, logs.hear], INVALID_SPAN, None, told=True).hear(event)


def listen(sink: Sink) -> Sink:
    """Have *sink* hear every event of the process from the next call on, until `unlisten`; return it.

    It is called where the event happens and must not block. What it raises is logged once.

    Raises:
        TypeError: *sink* is not callable, or is a coroutine function: nobody would await it.
    """
    require_plain(sink, "sink")
    _listeners.append(sink)
    return sink


def unlisten(sink: Sink) -> None:
    """Let *sink* hear no calls that start from now on.

    Raises:
        ValueError: it does not listen.
    """
    if sink not in _listeners:
        raise ValueError(f"{sink!r} does not listen")
    _listeners.remove(sink)


def _everybody(around: tuple[Scope, ...], layers: tuple[Any, ...]) -> tuple[Scope, ...]:
    """Return the scopes *around*, those attached to one of *layers*, and the process's; each once, in this order."""
    found = list(around)
    for layer in layers if attached else ():
        found += attached.get(layer, ())
    found += process_scopes
    return tuple(dict.fromkeys(found)) if len(found) > 1 else tuple(found)
