"""What a trace, and a session, show of attempts that raced."""

from __future__ import annotations

import asyncio

from sluiceway import Pipeline, Session, bounded, coalesced, fallback, hedged, timed
from sluiceway.telemetry import conventions as names
from sluiceway.testing import ScriptedProvider, after, completion, stream

SECOND = 1_000_000_000


async def test_attempts_that_race_are_siblings(spans):
    """Under the call, side by side in time, the loser marked as cancelled and not as failed."""
    ask = ScriptedProvider(after(10, "slow"), after(0.5, "fast"))
    assert "fast" == await Pipeline(hedged(1.0), bounded(5), name="ask")(ask)()
    call = spans.one("call ask")
    (tree,) = spans.tree()
    assert ("call ask", ["hedge check", "bounded wait", "attempt 1", "bounded wait", "attempt 2"]) == tree
    first, second = spans.one("attempt 1"), spans.one("attempt 2")
    assert (1.5, 0.5) == tuple(round((each.end_time - each.start_time) / SECOND, 3) for each in (first, second))
    assert "cancelled" == first.attributes[names.ATTEMPT_OUTCOME]
    assert first.status.is_ok is call.status.is_ok is True
    assert ["hedge sent", "attempt lost to another"] == [event.name for event in call.events]
    assert [2, 1] == [event.attributes[names.ATTEMPT_NUMBER] for event in call.events]
    assert 2 == call.attributes[names.CALL_ATTEMPTS]


async def test_streams_that_race_are_siblings_too(spans):
    """The winner's span lasts until its last item."""
    ask = ScriptedProvider(stream([1], first=10), stream([2, 3], first=0.5, gap=1))
    assert [2, 3] == [item async for item in await Pipeline(hedged(1.0), name="ask")(ask)()]
    assert [("call ask", ["hedge check", "attempt 1", "attempt 2"])] == spans.tree()
    second = spans.one("attempt 2")
    assert 1.5 == round((second.end_time - second.start_time) / SECOND, 3)


async def test_a_session_counts_what_hedges_cost():
    """Every attempt, and of those that lost what they reported."""
    ask = ScriptedProvider(
        after(1.25, completion("slow", prompt_tokens=7, completion_tokens=5)),
        after(5, completion("hedge", prompt_tokens=7, completion_tokens=5)),
    )
    async with Session() as session:
        await hedged(1.0)(ask)()
    stats = session.stats
    assert (1, 2, 1, 1) == (stats.calls, stats.attempts, stats.hedges, stats.wasted_attempts)
    assert (12, 0) == (stats.tokens.total, stats.wasted.total)
    assert 1 == stats.to_dict()["hedges"]


async def test_tokens_of_a_loser_that_answered_all_the_same_are_wasted():
    """They were paid for: a provider that would not be cancelled."""
    begun = []

    async def ask():
        begun.append(None)
        if len(begun) == 1:
            await asyncio.sleep(1.5)
            return completion("first", prompt_tokens=1, completion_tokens=2)
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return completion("stubborn", prompt_tokens=7, completion_tokens=5)

    async with Session() as session:
        await hedged(1.0)(ask)()
    stats = session.stats
    assert (2, 1, 15, 12) == (stats.attempts, stats.wasted_attempts, stats.tokens.total, stats.wasted.total)


async def test_what_outlives_its_call_leaves_the_calls_span_alone(spans, caplog):
    """Others go on with a flight whose first caller left, and what happens to it then is no part of that span."""
    ask = ScriptedProvider(after(1, ConnectionError()))
    other = ScriptedProvider(after(10, "slow"), after(0.5, "fast"))
    layers = (coalesced(), fallback(hedged(1.0)(other)), timed("60s"))
    shared = Pipeline(*layers, name="shared")(ask)
    first, second = asyncio.create_task(shared()), asyncio.create_task(shared())
    await asyncio.sleep(0.5)
    first.cancel()
    assert "fast" == await second
    assert 2 == spans.names().count("call shared")
    assert [record.getMessage() for record in caplog.records if record.name.startswith("opentelemetry")] == []
