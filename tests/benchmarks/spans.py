"""What a trace costs: a call, five phases and an attempt, beside the same seven spans nested by hand, in one run.

Two bare SDK spans with four attributes, which is all of `detail="compact"`, cost 0.21 of the seven on their own.
"""

import asyncio

from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind
from rounds import pin, rounds, show

from sluiceway import Pipeline, bounded, circuit_breaker, rate_limited, retry_jitter, telemetry, timed

NAIVE = "nested by hand"
UNTRACED = "no tracer provider"


class Nowhere(SpanExporter):
    """Takes the batches and drops them: the exporter's own cost is the same for everybody."""

    def export(self, spans):
        return SpanExportResult.SUCCESS


def provider(sampler=None):
    made = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=1 << 17, max_export_batch_size=512))
    return made


RECORDING, SAMPLED_OUT = provider(), provider(sampling.ALWAYS_OFF)


async def trivial():
    return 1


PHASES = (  # what our layers say
    ("timed", {"sluiceway.timed.elapsed": 0.1, "sluiceway.timed.limit": 60.0}),
    ("retry check", {"sluiceway.retry.attempts": 1, "sluiceway.retry.reason": "succeeded"}),
    (
        "bounded wait",
        {"sluiceway.bounded.limit": 30, "sluiceway.bounded.in_flight": 1, "sluiceway.queue.depth": 0},
    ),
    (
        "rate limit wait",
        {
            "sluiceway.rate_limit.requested": 1.0,
            "sluiceway.rate_limit.remaining": 9.0,
            "sluiceway.rate_limit.limit": 500.0,
            "sluiceway.rate_limit.unit": "requests",
            "sluiceway.queue.depth": 0,
        },
    ),
    ("circuit check", {"sluiceway.circuit_breaker.state": "closed"}),
)
CALL = {
    "sluiceway.call.name": "trivial",
    "sluiceway.call.id": "1",
    "sluiceway.call.outcome": "ok",
    "sluiceway.call.attempts": 1,
}


def by_hand(tracer):
    """Return the coroutine in seven spans, each the current one around the next, as a first version is written."""

    async def attempt():
        with tracer.start_as_current_span("attempt 1", kind=SpanKind.CLIENT):
            return await trivial()

    def around(proceed, name, attributes):
        async def phase():
            with tracer.start_as_current_span(name) as span:
                for key, value in attributes.items():
                    span.set_attribute(key, value)
                return await proceed()

        return phase

    inner = attempt
    for name, attributes in reversed([("call trivial", CALL), *PHASES]):
        inner = around(inner, name, attributes)
    return inner


def ours(**settings):
    """Return the five layers around the coroutine, and configure them at each call of another variant."""
    call = Pipeline(
        timed(60), retry_jitter(5), bounded(10**6), rate_limited(rpm=6e10), circuit_breaker(), name="trivial"
    )(trivial)

    async def configured():
        if current[0] is not configured:
            current[0] = configured
            telemetry.configure(**settings)
        return await call()

    return configured


current = [None]


def flush():
    RECORDING.force_flush()


async def main():
    variants = {
        NAIVE: by_hand(RECORDING.get_tracer("by hand")),
        "nested by hand, sampled out": by_hand(SAMPLED_OUT.get_tracer("by hand")),
        "bare await": trivial,
        UNTRACED: ours(),
        "sampled out (at most 6 us more)": ours(tracer_provider=SAMPLED_OUT),
        "detail='full'": ours(tracer_provider=RECORDING),
        "detail='compact'": ours(tracer_provider=RECORDING, detail="compact"),
        "detail='nested'": ours(tracer_provider=RECORDING, detail="nested"),
    }
    measured = await rounds(variants, calls=400, repeats=40, between=flush)
    show("Traces, exported in batches to nowhere; ours with five layers", measured, NAIVE)
    added = {NAIVE: less(measured[NAIVE], measured["bare await"])}
    for name in ("detail='full'", "detail='compact'", "detail='nested'"):
        added[name] = less(measured[name], measured[UNTRACED])
    show("What the trace adds (full: at most 0.85, compact: 0.3)", added, NAIVE)


def less(one, other):
    """Return what *one* costs more than *other*, round by round."""
    return [value - least for value, least in zip(one, other, strict=True)]


pin()
asyncio.run(main())
