"""Whether finished spans may take the shorter way of `handover`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span, Tracer

    from .handover import Handover

_PLAIN: Final = frozenset({str, int, float, bool})


class Shortcut:
    """Decides it for the spans of one tracer, anew only when its provider or its processors are others.

    The SDK is imported, through `handover`, only when one of its own spans asks.
    """

    __slots__ = ("_generate", "_handover", "_processors", "_sampler", "_tracer")

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._processors: object = None
        self._sampler: object = None
        self._generate: Any = None
        self._handover: type[Handover] | None = None

    def handover(self, span: Span) -> Handover | None:
        """Return the shorter way for children of the recording *span*; None if there is none."""
        try:
            processors = span._span_processor._span_processors  # type: ignore[attr-defined]  # noqa: SLF001 - see `handover`
            sampler = span._sampler  # type: ignore[attr-defined]  # noqa: SLF001 - likewise
            if processors is not self._processors or sampler is not self._sampler:
                self._judge(span, processors, sampler)
            return None if self._handover is None else self._handover(span, self._generate)
        except (AttributeError, ImportError):  # another SDK, or another version of this one
            return None

    def _judge(self, span: Span, processors: tuple[Any, ...], sampler: object) -> None:
        from .handover import Handover, makes_no_difference  # noqa: PLC0415 - brings the SDK

        self._handover = None
        self._processors = processors
        self._sampler = sampler
        tracer: Any = getattr(self._tracer, "_tracer", self._tracer)  # behind the API's proxy
        self._generate = tracer.id_generator.generate_span_id
        if makes_no_difference(span, processors):
            self._handover = Handover


def plain(attributes: Mapping[str, Any]) -> bool:
    """Whether the SDK would take *attributes* as they are."""
    return all(type(value) in _PLAIN for value in attributes.values())
