"""The numbers of several actors are those of one session that had done it all."""

from __future__ import annotations

import asyncio
import json

from sluiceway import Pipeline, Session, bounded, retry_jitter
from sluiceway.backends.ray.totals import total
from sluiceway.telemetry.sketch import Latency
from sluiceway.testing import completion, openai_error

ask_through = Pipeline(retry_jitter(2), bounded(2))
ADDED = (
    *("calls", "succeeded", "failed", "attempts", "retries", "in_flight", "tokens", "cost", "unpriced", "unmetered"),
    *("errors", "attempt_errors", "refusals", "cache_hits", "hedges", "possibly_billed"),
)


async def stats_of(prompts):
    async with Session("part") as session:

        @ask_through
        async def ask(prompt):
            await asyncio.sleep(len(prompt))
            if prompt == "bad":
                raise openai_error(400)
            return completion(prompt, model="gpt-4o-mini")

        await session.gather(ask, prompts)
        return session.stats


async def test_counts_tokens_money_and_waits_are_added_up():
    """As one session counts the same calls."""
    parts = [await stats_of(["a", "bbb", "bad"]), await stats_of(["cc", "bad", "dddd"])]
    whole = await stats_of(["a", "bbb", "bad", "cc", "bad", "dddd"])
    travelled = [json.loads(json.dumps(part.to_dict())) for part in parts]
    added = total("batch", 10.0, Latency(5, 1.0), travelled)
    for name in ADDED:
        assert getattr(whole, name) == getattr(added, name), name
    assert ("batch", 10.0, Latency(5, 1.0), 0.4) == (added.name, added.elapsed, added.latency, added.throughput)
    assert sum(part.waits["bounded"].seconds for part in parts) == added.waits["bounded"].seconds
    assert max(part.waits["bounded"].longest for part in parts) == added.waits["bounded"].longest
    model, one = added.by_model["gpt-4o-mini"], whole.by_model["gpt-4o-mini"]
    assert (one.calls, one.tokens, one.latency.count) == (model.calls, model.tokens, model.latency.count)
    latencies = [part.by_model["gpt-4o-mini"].latency for part in parts]
    assert max(each.max for each in latencies) == model.latency.max
    assert sum(each.mean * each.count for each in latencies) == model.latency.mean * model.latency.count


def test_nobody_s_numbers_are_none():
    """Before the first report; a table of it can be printed."""
    nothing = total("batch", 0.0, Latency(), [{}])
    assert (0, 0, None, 0.0) == (nothing.calls, nothing.tokens.total, nothing.error_rate, nothing.throughput)
    assert "session batch" in str(nothing)
