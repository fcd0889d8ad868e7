"""Calls: what the caller says about them, what they inherit, and how their time is limited."""

from __future__ import annotations

import asyncio
import contextvars
import os
from asyncio import CancelledError, current_task, get_running_loop, sleep
from datetime import timedelta
from types import SimpleNamespace

import pytest

from sluiceway.binding import bind
from sluiceway.call import HIGH, LOW, NO_HINTS, NORMAL, Attempt, Hints, Run, hints
from sluiceway.errors import Rejected, TimedOut
from sluiceway.events import AttemptFinished, CallFinished
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.bounded import bounded
from spies import Again, Observed, Passing, Spy, Stream, Within
from timeout_scenarios import by_asyncio, long_clean_up, other, quick, ready_in_the_tick, slow, swallow


class Look(Layer):
    """Keeps the calls that pass."""

    stateful = False

    def __init__(self):
        self.calls = []

    async def handle(self, call, proceed):
        self.calls.append(call)
        return await proceed(call)

    @property
    def hints(self):
        return self.calls[-1].hints


def said(hints):
    return hints.priority, hints.tenant, hints.deadline, hints.expected_tokens, hints.idempotent


def now():
    return get_running_loop().time()


@pytest.fixture
def look():
    return Look()


@pytest.fixture
def ask(look):
    async def ask():
        return "answer"

    return bind(ask, (look,))


# ------------------------------------------------------------------ hints


async def test_without_hints_a_call_is_of_normal_priority_and_nobodys(ask, look):
    """Priority 1, no tenant, no deadline, tokens unknown, repeatable."""
    await ask()
    assert look.hints is NO_HINTS
    assert (NORMAL, None, None, None, True) == said(look.hints)
    assert (0, 1, 2) == (HIGH, NORMAL, LOW)


async def test_hints_hold_for_the_calls_that_start_in_their_block(ask, look):
    """All five reach the call; after the block they are gone."""
    await sleep(5)
    with hints(priority=HIGH, tenant="a", deadline="2s", expected_tokens=100, idempotent=False) as given:
        await ask()
    assert (HIGH, "a", 7.0, 100, False) == said(look.hints)
    assert look.hints is given
    await ask()
    assert look.hints is NO_HINTS


async def test_inner_hints_replace_what_they_name_and_keep_the_rest(ask, look):
    """Blocks merge, the innermost wins; leaving one brings the outer back."""
    with hints(priority=LOW, tenant="a", expected_tokens=10):
        with hints(tenant="b", idempotent=False):
            await ask()
            assert (LOW, "b", None, 10, False) == said(look.hints)
        await ask()
        assert (LOW, "a", None, 10, True) == said(look.hints)


@pytest.mark.parametrize(("outer", "inner", "expected"), [(5, 9, 5.0), (9, 5, 5.0), (5, None, 5.0), (None, 5, 5.0)])
async def test_the_nearest_deadline_stays(ask, look, outer, inner, expected):
    """An inner block can bring the deadline nearer, never push it away."""
    with hints(deadline=outer), hints(deadline=inner):
        await ask()
    assert expected == look.hints.deadline


async def test_hints_are_of_the_task_and_of_those_it_makes(ask, look):
    """A task made inside the block inherits them, one made before does not."""
    outside = asyncio.create_task(later(ask))
    with hints(tenant="a"):
        inside = asyncio.create_task(later(ask))
        await sleep(0)
    await asyncio.gather(outside, inside)
    assert [None, "a"] == [call.hints.tenant for call in look.calls]


async def later(ask):
    await sleep(1)
    return await ask()


async def test_one_hints_object_serves_one_block_after_another_but_not_itself(ask, look):
    """Entered again later its deadline counts anew; entered twice at a time it is refused."""
    block = hints(deadline=5)
    with block:
        await ask()
    await sleep(10)
    with block:
        await ask()
    assert [5.0, 15.0] == [call.hints.deadline for call in look.calls]
    with block, pytest.raises(RuntimeError, match="cannot be entered twice"), block:
        pass
    with hints() as nothing:
        assert (NORMAL, None, None, None, True) == said(nothing)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"priority": "high"}, TypeError, "priority='high' must be HIGH, NORMAL, LOW or another int"),
        ({"priority": True}, TypeError, "priority=True"),
        ({"priority": 1.0}, TypeError, "priority=1.0"),
        ({"tenant": 5}, TypeError, "tenant=5 must be a str"),
        ({"deadline": "soon"}, ValueError, "deadline='soon' is not a duration"),
        ({"deadline": -1}, ValueError, "deadline=-1 must be at least 0 seconds"),
        ({"deadline": True}, TypeError, "deadline=True is not a duration"),
        ({"expected_tokens": 1.5}, TypeError, "expected_tokens=1.5 must be an int"),
        ({"expected_tokens": True}, TypeError, "expected_tokens=True must be an int"),
        ({"expected_tokens": -1}, ValueError, "expected_tokens=-1 must be at least 0"),
        ({"idempotent": "no"}, TypeError, "idempotent='no' must be True or False"),
    ],
    ids=str,
)
def test_wrong_hints_are_refused_where_they_are_made(wrong, error, says):
    """Each names the value and what is allowed, before any call is made."""
    with pytest.raises(error, match=says):
        hints(**wrong)


def test_a_deadline_needs_an_event_loop_and_the_rest_does_not():
    """Tenant and priority may be set around `asyncio.run`; a deadline is a moment of the loop's clock."""
    with hints(tenant="a", priority=LOW) as given:
        assert "a" == given.tenant
    with pytest.raises(RuntimeError), hints(deadline=5):
        pass


def test_hints_that_were_entered_elsewhere_say_so():
    """As by a plain function as a dependency of FastAPI, half of which runs in another context than the other."""
    block = hints(tenant="a")
    contextvars.copy_context().run(block.__enter__)
    with pytest.raises(RuntimeError, match=r"another context .* nobody heard") as raised:
        block.__exit__(None, None, None)
    assert raised.value.__suppress_context__


def test_hints_that_were_entered_elsewhere_hide_no_other_error():
    """What passes through the block goes on, and a generator can be swept up anywhere."""

    def said():
        with hints(tenant="a"):
            yield

    generator = said()
    contextvars.copy_context().run(next, generator)
    with pytest.raises(KeyError):
        generator.throw(KeyError())


def test_hints_show_themselves():
    """The repr says all five."""
    shown = "Hints(priority=0, tenant='a', deadline=None, expected_tokens=5, idempotent=False)"
    assert shown == repr(Hints(HIGH, "a", None, 5, idempotent=False))


# ------------------------------------------------------------------ the deadline


async def test_a_deadline_ends_the_call_whatever_layers_it_has():
    """`TimedOut` of the kind "deadline", with the seconds that the call had."""

    async def ask():
        await sleep(60)

    await sleep(1)
    with (
        pytest.raises(TimedOut, match="ask not done by its deadline, 3 s after its start") as raised,
        hints(deadline=3),
    ):
        await bind(ask, (Passing(),))()
    assert ("deadline", 3.0, 3.0, 4.0) == (raised.value.kind, raised.value.limit, raised.value.elapsed, now())
    assert isinstance(raised.value, TimeoutError)
    assert 0 == current_task().cancelling()


async def test_a_deadline_counts_from_its_block_not_from_each_call():
    """What the block spent before the call is gone."""

    async def ask():
        await sleep(60)

    with hints(deadline=5):
        await sleep(3)
        with pytest.raises(TimedOut) as raised:
            await bind(ask, (Passing(),))()
    assert 2.0 == raised.value.limit
    assert 5.0 == now()


async def test_a_deadline_is_seen_by_layers_as_the_calls():
    """`call.deadline` is the nearest limit around, of the caller or of a layer, and goes with it."""
    seen = []

    class Deadlines(Layer):
        stateful = False

        async def handle(self, call, proceed):
            seen.append(call.deadline)
            result = await proceed(call)
            seen.append(call.deadline)
            return result

    async def ask():
        return 1

    layer = Deadlines()
    bound = bind(ask, (layer, Within(3), layer, Within(8), layer))
    await bound()
    assert [None, 3.0, 3.0, 3.0, 3.0, None] == seen
    seen.clear()
    with hints(deadline=5):
        await bound()
    assert [5.0, 3.0, 3.0, 3.0, 3.0, 5.0] == seen


async def test_a_deadline_outside_reaches_the_layers_as_a_cancellation():
    """It fires outside of every layer: to them it is neutral, not the provider's fault."""
    spy = Spy()

    async def ask():
        await sleep(60)

    with Observed() as observed, pytest.raises(TimedOut), hints(deadline=3):
        await bind(ask, (spy,))()
    assert ["enter", "CancelledError"] == spy.log
    assert ["timed out"] == [event.outcome for event in observed.of(CallFinished)]


async def test_a_deadline_and_the_callers_own_cancellation_at_one_moment_are_a_cancellation():
    """Whoever cancels the task means it: `CancelledError` wins a race with the deadline."""

    async def ask():
        await sleep(60)

    async def caller():
        with hints(deadline=3):
            await bind(ask, (Passing(),))()

    for at in (2, 3):
        task = asyncio.create_task(caller())
        get_running_loop().call_later(at, task.cancel)
        with pytest.raises(CancelledError):
            await task
        assert 1 == task.cancelling()
    assert 0 == current_task().cancelling()


# ------------------------------------------------------------------ calls inside of calls


async def test_a_call_inside_another_inherits_tenant_priority_and_deadline_only(look):
    """How many tokens it takes and whether it may be repeated was said about the outer call."""

    async def inner():
        return "inner"

    inner = bind(inner, (look,))

    async def outer():
        return await inner()

    with hints(priority=HIGH, tenant="a", deadline=9, expected_tokens=50, idempotent=False):
        await bind(outer, (look,))()
    assert [(HIGH, "a", 9.0, 50, False), (HIGH, "a", 9.0, None, True)] == [said(call.hints) for call in look.calls]
    assert look.calls[1].run.parent is look.calls[0]


async def test_hints_given_inside_of_a_call_count_for_the_inner_one(look):
    """What the provider's code says itself is the inner call's, merged with what is inherited."""

    async def inner():
        return "inner"

    inner = bind(inner, (look,))

    async def outer():
        with hints(expected_tokens=7):
            return await inner()

    with hints(tenant="a", expected_tokens=50, idempotent=False):
        await bind(outer, (look,))()
    assert ("a", 7, True) == (look.hints.tenant, look.hints.expected_tokens, look.hints.idempotent)


async def test_the_deadline_of_the_outer_call_ends_both_as_the_outers(look):
    """Inside it is a cancellation; outside it is `TimedOut`, once."""
    spy = Spy()

    async def inner():
        await sleep(60)

    inner = bind(inner, (spy,))

    async def outer():
        return await inner()

    with Observed() as observed, pytest.raises(TimedOut), hints(deadline=3):
        await bind(outer, (look,))()
    assert ["enter", "CancelledError"] == spy.log
    assert [("cancelled", "inner"), ("timed out", "outer")] == [
        (event.outcome, event.call.name) for event in observed.of(CallFinished)
    ]
    assert 3.0 == now()
    assert 0 == current_task().cancelling()


async def test_an_attempt_that_made_calls_is_marked_as_containing_them(look):
    """Usage is counted by the innermost calls; the outer attempt knows that it is not one."""

    async def inner():
        return "inner"

    inner = bind(inner, (look,))

    async def outer():
        return await inner()

    with Observed() as observed:
        await bind(outer, (look,))()
    contained = {event.call.name: event.attempt.contained for event in observed.of(AttemptFinished)}
    assert {"inner": False, "outer": True} == contained


async def test_a_call_made_in_a_task_of_the_provider_is_its_child(look):
    """A provider may fan out: what its tasks call while it runs is inside of its attempt."""

    async def inner():
        return "inner"

    inner = bind(inner, (look,))

    async def outer():
        return await asyncio.gather(inner(), inner())

    await bind(outer, (look,))()
    outer_call, *children = look.calls
    assert [outer_call, outer_call] == [child.run.parent for child in children]


async def test_a_task_left_behind_by_its_call_is_nobodys_child(look):
    """A task that outlives the call which made it calls on its own account, without the call's deadline."""
    bound = bounded(1)
    left = []

    async def inner():
        return "inner"

    inner = bind(inner, (look, bound))

    async def outer():
        left.append(asyncio.create_task(later(inner)))

    with hints(tenant="a", deadline=0.5, expected_tokens=5, idempotent=False):
        await bind(outer, (bound,))()
    assert "inner" == await left[0]
    call = look.calls[0]
    assert call.run.parent is None
    assert (NORMAL, "a", None, None, True) == said(call.hints)


async def test_a_task_left_behind_by_a_failed_attempt_is_not_the_next_ones_child(look):
    """A retry is under way, and still the first attempt's leftover is nobody's; the second keeps its own usage."""
    left = []

    async def inner():
        return "inner"

    inner = bind(inner, (look,))

    async def outer():
        if not left:
            left.append(asyncio.create_task(later(inner)))
            raise ConnectionError
        await sleep(5)

    with Observed() as observed:
        await bind(outer, (Again(),))()
    assert look.calls[0].run.parent is None
    assert [False, False, False] == [event.attempt.contained for event in observed.of(AttemptFinished)]


async def test_what_reads_a_stream_is_not_inside_of_its_call(look):
    """Between two items the reader's own calls are nobody's children."""

    async def inner():
        return "inner"

    async def outer():
        return Stream()

    inner = bind(inner, (look,))
    async for _ in await bind(outer, (Passing(),))():
        await inner()
    assert [None] * 3 == [call.run.parent for call in look.calls]


async def test_a_call_made_while_a_stream_makes_its_items_is_inside_of_it(look):
    """The provider's side of a stream runs in its attempt, whoever reads."""

    async def inner():
        return "inner"

    inner = bind(inner, (look,))

    async def outer():
        for _ in range(2):
            yield await inner()

    outer = bind(outer, (look,))
    stream = outer()
    first = await asyncio.create_task(anext_of(stream))
    assert ["inner", "inner"] == [first, await anext(stream)]
    assert look.calls[0].name == "outer"
    assert [look.calls[0]] * 2 == [call.run.parent for call in look.calls[1:]]


async def anext_of(stream):
    return await anext(stream)


# ------------------------------------------------------------------ within, against asyncio.timeout


def by_within(seconds, function):
    return Within(seconds)(as_function(function))


def as_function(function):
    async def run():
        return await function()

    return run


def nested(outer, inner, function):
    return lambda limit: (limit(outer, limit(inner, function)), ())


def caught(limit):
    async def goes_on():
        try:
            return await limit(0.02, slow)()
        except TimeoutError:
            return "went on"

    return limit(0.5, goes_on), ()


SCENARIOS = {
    "in time": lambda limit: (limit(0.05, quick), ()),
    "expires": lambda limit: (limit(0.02, slow), ()),
    "swallowed": lambda limit: (limit(0.02, swallow), ()),
    "turned into another error": lambda limit: (limit(0.02, other), ()),
    "long clean-up": lambda limit: (limit(0.02, long_clean_up), ()),
    "cancelled from outside before": lambda limit: (limit(0.05, slow), (0.01,)),
    "cancelled from outside during the clean-up": lambda limit: (limit(0.02, long_clean_up), (0.03,)),
    "cancelled from outside in the same tick": lambda limit: (limit(0.02, slow), (0.02,)),
    "nested, both due at once": nested(0.02, 0.02, slow),
    "nested, outer first": nested(0.02, 0.05, slow),
    "nested, inner first": nested(0.05, 0.02, slow),
    "inner caught, goes on": caught,
    "result ready in the tick of the timer": lambda limit: (limit(0.02, ready_in_the_tick), ()),
    "zero": lambda limit: (limit(0, quick), ()),
}


async def outcome(function, cancel_at):
    """Return what comes out of *function*, why, and the task's count of cancellations after it."""

    async def body():
        try:
            ended = ("value", await function())
        except BaseException as error:  # noqa: BLE001 - compared
            kind = TimeoutError if isinstance(error, TimeoutError) else type(error)
            ended = (kind, type(error.__cause__))
        return ended, current_task().cancelling()

    task = asyncio.create_task(body())
    for at in cancel_at:
        get_running_loop().call_later(at, task.cancel)
    try:
        return await task
    except CancelledError:
        return "cancelled", task.cancelling()


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_within_ends_as_asyncios_timeout_does(scenario):
    """The same outcome, for the same reason, with the same count of cancellations left on the task."""
    expected = await outcome(*SCENARIOS[scenario](by_asyncio))
    assert expected == await outcome(*SCENARIOS[scenario](by_within))


async def test_within_counts_the_cancellations_that_were_there_before():
    """In a task that was cancelled once and went on, a limit still ends as its own error."""

    async def body():
        try:
            await sleep(60)
        except CancelledError:
            with pytest.raises(TimedOut):
                await by_within(3, slow_hour)()
            return current_task().cancelling()

    task = asyncio.create_task(body())
    await sleep(1)
    task.cancel()
    assert 1 == await task


async def slow_hour():
    await sleep(3600)


async def test_within_limits_a_part_that_a_layer_runs_in_a_task_of_its_own():
    """In a task that is not the caller's, that task is what the limit cancels."""

    class Apart(Layer):
        async def handle(self, call, proceed):
            async def part():
                with call.within(3):
                    return await proceed(call)

            return await asyncio.create_task(part())

    with pytest.raises(TimedOut):
        await Apart()(as_function(slow_hour))()
    assert 3.0 == now()
    assert 0 == current_task().cancelling()


@pytest.mark.parametrize("duration", [2, "2s", timedelta(seconds=2), "2000ms"])
async def test_within_takes_any_duration(duration):
    """A number of seconds, a string, a timedelta."""
    with pytest.raises(TimedOut) as raised:
        await by_within(duration, slow_hour)()
    assert 2.0 == raised.value.limit


@pytest.mark.parametrize("duration", [-1, "soon", float("inf"), float("nan")])
async def test_within_refuses_what_is_no_duration(duration):
    """At once, before anything is sent."""
    with pytest.raises(ValueError, match="limit="):
        await by_within(duration, slow_hour)()


# ------------------------------------------------------------------ where the time went


class Waits(Layer):
    """Waits for a while before it goes on, and books that under its name."""

    stateful = False

    def __init__(self, seconds):
        self.seconds = seconds

    async def handle(self, call, proceed):
        since = now()
        call.run.phase = ("a wait", since)
        await sleep(self.seconds)
        call.run.waited("a wait", since, now())
        return await proceed(call)


async def test_a_limit_says_where_the_time_went_the_largest_part_first():
    """Waits add up by their reason, attempts count one by one, and the one under way counts until now."""
    tries = []

    async def ask():
        tries.append(now())
        await sleep(1 if len(tries) == 1 else 60)
        raise ConnectionError

    with pytest.raises(TimedOut) as raised:
        await bind(ask, (Within(10), Again(), Waits(1.5)))()
    assert {"attempt 2": 6.0, "a wait": 3.0, "attempt 1": 1.0} == raised.value.spent
    assert ["attempt 2", "a wait", "attempt 1"] == list(raised.value.spent)
    assert "ask not done within 10 s (spent: 6 s in attempt 2, 3 s in a wait, 1 s in attempt 1)" == str(raised.value)
    assert ("total", 10.0, 10.0) == (raised.value.kind, raised.value.limit, raised.value.elapsed)


async def test_a_limit_that_passes_during_a_wait_counts_that_wait():
    """The phase under way is part of what was spent."""

    async def ask():
        return 1

    with pytest.raises(TimedOut, match=r"spent: 5 s in a wait") as raised:
        await bind(ask, (Within(5), Waits(60)))()
    assert {"a wait": 5.0} == raised.value.spent


async def test_a_limit_without_waits_or_attempts_says_so():
    """Time that went in no layer's wait and no attempt is told as that."""

    class Dawdling(Layer):
        async def handle(self, call, proceed):
            await sleep(60)
            return await proceed(call)

    with pytest.raises(TimedOut, match="none of it in a layer"):
        await bind(as_function(quick), (Within(5), Dawdling()))()


# ------------------------------------------------------------------ the call itself


async def test_a_call_shows_its_name_and_attempt_and_nothing_of_its_arguments(look):
    """No prompt gets into a repr."""

    async def ask(prompt, *, key):
        return prompt

    await bind(ask, (look,))("a secret prompt", key="sk-secret")
    call = look.calls[0]
    assert "<Call ask attempt 1>" == repr(call)
    assert ("ask", 0.0, ("a secret prompt",), {"key": "sk-secret"}) == (
        call.name,
        call.started_at,
        call.args,
        call.kwargs,
    )


async def test_a_copy_for_a_further_attempt_shares_the_run(look):
    """`again` and `emitting` change one thing each and share what runs."""

    async def ask(prompt):
        return prompt

    await bind(ask, (look,))("p")
    call = look.calls[0]

    async def emit(item):
        pass

    second, emitting = call.again(2), call.emitting(emit)
    for copy in (second, emitting):
        assert (call.function, call.args, call.kwargs, call.run, call.hints) == (
            copy.function,
            copy.args,
            copy.kwargs,
            copy.run,
            copy.hints,
        )
    assert ((2, None), (1, emit)) == ((second.attempt, second.emit), (emitting.attempt, emitting.emit))
    assert emit is emitting.again(3).emit


async def test_calls_have_ids_that_differ_also_between_processes(look):
    """The id names the process by chance and counts in it; asking twice gives the same."""

    async def ask():
        pass

    bound = bind(ask, (look,))
    await bound()
    await bound()
    first, second = (call.run.id for call in look.calls)
    assert first != second
    assert first == look.calls[0].run.id
    assert first.partition("-")[0] == second.partition("-")[0]
    assert len(first.partition("-")[0]) == 8


async def test_each_attempt_is_recorded_with_its_outcome():
    """Number, times, outcome, error and result of every trip."""
    error = ConnectionError()
    fails = [error]

    async def ask():
        await sleep(1)
        if fails:
            raise fails.pop()
        return "answer"

    look = Look()
    assert "answer" == await bind(ask, (look, Again(pause=2)))()
    first, second = look.calls[0].run.attempts
    assert (1, 0.0, 1.0, "error", error) == (
        first.number,
        first.started_at,
        first.ended_at,
        first.outcome,
        first.error,
    )
    assert (2, 3.0, 4.0, "ok", "answer") == (
        second.number,
        second.started_at,
        second.ended_at,
        second.outcome,
        second.result,
    )
    assert "<Attempt 2 ok>" == repr(second)
    assert "<Attempt 3 under way>" == repr(Attempt(3, 0.0))


async def test_a_failed_attempt_carries_the_status_and_headers_of_its_error():
    """Without our client, errors are what brings the provider's headers."""

    class StatusError(Exception):
        status_code = 429

        class response:
            headers = {"retry-after": "1"}  # noqa: RUF012 - a stand-in

    async def ask():
        raise StatusError

    with Observed() as observed, pytest.raises(StatusError):
        await bind(ask, (Passing(),))()
    attempt = observed.of(AttemptFinished)[0].attempt
    assert (429, {"retry-after": "1"}) == (attempt.status, attempt.headers)


async def test_a_refusal_by_a_layer_is_a_call_without_attempts():
    """Nothing was sent, and the call's outcome says that it was rejected."""

    class Refusing(Layer):
        async def handle(self, call, proceed):
            raise Rejected("not today", layer=self.name)

    with Observed() as observed, pytest.raises(Rejected):
        await Pipeline(Refusing())(as_function(quick))()
    assert [] == observed.of(AttemptFinished)
    assert ["rejected"] == [event.outcome for event in observed.of(CallFinished)]


async def test_a_call_whose_deadline_has_passed_already_sends_nothing():
    """What could not be done in time is not begun: no attempt, no cost."""
    made = []

    async def ask():
        made.append(1)

    ask = bind(ask, (Passing(),))
    with hints(deadline=1):
        await sleep(2)
        with pytest.raises(TimedOut) as caught:
            await ask()
    assert ("deadline", []) == (caught.value.kind, made)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_calls_of_forked_processes_have_names_of_their_own():
    """Workers that are forked after the import number their calls alike; log lines and spans must not meet for that."""

    def named():
        return Run(SimpleNamespace(time=float), None, None, (), "ask", None, NO_HINTS).id

    before = named()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, named().encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 100).decode()
    assert theirs.partition("-")[0] != before.partition("-")[0] == named().partition("-")[0]
    os.close(read)
    os.close(write)
