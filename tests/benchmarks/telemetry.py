"""What telemetry costs a call, against what it may: idle, spans sampled out and recorded, metrics, log lines.

One run, in rounds; what is told is what a call costs more than the same call with telemetry taken out. The call is one
through five layers: a call, five phases and an attempt are seven spans. Exits with 1 where even the quietest quarter of
the rounds passes a limit.
"""

import asyncio
import logging
import statistics
import sys

import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from rounds import pin, rounds

from sluiceway import Pipeline, bounded, circuit_breaker, rate_limited, retry_jitter, telemetry, timed
from sluiceway.running import switch
from sluiceway.telemetry.otlp import batched

SPANS = 7
LAYERS = 5


class Nowhere(SpanExporter):
    """Takes the batches and drops them."""

    def export(self, spans):
        return SpanExportResult.SUCCESS


def provider(sampler=None):
    made = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    made.add_span_processor(batched(Nowhere()))
    return made


RECORDING, SAMPLED_OUT = provider(), provider(sampling.ALWAYS_OFF)
METERED = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
LOG = logging.getLogger("sluiceway")
OBSERVE = switch.observe


async def trivial():
    return 1


def through(configure):
    """Return the call through five layers, which has everything *configured* at its first turn of a round."""
    call = Pipeline(
        timed(60), retry_jitter(5), bounded(10**6), rate_limited(rpm=6e10), circuit_breaker(), name="trivial"
    )(trivial)

    async def configured():
        if current[0] is not configured:
            current[0] = configured
            put_back()
            configure()
        return await call()

    return configured


current = [None]


def put_back():
    switch.observe = OBSERVE
    telemetry.configure()
    LOG.setLevel(logging.NOTSET)
    LOG.handlers = [logging.NullHandler()]
    structlog.reset_defaults()


def nobody():
    switch.observe = lambda run, call: None


def idle():
    """Leave it as an import leaves it."""


def sampled_out():
    telemetry.configure(tracer_provider=SAMPLED_OUT)


def recording(detail):
    return lambda: telemetry.configure(tracer_provider=RECORDING, detail=detail)


def metrics():
    telemetry.configure(meter_provider=METERED)


def logs():
    class Nothing(logging.Handler):
        def emit(self, record):
            self.format(record)

    LOG.setLevel(logging.INFO)
    LOG.handlers = [Nothing()]


def structured():
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.testing.CapturingLogger(),
        cache_logger_on_first_use=True,
    )


BASE = "telemetry taken out"
VARIANTS = {
    BASE: nobody,
    "idle": idle,
    "sampled out": sampled_out,
    "recording, full": recording("full"),
    "recording, compact": recording("compact"),
    "recording, nested": recording("nested"),
    "metrics": metrics,
    "a log line, standard": logs,
    "a log line, structlog": structured,
}
MOST = {"idle": 2.0, "recording, full": 25.0 * SPANS, "metrics": 10.0}
"""Microseconds a call."""


async def main():
    measured = await rounds(
        {name: through(configure) for name, configure in VARIANTS.items()},
        calls=400,
        repeats=45,
        between=RECORDING.force_flush,
    )
    spans = {"recording, full": SPANS, "recording, compact": SPANS - LAYERS, "recording, nested": SPANS}
    print(f"Telemetry of a call through {LAYERS} layers: us CPU more than without any, by round")
    print(f"{'':24}{'median':>8}{'quarter':>9}{'a span':>9}   at most")
    late = []
    for name, values in measured.items():
        added = [value - base for value, base in zip(values, measured[BASE], strict=True)]
        median, quarter = statistics.median(added), statistics.quantiles(added, n=4)[0]
        if name == BASE:
            least = statistics.quantiles(values, n=4)[0]
            print(f"{name:24}{statistics.median(values):8.2f}{least:9.2f}            (the call itself)")
            continue
        each = f"{median / spans[name]:9.2f}" if name in spans else " " * 9
        limit = MOST.get(name)
        print(f"{name:24}{median:8.2f}{quarter:9.2f}{each}   {'' if limit is None else f'{limit:g}'}")
        if limit is not None and quarter > limit:
            late.append(name)
    put_back()
    if late:
        print(f"over the limit: {', '.join(late)}")
        sys.exit(1)


pin()
asyncio.run(main())
