"""`shed`: calls that would wait in vain are refused at once, and nobody else."""

from __future__ import annotations

import asyncio
import math
from asyncio import get_running_loop, sleep
from collections import Counter

import pytest

from sluiceway import (
    HIGH,
    LOW,
    Deployment,
    Fair,
    Overloaded,
    Pipeline,
    Priority,
    bounded,
    hints,
    rate_limited,
    routed,
    shed,
    timed,
)
from sluiceway.events import CallRejected, Phase
from spies import Passing


def now():
    return get_running_loop().time()


async def work(seconds=1.0):
    await sleep(seconds)
    return now()


async def said(ask, *args, **what):
    with hints(**what):
        return await ask(*args)


def start(ask, *args, **what):
    return asyncio.create_task(said(ask, *args, **what))


async def end(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# ------------------------------------------------------------------ each reason


async def test_a_call_that_nobody_is_before_passes():
    """Whatever the settings, as long as nobody waits."""
    layer = shed(max_queue=0, max_wait=0, target="1ms", interval="1ms")
    ask = layer(bounded(2)(work))
    for _ in range(3):
        await asyncio.gather(ask(), ask())
    assert (6, {}) == (layer.snapshot().admitted, layer.snapshot().refused)


async def test_more_than_max_queue_do_not_wait():
    """The error tells how many, and when there would be room, as soon as that is known."""
    layer = shed(max_queue=4)
    ask = layer(bounded(1)(work))
    tasks = [start(ask) for _ in range(5)]
    await sleep(0)
    with pytest.raises(Overloaded, match=r"4 calls would be served before it in bounded \(max_queue=4\)") as raised:
        await ask()
    assert ("shed", None) == (raised.value.layer, raised.value.retry_after)
    await sleep(1.5)
    tasks.append(start(ask))
    await sleep(0)
    with pytest.raises(Overloaded) as raised:
        await ask()
    assert 1.0 == pytest.approx(raised.value.retry_after)
    assert (6, {"max_queue": 2}) == (layer.snapshot().admitted, layer.snapshot().refused)
    await asyncio.gather(*tasks)


async def filled(layer, n=10):
    """Return a function behind *layer* with *n* waiting, a second each, and the tasks."""
    ask = Pipeline(layer, bounded(1))(work)
    tasks = [start(ask) for _ in range(n + 2)]
    await sleep(1.5)
    return ask, tasks


async def test_a_call_that_would_wait_beyond_its_deadline_is_refused_at_once():
    """Of a `timed` around it or of its hints; one with more time waits."""
    ask, tasks = await filled(shed())
    with pytest.raises(Overloaded, match=r"wait about 11 s, and its deadline is in 5 s") as raised:
        await said(ask, deadline="5s")
    assert 6.0 == pytest.approx(raised.value.retry_after)
    with pytest.raises(Overloaded, match=r"deadline is in 7 s"):
        await timed(7)(ask)()
    assert 1.5 == now()
    assert 13.0 == await said(ask, deadline="20s")
    await end(tasks)


async def test_a_call_that_would_wait_longer_than_max_wait_is_refused_at_once():
    """And let in when enough of the queue is gone."""
    ask, tasks = await filled(shed(max_wait="5s"))
    with pytest.raises(Overloaded, match=r"wait about 11 s \(max_wait=5 s\)") as raised:
        await ask()
    assert 6.0 == pytest.approx(raised.value.retry_after)
    await sleep(raised.value.retry_after)
    await ask()
    await end(tasks)


async def test_waits_of_several_layers_add_up():
    """What counts for a deadline is the wait in all of them."""
    outer, inner = bounded(2), bounded(1)
    ask = Pipeline(shed(max_wait="6.5s"), outer, inner)(work)
    tasks = [start(ask) for _ in range(7)]
    await sleep(2.5)  # 1 runs, 1 waits inside, 3 outside
    tasks.append(start(ask))
    await sleep(0)
    with pytest.raises(Overloaded, match="wait about 7"):
        await ask()
    await end(tasks)


# ------------------------------------------------------------------ a queue that stands


async def overload(layer, seconds, every, bound=None):
    """Send calls of a second each, one *every* so many seconds, through ten places; return waits and refusals."""
    waits, refused = [], []
    ask = Pipeline(layer, bound or bounded(10))(work)

    async def one():
        came = now()
        try:
            waits.append((came, await ask() - 1.0 - came))
        except Overloaded as error:
            refused.append((came, error))

    tasks = []
    while now() < seconds:
        tasks.append(asyncio.create_task(one()))
        await sleep(every)
    await asyncio.gather(*tasks)
    return waits, refused


async def test_lasting_overload_holds_the_wait_at_the_target_and_uses_all_there_is():
    """At twice the capacity half is refused, those let in wait about the target, and the places are always full."""
    waits, refused = await overload(shed(target="3s", interval="30s"), 300, 0.05)
    late = [waited for came, waited in waits if came > 100]
    assert 3.0 == pytest.approx(sum(late) / len(late), abs=1.0)
    assert max(late) < 5.0
    assert 200 * 10 == pytest.approx(len(late), rel=0.03)
    assert 200 * 10 == pytest.approx(len([1 for came, _ in refused if came > 100]), rel=0.03)
    assert all(error.retry_after is not None for _, error in refused)


async def test_without_a_target_the_wait_grows_as_long_as_the_overload_lasts():
    """Which is what the target is for."""
    waits, refused = await overload(shed(target=None), 100, 0.05)
    assert [] == refused
    assert max(waited for _, waited in waits) > 90.0


async def test_a_burst_that_drains_is_not_refused():
    """A hundred calls at once, on top of half of what the provider can do, make a long queue, and all are served."""
    layer = shed(target="3s", interval="30s")
    bound = bounded(10)
    ask = Pipeline(layer, bound)(work)
    steady = asyncio.create_task(overload(layer, 100, 0.2, bound))
    await sleep(10)
    await asyncio.gather(*(ask() for _ in range(100)))
    _, refused = await steady
    assert [] == refused


async def test_after_the_overload_nobody_is_refused():
    """As soon as the queue has drained below the target."""
    layer, bound = shed(), bounded(10)
    await overload(layer, 60, 0.05, bound)
    _, refused = await overload(layer, 120, 0.2, bound)
    assert [] == refused


async def test_a_queue_that_is_held_up_counts_as_standing():
    """When nobody has been let out for target and interval, newcomers with many before them are refused."""
    ask = Pipeline(shed(target="3s", interval="10s"), bounded(1))(work)
    tasks = [start(ask, 1.0), start(ask, 1.0), start(ask, 1e6), *(start(ask) for _ in range(9))]
    await sleep(0)
    tasks.append(start(ask))
    await sleep(10)
    tasks.append(start(ask))
    await sleep(0)
    assert not tasks[-1].done()
    await sleep(10)
    with pytest.raises(Overloaded, match=r"where for 10 s all waited longer than target=3 s"):
        await ask()
    await end(tasks)


# ------------------------------------------------------------------ whose queue


async def test_the_urgent_are_not_refused_for_those_they_pass():
    """With priorities only the calls before it count."""
    ask = Pipeline(shed(max_queue=3), bounded(1, queue=Priority()))(work)
    tasks = [start(ask, priority=LOW) for _ in range(4)]
    await sleep(0)
    with pytest.raises(Overloaded):
        await said(ask, priority=LOW)
    assert 2.0 == await said(ask, priority=HIGH)
    await end(tasks)


async def test_a_tenant_is_not_refused_for_the_flood_of_another():
    """With shares only one of each other tenant counts for each of its own."""
    ask = Pipeline(shed(max_queue=3), bounded(1, queue=Fair()))(work)
    tasks = [start(ask, tenant="a") for _ in range(4)]
    await sleep(0)
    with pytest.raises(Overloaded):
        await said(ask, tenant="a")
    assert 2.0 == await said(ask, tenant="b")
    await end(tasks)


async def test_each_key_has_its_own_queue():
    """A full one is not the other's."""
    ask = Pipeline(shed(max_queue=1), rate_limited(rps=1, by=lambda call: call.hints.tenant))(work)
    tasks = [start(ask, tenant="a") for _ in range(2)]
    await sleep(0)
    with pytest.raises(Overloaded):
        await said(ask, tenant="a")
    assert 1.0 == await said(ask, tenant="b")
    await end(tasks)


async def test_layers_elsewhere_can_be_named():
    """Those of a function inside, say; what stands in the pipeline is then not looked at."""
    limit = bounded(1)
    inner = limit(work)

    async def outer():
        return await inner()

    ask = shed(max_queue=1, of=[limit])(outer)
    tasks = [start(inner), start(inner)]
    await sleep(0)
    with pytest.raises(Overloaded):
        await ask()
    await end(tasks)


async def test_queues_of_deployments_count_as_long_as_none_of_them_takes_the_call():
    """One that is free, or whose queue is short enough, does."""
    layer = shed(max_queue=1)
    first, second = bounded(1), bounded(1)
    ask = Pipeline(layer, routed(Deployment("a", layers=[first, timed(9)]), Deployment("b", layers=[second])))(work)
    tasks = []
    for _ in range(4):
        tasks.append(start(ask))
        await sleep(0)
    assert [(1, 1), (1, 1)] == [(shot.in_flight, shot.waiting) for shot in (*first.snapshot(), *second.snapshot())]
    with pytest.raises(Overloaded, match="1 calls would be served before it in bounded"):
        await ask()
    assert {1.0, 2.0} == set(await asyncio.gather(*tasks))
    assert (4, {"max_queue": 1}) == (layer.snapshot().admitted, layer.snapshot().refused)


async def test_layers_outside_are_not_its_concern():
    """Who has passed them waits for them no more."""
    ask = Pipeline(bounded(1), shed(max_queue=0), Passing())(work)
    assert [1.0, 2.0, 3.0] == await asyncio.gather(ask(), ask(), ask())


async def test_one_object_serves_several_pipelines():
    """Each call is judged by the layers of its own."""
    layer = shed(max_queue=0)
    full, free = Pipeline(layer, bounded(1))(work), Pipeline(layer, bounded(9))(work)
    first = start(full)
    queued = bounded(1)
    await sleep(0)
    await free()
    tasks = [start(Pipeline(queued)(work)) for _ in range(2)]
    await sleep(0)
    with pytest.raises(Overloaded):
        await Pipeline(layer, queued)(work)()
    assert 2.0 == now() + 1.0
    await end([first, *tasks])


# ------------------------------------------------------------------ what it shows


async def test_it_reports_what_it_expects_and_what_it_refuses(listen):
    """A phase of no length for each call that is looked at closely, and a fact for each refusal."""
    events = listen()
    ask = Pipeline(shed(max_queue=0), bounded(1))(work)
    task = start(ask)
    other = start(bounded(1)(work))
    await sleep(0)
    blocked = [start(ask)]
    await asyncio.gather(task, other, *blocked)
    phases = [phase for phase in events(Phase) if phase.layer == "shed"]
    assert [{"sluiceway.shed.expected_wait": 0.0}] * 2 == [phase.attributes for phase in phases]
    waiting = [start(ask) for _ in range(3)]
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert Counter({float: 2, Overloaded: 1}) == Counter(type(one) for one in done)
    (refusal,) = events(CallRejected)
    assert ("shed", "Overloaded") == (refusal.layer, type(refusal.error).__name__)


def test_its_state_can_be_read():
    """In a snapshot and in a line."""
    layer = shed(max_queue=5)
    assert "<shed(max_queue=5): 0 admitted, 0 refused>" == repr(layer)
    assert (0, {}) == (layer.snapshot().admitted, dict(layer.snapshot().refused))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_queue": -1}, ValueError, "max_queue=-1"),
        ({"max_queue": 1.5}, TypeError, "max_queue=1.5"),
        ({"max_wait": "soon"}, ValueError, "max_wait='soon'"),
        ({"target": 0}, ValueError, "target=0"),
        ({"interval": math.inf}, ValueError, "interval=inf"),
        ({"of": [timed(5)]}, TypeError, r"of=timed\(5\) must be layers that make callers wait"),
    ],
)
def test_bad_settings_are_refused(options, error, text):
    """By name, with what is allowed."""
    with pytest.raises(error, match=text):
        shed(**options)
