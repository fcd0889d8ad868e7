"""How much there is to send, store and pay for: spans and bytes of a call, by detail and sampling.

A thousand calls through five layers, at most a hundred at a time so that most of them wait, one attempt in ten failing.
The spans are encoded as the OTLP exporter does. A day is one of ten calls a second.
"""

import asyncio
import gzip
import random
import time

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from rounds import pin

from sluiceway import Pipeline, Session, bounded, circuit_breaker, rate_limited, retry_jitter, telemetry, timed
from sluiceway.telemetry.otlp import BATCH, QUEUE
from sluiceway.telemetry.setting_up import sampling
from sluiceway.testing.openai_shapes import completion, openai_error

CALLS = 1_000
A_DAY = 10 * 86_400


class Kept(SpanProcessor):
    def __init__(self):
        self.spans = []

    def on_end(self, span):
        if span.context.trace_flags.sampled:
            self.spans.append(span)


async def thousand():
    weather = random.Random(7)
    layers = Pipeline(
        timed("60s"),
        retry_jitter(5, base="5ms", budget=False),
        bounded(100),
        rate_limited(rpm=6e6),
        circuit_breaker(failure_ratio=0.9),
        name="summarize",
    )

    @layers
    async def ask(_):
        await asyncio.sleep(0.005)
        if weather.random() < 0.1:
            raise openai_error(503)
        return completion("fine")

    async with Session() as session:
        await session.gather(ask, range(CALLS))
        return session.stats


async def main():
    print(f"{CALLS:,} calls, bounded to 100 at a time, one attempt in ten failing; a day of 10 calls a second")
    print(f"{'detail':10}{'sampled':>8}{'spans a call':>14}{'bytes a call':>14}{'gzipped':>9}", end="")
    print(f"{'us to encode':>14}{'spans a day':>14}{'GB a day':>10}")
    for detail, share in (("full", 1), ("compact", 1), ("nested", 1), ("full", 0.1), ("compact", 0.1), ("full", 0.01)):
        kept = Kept()
        provider = TracerProvider(sampler=sampling(share), shutdown_on_exit=False)
        provider.add_span_processor(kept)
        telemetry.configure(tracer_provider=provider, detail=detail)
        stats = await thousand()
        started = time.process_time()
        body = b"".join(
            encode_spans(kept.spans[at : at + BATCH]).SerializeToString() for at in range(0, len(kept.spans), BATCH)
        )
        encoding = (time.process_time() - started) * 1e6 / CALLS
        spans, size = len(kept.spans) / CALLS, len(body) / CALLS
        print(f"{detail:10}{share:8.0%}{spans:14.2f}{size:14,.0f}{len(gzip.compress(body)) / CALLS:9,.0f}", end="")
        print(f"{encoding:14.1f}{spans * A_DAY:14,.0f}{size * A_DAY / 1e9:10.2f}")
        if stats.calls != CALLS:
            raise SystemExit(f"{stats.calls} calls counted: statistics must not be sampled")
        if (detail, share) == ("full", 1):
            burst = int(QUEUE / spans)
    print(f"The queue of {QUEUE:,} spans holds {burst:,} such calls that end before the exporter has sent anything.")


pin()
asyncio.run(main())
