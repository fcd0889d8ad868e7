"""What single functions say about their telemetry, beside what is configured for all."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from .configuration import style
from .logs import OwnLog
from .metrics import Metering
from .spans import Tracing, tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from sluiceway.events import Sink


class Observing(Protocol):
    """A layer that says something about the telemetry of the calls through it."""

    observation: Observation


watched: Final[set[type]] = set()
"""The classes of such layers that were ever made: while there are none, no call looks for one."""


class Observation:
    """What one such layer says, or several of one pipeline together; None is what is configured for all.

    Attributes:
        sinks: hear every event of the calls.
        metering: the instruments of a meter provider of their own.
        count: records with them.
        log: writes to a logger of their own.
    """

    __slots__ = ("_content", "_detail", "_made", "_of", "_provider", "count", "log", "metering", "sinks")

    def __init__(
        self,
        sinks: Sequence[Sink],
        detail: str | None,
        provider: TracerProvider | None,
        metering: Metering | None,
        log: OwnLog | None,
        *,
        content: bool,
    ) -> None:
        self.sinks = tuple(sinks)
        self._detail = detail
        self._provider = provider
        self._content = content
        self.metering = metering
        self.count: Sink | None = None if metering is None else metering.sink
        self.log = log
        self._made: Tracing | None = None
        self._of = -1

    @property
    def tracing(self) -> Tracing:
        """How spans are made: as configured for all, save for what is said here."""
        if self._detail is None and self._provider is None and not self._content:
            return tracing
        made = self._made
        if made is None or self._of != tracing.version:  # configured anew since
            drawn = None if self._detail is None else style(self._detail)
            self._made = made = tracing.varied(drawn, self._provider, content=self._content)
            self._of = tracing.version
        return made

    def within(self, outer: Observation) -> Observation:
        """Return what *outer* and this one, nearer to the function, say together: what both say, this one decides."""
        return Observation(
            (*outer.sinks, *self.sinks),
            self._detail or outer._detail,
            self._provider or outer._provider,
            self.metering or outer.metering,
            self.log or outer.log,
            content=self._content or outer._content,
        )


def observation(
    sink: Sink | None,
    detail: str | None,
    tracer_provider: TracerProvider | None,
    meter_provider: MeterProvider | None,
    logger: Any,
    *,
    capture_content: bool,
) -> Observation:
    """Return what is said by these settings; see `sluiceway.observed`."""
    metering = None
    if meter_provider is not None:
        metering = Metering()
        metering.set(provider=meter_provider, on=True)
    return Observation(
        () if sink is None else (sink,),
        detail,
        tracer_provider,
        metering,
        None if logger is None else OwnLog(logger),
        content=capture_content,
    )


def observation_of(layers: Sequence[Any]) -> Observation | None:
    """Return what the observed ones among *layers*, outermost first, say together; None if there is none."""
    said = tuple(layer.observation for layer in layers if type(layer) in watched)
    return said[0] if len(said) == 1 else _together(said) if said else None


@lru_cache(maxsize=256)
def _together(said: tuple[Observation, ...]) -> Observation:
    together = said[0]
    for inner in said[1:]:
        together = inner.within(together)
    return together
