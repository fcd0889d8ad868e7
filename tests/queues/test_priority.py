"""`Priority`: the urgent first, in order within a class, and with aging nobody for ever."""

from __future__ import annotations

import asyncio
import random
from asyncio import get_running_loop, sleep

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sluiceway import HIGH, LOW, NORMAL, Fair, Fifo, Priority, QueueFull, bounded, hints, rate_limited, retry_jitter
from sluiceway.events import CallRejected
from sluiceway.testing import ScriptedProvider, openai_error
from spies import Observed
from waiters import call, waiter


def now():
    return get_running_loop().time()


async def ask_as(ask, priority, *args, tenant=None):
    with hints(priority=priority, tenant=tenant):
        return await ask(*args)


def start(ask, priority, *args, **said):
    return asyncio.create_task(ask_as(ask, priority, *args, **said))


async def end(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Provider:
    """Takes a second, and knows in which order it was asked."""

    def __init__(self):
        self.order = []

    async def __call__(self, name=None):
        self.order.append(name)
        await sleep(1.0)


# ------------------------------------------------------------------ the urgent first


async def test_the_urgent_go_first_and_within_a_class_whoever_came_first():
    """Whatever the order in which they came."""
    provider = Provider()
    ask = bounded(1, queue=Priority())(provider)
    blocker = asyncio.create_task(ask("blocker"))
    await sleep(0.1)
    said = [(LOW, "l1"), (NORMAL, "n1"), (HIGH, "h1"), (7, "last"), (HIGH, "h2"), (LOW, "l2"), (-1, "first")]
    await asyncio.gather(blocker, *(start(ask, priority, name) for priority, name in said))
    assert ["blocker", "first", "h1", "h2", "n1", "l1", "l2", "last"] == provider.order


async def test_an_urgent_call_passes_a_heavy_one_that_waits_for_its_tokens():
    """Who comes with a smaller number is asked for at once, and goes if it fits."""
    limiter = rate_limited(tpm=6_000, burst="10s", slack=0, tokens=lambda call: call.args[0], queue=Priority())
    ask = limiter(ScriptedProvider(1))
    await ask_as(ask, NORMAL, 900)
    heavy = start(ask, NORMAL, 1_000)
    await sleep(0.5)
    await ask_as(ask, HIGH, 100)
    assert 0.5 == now()
    await heavy
    assert 10.0 == pytest.approx(now(), abs=0.1)


async def test_blocks_of_code_are_normal():
    """A permit around a block goes behind HIGH and before LOW."""
    limiter = rate_limited(rps=1, burst="1s", slack=0, queue=Priority())
    order = []

    async def block():
        async with limiter.permit():
            order.append("block")

    async def note(name):
        order.append(name)

    ask = limiter(note)
    await ask("blocker")
    tasks = [start(ask, LOW, "low"), asyncio.create_task(block()), start(ask, HIGH, "high")]
    await asyncio.gather(*tasks)
    assert ["blocker", "high", "block", "low"] == order


async def test_a_retried_call_keeps_its_place_in_its_class():
    """A further attempt goes before calls of its class that started later, and not before more urgent ones."""
    order, failed = [], []

    @retry_jitter(attempts=2, base=0.1, cap=0.1)
    @bounded(1, queue=Priority())
    async def ask(name):
        await sleep(1.0)
        if name == "first" and not failed:
            failed.append(name)
            raise openai_error(503)
        order.append(name)

    tasks = [start(ask, NORMAL, "first")]
    await sleep(0.1)
    tasks += [start(ask, NORMAL, number) for number in range(3)]
    await sleep(1.5)
    tasks.append(start(ask, HIGH, "urgent"))
    await asyncio.gather(*tasks)
    assert [0, "urgent", "first", 1, 2] == order


# ------------------------------------------------------------------ aging


async def saturated(queue, seconds):
    """One place, twice as many HIGH calls as it can take, one LOW; return when the LOW one was served, if it was."""
    ask = bounded(1, queue=queue)(Provider())
    tasks = [start(ask, HIGH)]
    await sleep(0)
    low = start(ask, LOW)
    low.add_done_callback(lambda task: task.cancelled() or served.append(now()))
    served = []
    for _ in range(2 * seconds):
        tasks.append(start(ask, HIGH))
        await sleep(0.5)
    await end([*tasks, low])
    return served[0] if served else None


async def test_without_aging_the_urgent_may_starve_the_rest():
    """That is what a priority is."""
    assert None is await saturated(Priority(), 60)


async def test_with_aging_the_rest_goes_before_those_who_came_so_much_later():
    """LOW gains two classes in twice `aging`, and goes before any HIGH that came after that."""
    served = await saturated(Priority(aging="5s"), 60)
    assert 20.0 <= served <= 23.0  # the HIGH of its first 10 s take 20 s


async def test_aging_does_not_let_the_rest_pass_those_who_came_before():
    """With a small `aging` all that is left is the order of arrival, and with a large one all that is not."""
    provider = Provider()
    ask = bounded(1, queue=Priority(aging=10))(provider)
    tasks = [asyncio.create_task(ask("blocker"))]
    for name, priority, pause in (("low", LOW, 0.1), ("normal", NORMAL, 0.2), ("high", HIGH, 0.3)):
        await sleep(pause)
        tasks.append(start(ask, priority, name))
    await asyncio.gather(*tasks)
    assert ["blocker", "high", "normal", "low"] == provider.order


async def test_aging_works_between_lanes_too():
    """With another order within the classes a class ages by the one that waits longest in it."""
    served = await saturated(Priority(aging="5s", within=Fair()), 60)
    assert 20.0 <= served <= 23.0


# ------------------------------------------------------------------ within a class


async def test_tenants_share_within_a_class():
    """A's flood of NORMAL calls delays B's by one, and HIGH still goes first."""
    provider = Provider()
    ask = bounded(1, queue=Priority(within=Fair()))(provider)
    tasks = [start(ask, NORMAL, "a", tenant="a") for _ in range(50)]
    await sleep(0.5)
    tasks += [start(ask, NORMAL, "b", tenant="b"), start(ask, HIGH, "urgent", tenant="a")]
    await sleep(3.0)
    assert ["a", "urgent", "b", "a"] == provider.order
    await end(tasks)


async def test_what_calls_turn_out_to_cost_is_settled_in_their_class():
    """A tenant that took more than it said is behind in the class in which it did."""
    discipline = Priority(within=Fair())
    queue = discipline.open()
    queue.passed(call("spent"), 10)
    queue.settle(call("spent"), 1)
    waiters = [waiter(tenant="spent"), waiter(tenant="fresh"), waiter(tenant="spent", priority=HIGH)]
    for each in waiters:
        queue.push(each)
    assert [waiters[2], waiters[1], waiters[0]] == [queue.pop() for _ in range(3)]


def test_a_class_that_ages_does_not_remember_all_that_it_served():
    """While one waits long, thousands that were served before it leave nothing behind."""
    queue = Priority(aging=1e6, within=Fair()).open()
    old = [waiter(tenant="old", at=0.0) for _ in range(2)]
    for each in old:
        queue.push(each)
    for number in range(5_000):
        queue.push(waiter(tenant=str(number), at=1.0))
        queue.pop()
    lane = queue._lanes[NORMAL]
    assert len(lane.arrivals) < 200
    assert len(queue) == len(lane.queue)


# ------------------------------------------------------------------ how many


async def test_each_class_may_have_its_own_queue():
    """max_queue by class refuses whoever is one too many of its class; a class that is not named has no limit."""
    ask = bounded(1, queue=Priority(max_queue={LOW: 1, HIGH: 2}))(Provider())
    with Observed() as heard:
        tasks = [start(ask, NORMAL) for _ in range(5)] + [start(ask, LOW)]
        await sleep(0.1)
        with pytest.raises(QueueFull, match=r"1 calls of priority 2 wait already \(max_queue=1\)"):
            await ask_as(ask, LOW)
    assert ["bounded"] == [event.layer for event in heard.of(CallRejected)]
    tasks += [start(ask, HIGH) for _ in range(2)]
    await sleep(0.1)
    with pytest.raises(QueueFull):
        await ask_as(ask, HIGH)
    await end(tasks)


async def test_who_gives_up_makes_room_in_its_class():
    """At once, though it may stand dead in the queue for a while."""
    ask = bounded(1, queue=Priority(max_queue=2))(Provider())
    tasks = [start(ask, LOW) for _ in range(3)]
    await sleep(0)
    with pytest.raises(QueueFull):
        await ask_as(ask, LOW)
    tasks[1].cancel()
    await sleep(0)
    await ask_as(ask, LOW)
    assert 3.0 == now()


async def test_rate_limits_refuse_by_class_too():
    """Calls and blocks alike."""
    limiter = rate_limited(rpm=60, queue=Priority(max_queue={NORMAL: 0}))
    ask = limiter(ScriptedProvider(1))
    await ask()
    with pytest.raises(QueueFull, match=r"priority 1"):
        await ask()
    with pytest.raises(QueueFull, match=r"priority 1"):
        async with limiter.permit():
            pass
    await ask_as(ask, LOW)


# ------------------------------------------------------------------ against a model


class AgainstTheNaiveModel(RuleBasedStateMachine):
    """Whoever comes, comes again, gives up and is swept: the queue serves whom a search of all would find."""

    discipline = Priority()

    def __init__(self):
        super().__init__()
        self.queue = self.discipline.open()
        self.model = []
        self.clock = 0.0

    def place(self, entry):
        number, each = entry
        priority = NORMAL if each.call is None else each.call.hints.priority
        aging = self.discipline.aging
        first = priority if aging is None else priority * aging + each.rank
        return (first, each.rank, not each.again, number)

    @rule(
        priority=st.integers(-1, 3), later=st.sampled_from([0.0, 0.5, 4.0]), again=st.booleans(), back=st.integers(0, 5)
    )
    def push(self, priority, later, again, back):
        self.clock += later
        said = {"priority": priority, "attempt": 1 + again, "started_at": self.clock - back}
        each = waiter(at=self.clock, **said)
        self.queue.push(each)
        self.model.append((len(self.model), each))
        self.model = [(i, each) for i, (_, each) in enumerate(self.model)]

    @precondition(lambda self: self.model)
    @rule()
    def pop(self):
        first = min(self.model, key=self.place)
        assert first[1] is self.queue.head() is self.queue.pop()
        self.model.remove(first)

    @precondition(lambda self: any(not each.future.over for _, each in self.model))
    @rule(which=st.integers(0, 100))
    def give_up(self, which):
        living = [each for _, each in self.model if not each.future.over]
        each = living[which % len(living)]
        each.future.over = True
        if which % 2:  # else its task has not heard of it yet
            each.counted = True
            self.queue.left(each)

    @rule()
    def sweep(self):
        self.queue.sweep()
        assert all(each.out == each.future.over for _, each in self.model)
        self.model = [(i, each) for i, each in self.model if not each.future.over]

    @invariant()
    def counts(self):
        assert len(self.model) == len(self.queue) == len(list(self.queue))
        for priority in range(-1, 4):
            mine = [e for _, e in self.model if not e.counted and e.call.hints.priority <= priority]
            assert len(mine) == self.queue.ahead(call(priority=priority))


class AgingAgainstTheNaiveModel(AgainstTheNaiveModel):
    """The same where classes age."""

    discipline = Priority(aging=2.0)


class Lanes(Priority):
    """Each class a queue of its own, in the same order."""

    def open(self, weigh=None):
        from sluiceway.queues.classes import Lanes as Queue

        return Queue(self.aging, self.max_queue, Fifo(), weigh)


class LanesAgainstTheNaiveModel(AgainstTheNaiveModel):
    """The same where each class has a queue of its own."""

    discipline = Lanes()


TestAgainstTheNaiveModel = AgainstTheNaiveModel.TestCase
TestAging = AgingAgainstTheNaiveModel.TestCase
TestLanes = LanesAgainstTheNaiveModel.TestCase
for case in (TestAgainstTheNaiveModel, TestAging, TestLanes):
    case.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
    case.runTest.__doc__ = AgainstTheNaiveModel.__doc__
del case


# ------------------------------------------------------------------ a hundred thousand


class Counted(float):
    """A number that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __lt__(self, other):
        Counted.compared += 1
        return float.__lt__(self, other)

    __hash__ = float.__hash__


def comparisons(order, n):
    """Return how many comparisons an admission takes with *n* who wait, a third of whom gives up."""
    rng = random.Random(1)
    queue = order.open()
    Counted.compared = 0
    for number in range(n):
        each = waiter(at=Counted(number), tenant=str(rng.randrange(100)), priority=rng.randrange(3))
        each.future.over = rng.random() < 0.3
        queue.push(each)
    while queue:
        queue.head()
        queue.pop()
    return Counted.compared / n


@pytest.mark.parametrize(
    ("order", "n"), [(Priority(), 100_000), (Priority(aging=10), 20_000), (Priority(within=Fair()), 20_000)], ids=repr
)
def test_an_admission_among_a_hundred_thousand_takes_a_logarithm_of_comparisons(order, n):
    """Not more than three times the 17 that it takes to find one place among them."""
    assert comparisons(order, n) < 3 * 17


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"aging": 0}, ValueError, "aging=0"),
        ({"aging": "soon"}, ValueError, "aging='soon'"),
        ({"max_queue": -1}, ValueError, "max_queue=-1"),
        ({"max_queue": 1.5}, TypeError, "max_queue=1.5"),
        ({"max_queue": {"high": 1}}, TypeError, "a class of max_queue='high'"),
        ({"max_queue": {HIGH: -2}}, ValueError, "max_queue=-2"),
        ({"within": 3}, TypeError, "within=3"),
        ({"within": Priority()}, TypeError, r"within=Priority\(\)"),
    ],
)
def test_bad_settings_are_refused(options, error, text):
    """By name, with what is allowed."""
    with pytest.raises(error, match=text):
        Priority(**options)


def test_settings_can_be_read_and_compared():
    """As they would be written."""
    assert "Priority()" == repr(Priority())
    full = Priority("10s", {LOW: 5}, Fair())
    assert "Priority(aging=10, max_queue={2: 5}, within=Fair())" == repr(full)
    assert full == Priority(10, {LOW: 5}, Fair()) != Priority(10)
    assert hash(full) == hash(Priority(10, {LOW: 5}, Fair()))
