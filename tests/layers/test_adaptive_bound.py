"""adaptive_bound: how many calls at a time, when nobody knows."""

import asyncio
import json
from random import Random

import pytest

from sluiceway.call import hints
from sluiceway.errors import BoundExceeded, CircuitOpen, QueueFull, ReentrantUse, TimedOut
from sluiceway.events import BoundAdapted, LimitPaused
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.adaptive_bound import adaptive_bound
from sluiceway.layers.timed import timed
from sluiceway.testing import ScriptedProvider, hang, openai_error, run, stream
from stepping import cancel_at_every_step


def now():
    return asyncio.get_running_loop().time()


class Crowded:
    """A server that works on so many calls at a time for a second each, and refuses more within 20 ms."""

    def __init__(self, room):
        self.room = room
        self.inside = 0
        self.seen = []

    async def __call__(self):
        await asyncio.sleep(0.01)
        free = self.inside < self.room
        self.seen.append((now(), free))
        if not free:
            await asyncio.sleep(0.01)
            raise openai_error(429, headers={"retry-after-ms": "100"})
        self.inside += 1
        try:
            await asyncio.sleep(1)
        finally:
            self.inside -= 1

    def share(self, since, until):
        """Return the share of its room that was used, and the share of calls that it refused."""
        answers = [free for at, free in self.seen if since <= at < until]
        return answers.count(True) / (until - since) / self.room, answers.count(False) / len(answers)


async def saturate(ask, callers, seconds):
    async def ever():
        while now() < seconds:
            await asyncio.gather(ask(), return_exceptions=True)

    await asyncio.gather(*(ever() for _ in range(callers)))


async def test_more_keys_than_are_kept_forget_no_limit_that_was_found_lately():
    """A key that fell has as few places as before among a thousand others; after a minute's silence it begins anew."""
    bound = adaptive_bound(10, by=lambda call: call.args[0], slow_start=False)
    await asyncio.gather(bound(ScriptedProvider(openai_error(429)))("fell"), return_exceptions=True)
    fallen = bound.limits()["fell"]
    assert fallen < 10
    ask = bound(ScriptedProvider(1))
    await asyncio.gather(*map(ask, range(2_000)))
    assert (fallen, 2_001) == (bound.limits()["fell"], len(bound.limits()))
    await asyncio.sleep(61)
    await asyncio.gather(*map(ask, range(2_000, 3_100)))
    assert "fell" not in bound.limits()
    assert 1_100 == len(bound.limits())


def places(bound):
    return bound.snapshot()[0].limit


# ------------------------------------------------------------------ what it is for


@pytest.mark.parametrize("law", ["aimd", "cubic"])
async def test_it_finds_out_how_many_calls_a_server_bears(law):
    """From 2 it comes to a server's 40, uses over 80 % of it, and has under 2 % refused."""
    server = Crowded(40)
    bound = adaptive_bound(2, law=law, rng=Random(1))
    await saturate(bound(server), 200, 120)
    used, refused = server.share(30, 120)
    assert used > 0.8
    assert refused < 0.02


async def test_it_follows_a_server_that_loses_and_gains_room():
    """Down from 40 to 10 within seconds, and up again."""
    server = Crowded(40)
    bound = adaptive_bound(2, rng=Random(1))
    driving = asyncio.create_task(saturate(bound(server), 200, 200))
    await asyncio.sleep(60)
    server.room = 10
    await asyncio.sleep(10)
    assert places(bound) <= 12
    await asyncio.sleep(30)
    server.room = 40
    await driving
    assert places(bound) >= 25


async def test_it_grows_only_where_the_places_are_what_holds_us():
    """Four at a time never make more of ten."""
    bound = adaptive_bound(10)
    await saturate(bound(ScriptedProvider(1, latency=1)), 4, 100)
    assert 10 == places(bound)
    await saturate(bound(ScriptedProvider(1, latency=1)), 20, 103)
    assert places(bound) > 10


# ------------------------------------------------------------------ what moves the limit


async def after_one(step, *inside, **settings):
    """Return the exact limit that is left of 100 after one call among 100 that ended by *step*."""
    bound = adaptive_bound(100, rng=Random(1), **settings)
    ask = Pipeline(bound, *inside)(ScriptedProvider(step, hang(), latency=1))
    one = asyncio.create_task(ask())
    others = [asyncio.create_task(ask()) for _ in range(99)]
    await asyncio.wait([one])
    left = bound._states.at(None).adaptive.law.limit
    for task in others:
        task.cancel()
    await asyncio.wait(others)
    assert 0 == bound.snapshot()[0].in_flight
    return pytest.approx(left)


async def test_a_429_leaves_seven_tenths_and_a_timeout_nine():
    """Or what the settings say."""
    assert 70 == await after_one(openai_error(429))
    assert 50 == await after_one(openai_error(429), decrease=0.5)
    assert 90 == await after_one(TimeoutError())
    assert 98 == await after_one(openai_error(503))
    assert 95 == await after_one(openai_error(500), error_decrease=0.95)


@pytest.mark.parametrize(
    "error",
    [
        openai_error(400),
        openai_error(429, code="insufficient_quota"),
        ConnectionRefusedError(),
        ValueError("mine"),
        TimedOut("its own deadline", kind="deadline"),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
async def test_what_is_not_the_providers_load_is_neutral(error):
    """Wrong requests, money, what was never sent, the user's own exceptions, deadlines and cancellation."""
    assert 100 == await after_one(error)


async def test_time_limits_inside_count_and_those_outside_do_not():
    """A `timed` inside is the provider's fault, one outside and a deadline are the caller's."""
    bound = adaptive_bound(100)
    inside = Pipeline(bound, timed(5))(ScriptedProvider(hang()))
    outside = Pipeline(timed(5), bound)(ScriptedProvider(hang()))
    with pytest.raises(TimedOut):
        await outside()
    with hints(deadline=3), pytest.raises(TimedOut):
        await inside()
    assert 100 == places(bound)
    with pytest.raises(TimedOut):
        await inside()
    assert 90 == places(bound)


async def test_refusals_of_our_own_are_neither_failures_nor_successes():
    """What was never sent says nothing."""

    class Refusing(Layer):
        async def handle(self, call, proceed):
            raise CircuitOpen("open", layer="circuit_breaker")

    bound = adaptive_bound(1)
    ask = Pipeline(bound, Refusing())(ScriptedProvider(1))
    for _ in range(10):
        with pytest.raises(CircuitOpen):
            await ask()
    assert (1, 0) == (places(bound), bound.snapshot()[0].in_flight)


async def test_one_burst_of_refusals_lowers_it_once():
    """Ten calls that were sent together and refused are one episode."""
    bound = adaptive_bound(10)
    ask = bound(ScriptedProvider(openai_error(429), latency=1))
    await asyncio.gather(*(ask() for _ in range(10)), return_exceptions=True)
    assert 7 == places(bound)


async def test_after_a_429_nobody_is_let_in_until_its_retry_after(listen):
    """Free places or not; then who waits enters, in as many places as are left."""
    events = listen()
    bound = adaptive_bound(10, rng=Random(1))
    provider = ScriptedProvider(openai_error(429, headers={"retry-after": "5"}), 1)
    ask = bound(provider)
    with pytest.raises(Exception, match="429"):
        await ask()
    pause = bound.snapshot()[0].paused_for
    assert 5.0 < pause < 5.5
    assert [(pause, "retry-after")] == [(event.seconds, event.source) for event in events(LimitPaused)]
    assert "paused for 5." in repr(bound)
    await asyncio.gather(*(ask() for _ in range(5)))
    assert pause == pytest.approx(now(), abs=1e-6)
    await asyncio.sleep(10)
    await ask()
    assert 0.0 == bound.snapshot()[0].paused_for


async def test_a_lying_retry_after_pauses_for_a_minute_at_the_most():
    """A day is not believed."""
    bound = adaptive_bound(10)
    with pytest.raises(Exception, match="429"):
        await bound(ScriptedProvider(openai_error(429, headers={"retry-after": "86400"})))()
    assert 60.0 == bound.snapshot()[0].paused_for


async def test_it_stays_between_min_and_max():
    """However many succeed, however many are refused."""
    bound = adaptive_bound(3, max=5)
    await saturate(bound(ScriptedProvider(1, latency=1)), 20, 20)
    assert 5 == places(bound)
    bound = adaptive_bound(3, min=2)
    for _ in range(10):
        await asyncio.gather(bound(ScriptedProvider(openai_error(429), latency=1))(), return_exceptions=True)
    assert 2 == places(bound)


# ------------------------------------------------------------------ as a layer that waits


async def test_a_stream_holds_its_place_to_its_end():
    """And counts as a success then."""
    bound = adaptive_bound(1)
    ask = bound(ScriptedProvider(stream([1, 2], gap=1.0)))
    items = await ask()
    other = asyncio.create_task(ask())
    await asyncio.sleep(10)
    assert (1, 1) == (bound.snapshot()[0].in_flight, bound.snapshot()[0].waiting)
    assert [1, 2] == [item async for item in items]
    assert 2 == places(bound)
    assert [1, 2] == [item async for item in await other]


async def test_each_key_has_places_of_its_own():
    """One key's refusals take none from another."""
    bound = adaptive_bound(10, by=lambda call: call.args[0])
    provider = ScriptedProvider(lambda key: (_ for _ in ()).throw(openai_error(429)) if key == "a" else 1)
    ask = bound(provider)
    await asyncio.gather(ask("a"), ask("b"), return_exceptions=True)
    assert {"a": 1, "b": 10} == {shot.key: shot.limit for shot in bound.snapshot()}
    assert bound.keyed
    assert "2 keys" in repr(bound)


async def test_it_refuses_as_bounded_does():
    """By `max_wait`, by `max_queue`, and a call inside of one that holds a place."""
    ask = adaptive_bound(1, max_wait=0)(ScriptedProvider(1, latency=1))
    results = await asyncio.gather(ask(), ask(), return_exceptions=True)
    assert [1, BoundExceeded] == [results[0], type(results[1])]
    ask = adaptive_bound(1, max_queue=0)(ScriptedProvider(1, latency=1))
    results = await asyncio.gather(ask(), ask(), return_exceptions=True)
    assert QueueFull is type(results[1])
    bound = adaptive_bound(5)
    with pytest.raises(ReentrantUse):
        await bound(ScriptedProvider(bound(ScriptedProvider(1))))()


async def test_cancelled_at_any_step_nothing_is_left():
    """Holding, waiting, being woken, also in a pause: no place and nobody in line stays."""
    bound = adaptive_bound(1, max=1, rng=Random(1))
    provider = ScriptedProvider(openai_error(429, headers={"retry-after": "2"}), latency=1)
    ask = bound(provider)
    for step in cancel_at_every_step():
        holder = asyncio.create_task(ask())
        await asyncio.sleep(0)
        await step(ask())
        await asyncio.gather(holder, ask(), return_exceptions=True)
        shot = bound.snapshot()[0]
        assert (0, 0) == (shot.in_flight, shot.waiting)


def test_it_goes_on_in_another_event_loop():
    """The limit and the pause outlive the loop, whose clock starts anew."""
    bound = adaptive_bound(10, rng=Random(1))
    ask = bound(ScriptedProvider(openai_error(429, headers={"retry-after": "5"}), 1))

    async def refused():
        await asyncio.sleep(1000)
        await asyncio.gather(ask(), return_exceptions=True)

    async def again():
        await ask()
        return now()

    run(refused())
    assert 5.0 < run(again()) < 5.6


async def test_resizing_sets_where_it_goes_on():
    """From there it is found out again, and who waits enters at once."""
    bound = adaptive_bound(1, max=50)
    ask = bound(ScriptedProvider(1, latency=1))
    tasks = [asyncio.create_task(ask()) for _ in range(5)]
    await asyncio.sleep(0.5)
    bound.resize(5)
    await asyncio.wait(tasks)
    assert 1.5 == now()
    with pytest.raises(ValueError, match="limit=0"):
        bound.resize(0)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"initial": 0}, ValueError, "initial=0"),
        ({"initial": 1.5}, TypeError, "initial=1.5"),
        ({"min": 20}, ValueError, "min=20"),
        ({"max": 5}, ValueError, "max=5"),
        ({"max": 5.5}, TypeError, "max=5.5"),
        ({"law": "vegas"}, ValueError, "law='vegas' must be one of 'cubic', 'aimd'"),
        ({"decrease": 1.5}, ValueError, "decrease=1.5"),
        ({"increase": -1}, ValueError, "increase=-1"),
        ({"timeout_decrease": 0}, ValueError, "timeout_decrease=0"),
        ({"error_decrease": 1.1}, ValueError, "error_decrease=1.1"),
        ({"by": "model"}, TypeError, "by='model'"),
        ({"max_wait": -1}, ValueError, "max_wait=-1"),
        ({"max_queue": -1}, ValueError, "max_queue=-1"),
        ({"queue": 3}, TypeError, "queue=3"),
        ({"rng": 3}, TypeError, "rng=3"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_when_it_is_made(wrong, error, text):
    """Each by its name and value."""
    with pytest.raises(error, match=text):
        adaptive_bound(**{"initial": 10} | wrong)


# ------------------------------------------------------------------ what it shows


async def test_every_move_is_an_event(listen):
    """Decreases at once, with their reason; growth when it is worth telling, a whole place at the least."""
    events = listen(detailed=False)
    bound = adaptive_bound(4)
    await saturate(bound(ScriptedProvider(*[1] * 40, openai_error(429), latency=1)), 20, 8)
    told = events(BoundAdapted)
    assert {"growth", "429"} == {event.reason for event in told}
    assert [4.0, *(event.new for event in told)][:-1] == [event.old for event in told]
    assert all(event.new >= event.old + 1 for event in told if event.reason == "growth")


async def test_snapshot_and_repr_tell_the_limit_and_how_it_came_about():
    """How many are in flight and in line, the places, and where it was refused."""
    bound = adaptive_bound(4)
    ask = bound(ScriptedProvider(openai_error(429), hang(), latency=1))
    assert "<adaptive_bound(4): 0 in flight, 0 waiting, 4 places, doubling>" == repr(bound)
    tasks = [asyncio.create_task(ask()) for _ in range(6)]
    await asyncio.sleep(1.5)
    assert "<adaptive_bound(4): 3 in flight, 2 waiting, 2 places, last refused at 4>" == repr(bound)
    shot = bound.snapshot()[0]
    assert (None, 3, 2, 2, 4, False) == (
        shot.key, shot.in_flight, shot.limit, shot.waiting, shot.peak, shot.doubling
    )  # fmt: skip
    assert {"initial", "law", "decrease"} < set(bound.settings())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# ------------------------------------------------------------------ from one start to the next


async def test_the_limit_is_remembered_across_restarts(tmp_path):
    """A new object with the same path starts where the old one was, and does not double from there."""
    path = tmp_path / "limits.json"
    bound = adaptive_bound(2, store=path, rng=Random(1))
    await saturate(bound(Crowded(40)), 60, 20)
    await asyncio.sleep(5)
    found = json.loads(path.read_text())[""]
    assert found > 20
    assert found == pytest.approx(places(bound), abs=2)  # what moved by less than a twentieth is not written
    again = adaptive_bound(2, store=path)
    await again(ScriptedProvider(1))()
    assert (found, False) == (places(again), again.snapshot()[0].doubling)


async def test_each_key_s_limit_is_remembered_by_itself(tmp_path):
    """A key that is in the file begins there, another one at the initial limit."""
    path = tmp_path / "limits.json"
    path.write_text('{"known": 17}')
    bound = adaptive_bound(3, slow_start=False, by=lambda call: call.args[0], store=path)
    ask = bound(ScriptedProvider(1))
    await asyncio.gather(ask("known"), ask("new"))
    assert {"known": 17, "new": 3} == bound.limits()


def test_a_store_must_be_one():
    """What is neither a path nor has load() and save() is refused by value."""
    with pytest.raises(TypeError, match="store=3 must be a path"):
        adaptive_bound(2, store=3)
