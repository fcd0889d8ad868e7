"""Gauges: what layers hold when somebody looks, whoever looks and whenever."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from measured import Collected
from sluiceway import (
    CircuitOpen,
    Deployment,
    Pipeline,
    bounded,
    budgeted,
    circuit_breaker,
    hints,
    rate_limited,
    routed,
    telemetry,
)
from sluiceway.layers.bounded import BoundSnapshot
from sluiceway.telemetry import metrics, seen
from sluiceway.telemetry.levels import Level, levels_of
from sluiceway.testing.openai_shapes import completion, openai_error
from spies import Passing


@pytest.fixture
def collected(monkeypatch):
    """Collect every call's metrics; prices stay unread."""
    monkeypatch.setattr(metrics, "load_soon", lambda: None)
    found = Collected()
    telemetry.configure(meter_provider=found.provider)
    return found


def values(points):
    """The values by their labels, the call's name left out."""
    return {tuple(sorted(each for each in labels.values() if each != "ask")): value for labels, value in points}


async def answer(*_, **__):
    await asyncio.sleep(1)
    return completion(prompt_tokens=10, completion_tokens=3)


async def test_limits_show_what_is_left_now_and_not_at_the_last_call(collected):
    """A bucket that refilled since the last call shows full: an idle service does not look spent."""
    ask = Pipeline(rate_limited(rpm=60, burst="10s"), name="ask")(answer)
    await asyncio.gather(*(ask() for _ in range(5)))
    busy = values(collected.points("rate_limit.available"))
    await asyncio.sleep(60)
    assert {("rate_limited", "rpm"): 60} == values(collected.points("rate_limit.limit"))
    assert 5.5 < busy["rate_limited", "rpm"] < 7
    assert {("rate_limited", "rpm"): pytest.approx(10)} == values(collected.points("rate_limit.available"))


async def test_bounds_and_queues_show_who_is_inside_and_who_waits(collected):
    """While three calls come to two places, one waits; afterwards nobody does."""
    ask = Pipeline(bounded(2), name="ask")(answer)
    calls = [asyncio.ensure_future(ask()) for _ in range(3)]
    await asyncio.sleep(0.5)
    gauges = ("concurrency.limit", "concurrency.in_flight", "queue.depth")
    assert [2, 2, 1] == [value for gauge in gauges for _, value in collected.points(gauge)]
    await asyncio.gather(*calls)
    assert [2, 0, 0] == [value for gauge in gauges for _, value in collected.points(gauge)]


async def test_a_circuit_shows_its_state(collected):
    """0 while it is closed, 3 once it opened."""

    @Pipeline(circuit_breaker(min_calls=2), name="ask")
    async def ask():
        raise openai_error(503)

    states = []
    for _ in range(3):
        with pytest.raises(Exception, match=r"503|open"):
            await ask()
        states += [value for _, value in collected.points("circuit_breaker.state")]
    with pytest.raises(CircuitOpen):
        await ask()
    assert [0, 3, 3] == states


async def test_a_budget_shows_its_limit_and_what_is_left(collected):
    """By unit: a share can be computed and an alert set."""
    await Pipeline(budgeted(tokens=1000), name="ask")(answer)(model="gpt-4o-mini")
    assert {("budgeted", "tokens"): 1000} == values(collected.points("budget.limit"))
    assert {("budgeted", "tokens"): 987} == values(collected.points("budget.left"))


async def test_of_keys_the_tightest_is_shown_and_never_its_name(collected):
    """Waiting calls are added up; places are those of the fullest key."""
    ask = Pipeline(bounded(2, by=lambda call: call.hints.tenant), name="ask")(answer)

    async def of(tenant):
        with hints(tenant=tenant):
            await ask()

    calls = [asyncio.ensure_future(of(tenant)) for tenant in ("a", "b", "b", "b", "c", "c", "c", "c")]
    await asyncio.sleep(0.5)
    points = [collected.points(name) for name in ("concurrency.in_flight", "queue.depth")]
    assert [[({"name": "ask", "layer": "bounded"}, n)] for n in (2, 3)] == points
    await asyncio.gather(*calls)


async def test_deployments_have_levels_of_their_own(collected):
    """The layers inside a `routed` stand under the deployment's name; a second layer of a kind gets a number."""
    east = Deployment("east", layers=[bounded(3)])
    west = Deployment("west", layers=[bounded(5), bounded(7)])
    await Pipeline(bounded(9), routed(east, west), name="ask")(answer)()
    assert {("bounded",): 9, ("bounded", "east"): 3, ("bounded", "west"): 5, ("bounded 2", "west"): 7} == values(
        collected.points("concurrency.limit")
    )


async def test_a_layer_that_many_share_is_asked_once_in_a_look(collected):
    """A limit with a thousand keys behind a hundred functions is read once, and shown for each of them."""
    asked = []

    class Counting(Passing):
        def snapshot(self):
            asked.append(self)
            return BoundSnapshot(None, 1, 2, 0)

    shared = Counting()
    for name in ("one", "two", "three"):
        await Pipeline(shared, name=name)(answer)()
    assert 3 == len(collected.points("concurrency.limit"))
    assert [shared] == asked


async def test_a_layer_that_cannot_tell_is_passed_over(collected, info):
    """Its neighbours are shown all the same, and the log says once whose snapshot failed."""

    class Mute(Passing):
        def snapshot(self):
            raise RuntimeError("not now")

    await Pipeline(Mute(), bounded(2), name="ask")(answer)()
    for _ in range(2):
        assert [({"name": "ask", "layer": "bounded"}, 2)] == collected.points("concurrency.limit")
    assert 1 == len([line for line in info.records if "Mute.snapshot raised" in line.getMessage()])


async def test_configuring_the_same_provider_again_goes_on_with_the_same_gauges(collected):
    """A gauge takes its callback once: a second set of instruments would never be asked."""
    telemetry.configure(meter_provider=collected.provider, detail="compact")
    await Pipeline(bounded(2), name="ask")(answer)()
    assert [({"name": "ask", "layer": "bounded"}, 2)] == collected.points("concurrency.limit")


async def test_layers_of_one_name_take_turns_and_names_are_bounded(collected, monkeypatch):
    """The newest pipeline of a name is shown; names beyond the bound are not, so that nothing grows for ever."""
    monkeypatch.setattr(seen, "MOST", 1)
    for limit in (2, 4):
        await Pipeline(bounded(limit), name="ask")(answer)()
    await Pipeline(bounded(9), name="another")(answer)()
    assert [({"name": "ask", "layer": "bounded"}, 4)] == collected.points("concurrency.limit")


def test_of_budgets_the_key_with_the_least_share_left_is_shown():
    """By share, not by amount: 10 of 1,000 is less than 5 of 10."""

    class Shot:
        def __init__(self, limit, left):
            self.limit, self.left = {"usd": limit}, {"usd": left}

    unit = {"sluiceway.budget.unit": "usd"}
    expected = [Level("budget.limit", 1000, unit), Level("budget.left", 10, unit)]
    for shots in ((Shot(1000, 10), Shot(10, 5)), (Shot(10, 5), Shot(1000, 10))):
        assert expected == levels_of(shots)


# ------------------------------------------------------------------ from another thread


@pytest.mark.real
async def test_another_thread_looks_from_inside_the_event_loop():
    """A scraper's thread has the loop look: layers are touched by one thread only."""
    where = await asyncio.to_thread(seen.in_loop, asyncio.get_running_loop(), threading.get_ident)
    assert threading.get_ident() == where
    assert threading.get_ident() == seen.in_loop(asyncio.get_running_loop(), threading.get_ident)


@pytest.mark.real
async def test_an_error_there_is_raised_here():
    """Not in the loop, which has nothing to do with it."""

    def fails():
        raise KeyError("no")

    with pytest.raises(KeyError):
        await asyncio.to_thread(seen.in_loop, asyncio.get_running_loop(), fails)


@pytest.mark.real
async def test_a_loop_that_is_blocked_does_not_block_the_scraper(monkeypatch):
    """After its patience it looks from where it is."""
    monkeypatch.setattr(seen, "PATIENCE", 0.01)
    done = threading.Event()
    found = []

    def look():
        found.append(seen.in_loop(loop, threading.get_ident))
        done.set()

    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=look)
    thread.start()
    assert done.wait(20)  # which blocks this loop
    thread.join()
    assert [thread.ident] == found


@pytest.mark.real
async def test_a_blocked_loop_is_waited_for_once_and_not_for_each_function(collected, monkeypatch):
    """A scraper gives up after its timeout: patience is for the loop, however many functions run in it."""
    waits = []
    monkeypatch.setattr(seen, "in_loop", lambda loop, look: [waits.append(loop), look()][1])
    for name in ("one", "two", "three"):
        await Pipeline(bounded(2), name=name)(_soon)()
    assert 3 == len(collected.points("concurrency.limit"))
    assert [asyncio.get_running_loop()] == waits


async def _soon():
    return None


@pytest.mark.real
def test_a_loop_that_has_ended_is_not_waited_for():
    """Between two runs of `asyncio.run`, layers are shown as of the last call."""
    loop = asyncio.new_event_loop()
    loop.close()
    before = time.monotonic()
    assert 3 == seen.in_loop(loop, lambda: 3)
    assert time.monotonic() - before < seen.PATIENCE
