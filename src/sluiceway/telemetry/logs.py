"""Events to log lines: through structlog where the application configured it, else through standard logging.

A library must be silent until asked: an unconfigured structlog prints DEBUG to stdout, so it is used only when
`structlog.is_configured()`, and not even imported (0.2 s, and it brings rich) where nobody did. The standard logger is
`"sluiceway"`, with a `NullHandler`. Levels: DEBUG a phase or an attempt, INFO a finished call, WARNING what somebody
may have to act on. Every line carries `call_id`, and `trace_id`, `span_id`, `session_id` where there are such; none
carries a prompt, an answer, an argument or a key.
"""

from __future__ import annotations

import logging
import sys
import traceback
from logging import DEBUG, INFO, WARNING
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.trace import get_current_span

from sluiceway import events

from .conventions import type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluiceway.events import Event

    Line: TypeAlias = "tuple[str, Mapping[str, Any]]"

WARNINGS: Final = frozenset(
    {
        events.BackedOff,
        events.CallRejected,
        events.CircuitChanged,
        events.ConfigRejected,
        events.ErrorRateHigh,
        events.FellBack,
        events.LimitPaused,
        events.NotCached,
        events.PassedOver,
        events.SdkRetries,
        events.StoreChanged,
    }
)
"""Events that are worth a line even when nobody listens; a circuit that closes is told at INFO."""

standard_log: Final = logging.getLogger("sluiceway")
standard_log.addHandler(logging.NullHandler())
_TAKEN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What a record has already: an attribute of the same name would be an error."""


class Logging:
    """Whether lines are written at all, and the bound structlog logger of the configuration last seen."""

    __slots__ = ("_bound", "_config", "_reported", "on")

    def __init__(self) -> None:
        self.on = True
        self._bound: Any = None
        self._config: list[Any] = []
        self._reported: set[str] = set()

    def bound(self) -> Any:
        """Return structlog's logger, bound once per configuration: binding costs more than a line."""
        structlog = sys.modules["structlog"]
        config = list(structlog.get_config().values())
        if config != self._config:
            self._bound = _at_once(structlog.get_logger("sluiceway").bind())
            self._config = config
        return self._bound

    def once(self, what: str) -> bool:
        """Whether *what* comes up for the first time."""
        if what in self._reported:
            return False
        self._reported.add(what)
        return True


log: Final = Logging()


def _structured() -> bool:
    """Whether the application configured structlog."""
    structlog = sys.modules.get("structlog")
    return structlog is not None and structlog.is_configured()


def told() -> bool:
    """Whether finished calls would get a line; asked at the start of every call, never raises."""
    if "structlog" not in sys.modules:
        return log.on and standard_log.isEnabledFor(INFO)
    try:
        return enabled(INFO)
    except Exception as error:  # noqa: BLE001 - the application's own configuration of structlog
        broken(enabled, error)
        return False


def enabled(level: int) -> bool:
    """Whether lines of *level* would be written."""
    if not log.on:
        return False
    if not _structured():
        return standard_log.isEnabledFor(level)
    asked = _question(log.bound())
    return True if asked is None else bool(asked(level))


def _question(logger: Any) -> Any:
    """Return what tells whether *logger* would write lines of a level; None if there is no asking.

    Asked of its class, since structlog's generic logger answers to every name: it passes the question on as a line.
    """
    kind = type(logger)
    return next((getattr(logger, name) for name in ("is_enabled_for", "isEnabledFor") if hasattr(kind, name)), None)


def _at_once(logger: Any) -> Any:
    """Return *logger*, or if its methods are coroutines (structlog's `AsyncBoundLogger`) the one that it stands on."""
    return logger.sync_bl if hasattr(type(logger), "sync_bl") else logger


def hear(event: Event) -> None:
    """Write the line that *event* is worth, if any."""
    _tell(event, enabled, write)


def _tell(event: Event, enabled: Callable[[int], bool], write: Callable[[int, str, Mapping[str, Any]], None]) -> None:
    entry = _LINES.get(type(event))
    if entry is None:
        if not isinstance(event, events.Phase):
            return
        entry = (DEBUG, _phase)
    level, describe = entry
    if type(event) is events.CircuitChanged and event.new not in {"open", "isolated"}:
        level = INFO
    if enabled(level):
        text, fields = describe(event)
        write(level, text, {**fields, **_where(event)})


def write(level: int, text: str, fields: Mapping[str, Any]) -> None:
    """Write one line of *level*: *text* and *fields*, None among them left out."""
    said = {name: value for name, value in fields.items() if value is not None}
    if _structured():
        getattr(log.bound(), logging.getLevelName(level).lower())(text, **said)
    else:
        _standard(standard_log, level, text, said)


def _standard(logger: Any, level: int, text: str, said: Mapping[str, Any]) -> None:
    tail = " ".join(f"{name}={_short(value)}" for name, value in said.items())
    extra = {name: value for name, value in said.items() if name not in _TAKEN}
    logger.log(level, "%s: %s", text, tail, extra=extra)


class OwnLog:
    """Lines to *logger*, structlog's or standard, instead of the one that the application has for all."""

    __slots__ = ("_asked", "_logger", "_standard")

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._standard = isinstance(logger, (logging.Logger, logging.LoggerAdapter))
        self._asked = _question(_at_once(logger))

    def hear(self, event: Event) -> None:
        """Write the line that *event* is worth, if any."""
        _tell(event, self._enabled, self._write)

    def _enabled(self, level: int) -> bool:
        return self._asked is None or bool(self._asked(level))

    def _write(self, level: int, text: str, fields: Mapping[str, Any]) -> None:
        said = {name: value for name, value in fields.items() if value is not None}
        if self._standard:
            _standard(self._logger, level, text, said)
        else:
            lazy = type(self._logger).__name__ == "BoundLoggerLazyProxy"
            logger = _at_once(self._logger.bind() if lazy else self._logger)
            getattr(logger, logging.getLevelName(level).lower())(text, **said)


def broken(sink: Any, error: BaseException) -> None:
    """Tell once that *sink* raised *error*, which is as far as the error gets."""
    owner = getattr(sink, "__self__", None)
    name = getattr(sink, "__qualname__", type(sink).__qualname__)
    if not log.once(f"{name} {id(owner) if owner is not None else id(sink)}"):
        return
    text = f"{name} raised and was passed over (told once)"
    try:
        if _structured():
            # Not as `exc_info`: its console shows the variables of each frame, and a sink's may be prompts.
            log.bound().error(text, traceback="".join(traceback.format_exception(error)))
            return
    except Exception:  # noqa: BLE001, S110 - then that is what is broken
        pass
    standard_log.error(text, exc_info=error)


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _where(event: Event) -> dict[str, Any]:
    """Return the names by which a line is found from its trace, its call and its session, and the other way round."""
    call = event.call
    if call is None:
        return {}
    hearing = call.run.facts
    context = (get_current_span() if hearing is None else hearing.span).get_span_context()
    if not context.is_valid:  # we make no spans: the application's own
        context = get_current_span().get_span_context()
    return {
        "call_id": call.run.id,
        "session_id": None if hearing is None else hearing.session,
        "trace_id": f"{context.trace_id:032x}" if context.is_valid else None,
        "span_id": f"{context.span_id:016x}" if context.is_valid else None,
    }


# ------------------------------------------------------------------ one function a kind of line


def _name(event: Event) -> str | None:
    return None if event.call is None else event.call.name


def _phase(event: events.Phase) -> Line:
    seconds = event.at - event.started_at
    return event.name, {"call": _name(event), "layer": event.layer, "seconds": seconds, **event.attributes}


def _attempt_finished(event: events.AttemptFinished) -> Line:
    attempt = event.attempt
    return f"attempt {attempt.outcome}", {
        "call": _name(event),
        "attempt": attempt.number,
        "seconds": event.at - attempt.started_at,
        "status": attempt.status,
        "error": None if attempt.error is None else type_name(attempt.error),
    }


def _first_item(event: events.FirstItem) -> Line:
    return "first item", {"call": _name(event), "attempt": event.attempt.number, "seconds": event.latency}


def _call_finished(event: events.CallFinished) -> Line:
    return f"call {event.outcome}", {
        "call": _name(event),
        "seconds": event.latency,
        "attempts": None if event.call is None else len(event.call.run.attempts),
        "error": None if event.error is None else type_name(event.error),
    }


def _backed_off(event: events.BackedOff) -> Line:
    return "retry", {
        "call": _name(event),
        "attempt": event.attempt,
        "delay": event.delay,
        "source": event.source,
        "cause": None if event.cause is None else type_name(event.cause),
    }


def _rejected(event: events.CallRejected) -> Line:
    return "call rejected", {
        "call": _name(event),
        "layer": event.layer,
        "error": type_name(event.error),
        "retry_after": event.error.retry_after,
    }


def _circuit_changed(event: events.CircuitChanged) -> Line:
    return f"circuit {event.new}", {"layer": event.layer, "was": event.old, "reason": event.reason}


def _store_changed(event: events.StoreChanged) -> Line:
    return f"store {event.state}", {"store": event.store, "policy": event.policy, "reason": event.reason or None}


def _limit_paused(event: events.LimitPaused) -> Line:
    return "limit paused", {"layer": event.layer, "seconds": event.seconds, "source": event.source}


def _error_rate_high(event: events.ErrorRateHigh) -> Line:
    return "error rate high", {
        "session": event.session,
        "rate": event.rate,
        "calls": event.calls,
        "threshold": event.threshold,
    }


def _not_cached(event: events.NotCached) -> Line:
    return "not cached", {"call": _name(event), "layer": event.layer, "reason": event.reason}


def _sdk_retries(event: events.SdkRetries) -> Line:
    return "the provider's SDK retries under our retries: give its client max_retries=0", {"retries": event.retries}


def _fell_back(event: events.FellBack) -> Line:
    return "fallback", {
        "call": _name(event),
        "layer": event.layer,
        "failed": event.failed,
        "to": event.to,
        "cause": type_name(event.cause),
    }


def _passed_over(event: events.PassedOver) -> Line:
    return "deployment passed over", {
        "call": _name(event),
        "layer": event.layer,
        "deployment": event.deployment,
        "cause": type_name(event.cause),
    }


def _budget_spent(event: events.BudgetSpent) -> Line:
    left = {f"{unit}_left": limit - event.spent[unit] for unit, limit in event.limit.items()}
    return "budget spent", {"call": _name(event), "layer": event.layer, "basis": event.basis, **left}


def _adapted(event: events.RateAdapted | events.BoundAdapted) -> Line:
    what = "rate" if isinstance(event, events.RateAdapted) else "bound"
    return f"{what} adapted", {"layer": event.layer, "was": event.old, "now": event.new, "reason": event.reason}


def _hedge_sent(event: events.HedgeSent) -> Line:
    return "hedge sent", {"call": _name(event), "attempt": event.attempt.number, "after": event.delay}


def _hedge_lost(event: events.HedgeLost) -> Line:
    return "attempt lost to another", {"call": _name(event), "attempt": event.attempt.number}


def _coalesced(event: events.Coalesced) -> Line:
    return "call coalesced", {"call": _name(event), "layer": event.layer, "waited": event.waited}


def _config_reloaded(event: events.ConfigReloaded) -> Line:
    said = {"source": event.source, "changed": ", ".join(event.changed) or "nothing"}
    return f"pipelines of {event.source} read again", said | ({"warnings": event.warnings} if event.warnings else {})


def _config_rejected(event: events.ConfigRejected) -> Line:
    return f"{event.source} cannot be used, so that all stays as it was", {"error": str(event.error)}


_LINES: Final[dict[type[Event], tuple[int, Callable[[Any], Line]]]] = {
    events.AttemptFinished: (DEBUG, _attempt_finished),
    events.FirstItem: (DEBUG, _first_item),
    events.CallFinished: (INFO, _call_finished),
    events.BackedOff: (WARNING, _backed_off),
    events.CallRejected: (WARNING, _rejected),
    events.CircuitChanged: (WARNING, _circuit_changed),
    events.LimitPaused: (WARNING, _limit_paused),
    events.StoreChanged: (WARNING, _store_changed),
    events.ConfigReloaded: (INFO, _config_reloaded),
    events.ConfigRejected: (WARNING, _config_rejected),
    events.ErrorRateHigh: (WARNING, _error_rate_high),
    events.NotCached: (WARNING, _not_cached),
    events.SdkRetries: (WARNING, _sdk_retries),
    events.HedgeSent: (DEBUG, _hedge_sent),
    events.HedgeLost: (DEBUG, _hedge_lost),
    events.Coalesced: (DEBUG, _coalesced),
    events.RateAdapted: (DEBUG, _adapted),
    events.BoundAdapted: (DEBUG, _adapted),
    events.FellBack: (WARNING, _fell_back),
    events.PassedOver: (WARNING, _passed_over),
    events.BudgetSpent: (DEBUG, _budget_spent),
}
