"""`retry_jitter`: what is tried again, when, how often, and what its last error tells."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from asyncio import CancelledError, get_running_loop, sleep
from itertools import pairwise

import pytest

from sluiceway.algorithms.retry_budget import RetryBudget
from sluiceway.call import hints
from sluiceway.errors import RateLimited
from sluiceway.events import BackedOff, Phase, SdkRetries
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.bounded import bounded
from sluiceway.layers.retry_jitter import RetrySnapshot, retry_jitter
from sluiceway.layers.timed import timed
from sluiceway.order import Role
from sluiceway.testing.openai_shapes import openai_error
from sluiceway.testing.scripted import ScriptedProvider, after, hang
from sluiceway.testing.scripted_stream import stream


class Highest(random.Random):
    """Chance that always gives the most."""

    def random(self):
        return 1.0


class Lowest(random.Random):
    """Chance that always gives the least."""

    def random(self):
        return 0.0


class MyError(Exception):
    """An exception of the user's own code."""


def now():
    return get_running_loop().time()


def retry(attempts=3, **settings):
    return retry_jitter(attempts, **{"jitter": "none", "base": 1, "rng": Lowest(), **settings})


def starts(provider):
    return [call.started_at for call in provider.calls]


async def failure(awaitable):
    """Return the error of *awaitable*, and the lines of its notes."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the caller asserts what it is
        await awaitable
    notes = getattr(caught.value, "__notes__", [])
    return caught.value, [line for note in notes for line in note.splitlines()]


# ------------------------------------------------------------------ what is tried again


@pytest.mark.parametrize(
    "error",
    [
        openai_error(429),
        openai_error(500),
        openai_error(503),
        openai_error(408),
        openai_error(409),
        openai_error(529),
        ConnectionResetError(),
        TimeoutError(),
        openai_error(400, headers={"x-should-retry": "true"}),
    ],
    ids=repr,
)
async def test_tries_again_what_may_work_the_next_time(error):
    """Too fast, overloaded, broken, timed out, or the provider's word for it: tried again."""
    provider = ScriptedProvider(error, "v")
    assert ("v", 2) == (await retry()(provider)(), provider.count)


@pytest.mark.parametrize(
    "error",
    [
        openai_error(400),
        openai_error(401),
        openai_error(404),
        openai_error(422),
        openai_error(429, code="insufficient_quota"),
        openai_error(503, headers={"x-should-retry": "false"}),
        RateLimited("no permit in time", retry_after=1),
        MyError("a parse error, say"),
    ],
    ids=repr,
)
async def test_does_not_try_again_what_would_fail_again(error):
    """Wrong requests, no money, our own refusals, the user's exceptions: out at once, without so much as a note."""
    provider = ScriptedProvider(error, "v")
    raised, notes = await failure(retry()(provider)())
    assert (True, 1, []) == (raised is error, provider.count, notes)


@pytest.mark.parametrize("on", [MyError, (KeyError, MyError)])
async def test_on_types_are_retried_and_no_others(on):
    """`on=` with types retries those instead of what the kinds of errors say."""
    provider = ScriptedProvider(MyError(), "v")
    assert "v" == await retry(on=on)(provider)()
    provider = ScriptedProvider(openai_error(500), "v")
    await failure(retry(on=on)(provider)())
    assert 1 == provider.count


async def test_on_a_type_does_not_retry_a_quota_that_is_used_up():
    """One `insufficient_quota` made 12 requests elsewhere, being a `RateLimitError` too; here it makes one."""
    error = openai_error(429, code="insufficient_quota")
    provider = ScriptedProvider(error)
    await failure(retry(on=type(error))(provider)())
    assert 1 == provider.count


@pytest.mark.parametrize(
    ("error", "said", "tries"),
    [
        (MyError(), True, 2),
        (MyError(), None, 1),
        (openai_error(500), None, 2),
        (openai_error(500), False, 1),
        (RateLimited("full"), True, 2),
    ],
    ids=repr,
)
async def test_on_a_function_decides_or_leaves_it(error, said, tries):
    """A function's True and False hold, our refusals included; None leaves the error to its kind."""
    provider = ScriptedProvider(error, error)
    await failure(retry(2, on=lambda error: said)(provider)())
    assert tries == provider.count


async def test_on_a_function_that_returns_something_else_is_told():
    """An `on=` whose answer is no bool (a coroutine is true!) is a `TypeError`."""
    raised, _ = await failure(retry(on=lambda error: "yes")(ScriptedProvider(MyError()))())
    assert "on= returned 'yes': it must return True, False or None" == str(raised)


async def test_never_tries_again_after_a_cancellation():
    """Tenacity can swallow a cancellation (#529); here it passes, in an attempt and in a backoff."""
    for step in (hang(), openai_error(500)):
        provider = ScriptedProvider(step)
        task = asyncio.create_task(retry(base=60, cap=60)(provider)())
        await sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert (True, 1) == (task.cancelled(), provider.count)


async def test_hints_can_forbid_it():
    """`hints(idempotent=False)` makes one attempt of any number."""
    provider = ScriptedProvider(openai_error(500))
    with hints(idempotent=False):
        _, notes = await failure(retry()(provider)())
    assert 1 == provider.count
    assert notes[0].endswith("the call is not idempotent")


# ------------------------------------------------------------------ how often


async def test_attempts_is_the_total():
    """Hyx's `attempts=3` makes 4 calls; here it makes 3."""
    provider = ScriptedProvider(openai_error(500))
    await failure(retry(3)(provider)())
    assert 3 == provider.count


async def test_one_attempt_is_no_retry():
    """`attempts=1` never repeats."""
    provider = ScriptedProvider(openai_error(500))
    await failure(retry(1)(provider)())
    assert 1 == provider.count


async def test_every_attempt_knows_its_number():
    """What is inside sees `call.attempt` grow from 1."""

    class Numbers(Layer):
        seen = ()

        async def handle(self, call, proceed):
            self.seen += (call.attempt,)
            return await proceed(call)

    numbers = Numbers()
    await retry()(numbers(ScriptedProvider(openai_error(500), openai_error(500), "v")))()
    assert (1, 2, 3) == numbers.seen


async def test_a_timeout_inside_is_tried_again_one_outside_is_not():
    """The attempt's own limit is the provider's fault; the total's is the end."""
    provider = ScriptedProvider(hang(), "v")
    assert "v" == await timed(60)(retry()(timed(2)(provider)))()
    provider = ScriptedProvider(hang(), "v")
    raised, _ = await failure(timed(3)(retry()(provider))())
    assert (1, "total") == (provider.count, raised.kind)


# ------------------------------------------------------------------ when


async def test_waits_twice_as_long_each_time():
    """The bound of the wait doubles: 1, 2, 4 seconds, up to the cap."""
    provider = ScriptedProvider(openai_error(500))
    await failure(retry(6, cap=5)(provider)())
    assert [1, 2, 4, 5, 5] == [later - earlier for earlier, later in pairwise(starts(provider))]


async def test_waits_twice_the_base_after_a_429():
    """Too fast asks for more than a blink: the base counts double."""
    provider = ScriptedProvider(openai_error(429), openai_error(500), "v")
    await retry()(provider)()
    assert [0, 2, 4] == starts(provider)


async def test_full_jitter_is_the_default_and_spreads_from_nothing_to_the_bound():
    """Of many calls that fail together no two come back together, and none later than the bound."""
    provider = ScriptedProvider(*[openai_error(500)] * 200, "v")
    budget = RetryBudget(200)
    await asyncio.gather(*(retry_jitter(base=1, rng=random.Random(i), budget=budget)(provider)() for i in range(200)))
    again = sorted(starts(provider)[200:])
    assert 200 == len(set(again))
    assert again[0] < 0.05
    assert 0.95 < again[-1] <= 1


async def test_decorrelated_jitter_remembers_within_one_call_only():
    """A shared `previous` would let one call's long wait lengthen another's first: each begins at the base."""
    layer = retry(3, jitter="decorrelated", rng=Highest(), cap=100)
    for _ in range(2):
        provider = ScriptedProvider(openai_error(500), openai_error(500), "v")
        began = now()
        await layer(provider)()
        assert [0, 3, 3 + 9] == [at - began for at in starts(provider)]


@pytest.mark.parametrize("headers", [{"retry-after": "7"}, {"retry-after-ms": "7000", "retry-after": "60"}])
async def test_waits_as_long_as_the_provider_asks(headers):
    """Retry-After, in milliseconds first, outweighs a shorter backoff."""
    provider = ScriptedProvider(openai_error(429, headers=headers), "v")
    await retry()(provider)()
    assert [0, 7] == starts(provider)


async def test_comes_back_up_to_a_tenth_later_than_asked():
    """Siblings that were told the same second do not return in it: jitter only ever adds."""
    provider = ScriptedProvider(openai_error(429, headers={"retry-after": "10"}), "v")
    await retry(rng=Highest())(provider)()
    assert [0, 11] == starts(provider)


async def test_a_retry_after_does_not_shorten_the_backoff():
    """Retry-After of nothing leaves the backoff as it is."""
    provider = ScriptedProvider(openai_error(503, headers={"retry-after": "0"}), "v")
    await retry(base=4)(provider)()
    assert [0, 4] == starts(provider)


async def test_a_retry_after_is_capped():
    """Polly waits an hour if told so; here the cap holds."""
    provider = ScriptedProvider(openai_error(429, headers={"retry-after": "3600"}), "v")
    await retry(cap=30)(provider)()
    assert [0, 30] == starts(provider)


async def test_a_refusal_that_is_retried_waits_as_it_asks():
    """Our own `retry_after` counts like the provider's."""
    provider = ScriptedProvider(RateLimited("full", retry_after=9), "v")
    await retry(on=RateLimited)(provider)()
    assert [0, 9] == starts(provider)


async def test_does_not_wait_where_the_deadline_comes_first():
    """Stamina's `timeout=0.2` ran 0.71 s; a wait that outlives the deadline is not begun, and the note says why."""
    provider = ScriptedProvider(after(1, openai_error(429, headers={"retry-after": "12"})))
    raised, notes = await failure(timed(6)(retry()(provider))())
    assert (429, 1) == (raised.status_code, now())
    assert [
        "sluiceway gave up after 1 attempt in 1 s: the deadline comes first (12 s to wait, 5 s left; retry_after=12 s)",
        "attempt 1: RateLimitError 429 after 1 s",
    ] == notes


async def test_the_callers_deadline_counts_too():
    """`hints(deadline=...)` ends a call at once whose next attempt would come after it."""
    with hints(deadline=4):
        raised, _ = await failure(retry(5)(ScriptedProvider(openai_error(500)))())
    assert (500, 3.0) == (raised.status_code, now())  # at 0, 1 and 3; the next would be at 7


async def test_max_elapsed_ends_it():
    """No attempt begins once `max_elapsed` has passed."""
    provider = ScriptedProvider(openai_error(500))
    _, notes = await failure(retry(9, max_elapsed="5s")(provider)())
    assert [0, 1, 3] == starts(provider)
    assert "sluiceway gave up after 3 attempts in 3 s: max_elapsed comes first (4 s to wait, 2 s left)" == notes[0]


async def test_a_backoff_holds_no_permit():
    """One 30 s backoff that held its place blocked every healthy call; here the place is free meanwhile."""
    bound = bounded(1)
    failing = retry(base=30)(bound(ScriptedProvider(openai_error(500), "late")))
    task = asyncio.create_task(failing())
    await sleep(1)
    assert "v" == await bound(ScriptedProvider("v"))()
    assert 1 == now()
    assert ("late", 30) == (await task, now())


# ------------------------------------------------------------------ the retry budget


async def test_an_outage_is_not_multiplied_by_the_attempts():
    """With 100 calls in flight 20 may retry at once; the others fail with their error, which says so."""
    provider = ScriptedProvider(after(1, openai_error(503)))
    ask = retry(2, base=10)(provider)
    ended = await asyncio.gather(*(ask() for _ in range(100)), return_exceptions=True)
    assert 120 == provider.count
    first_to_fail = ended[20].__notes__[0]
    assert "retry budget spent (20 retries among 100 calls in flight)" in first_to_fail


async def test_a_quiet_program_may_retry():
    """Three retries at once are always allowed."""
    provider = ScriptedProvider(*[openai_error(503)] * 4, "v")
    ask = retry(2)(provider)
    ended = await asyncio.gather(*(ask() for _ in range(4)), return_exceptions=True)
    assert ["v"] * 3 == ended[:3]
    assert 503 == ended[3].status_code


async def test_layers_share_a_budget_that_is_given_to_them():
    """Two layers with one budget have three retries between them; each alone would have three."""
    budget = RetryBudget()
    provider = ScriptedProvider(openai_error(503))
    asks = [retry(2, budget=budget)(provider), retry(2, budget=budget)(provider)]
    await asyncio.gather(*(ask() for ask in asks for _ in range(3)), return_exceptions=True)
    assert 6 + 3 == provider.count


async def test_without_a_budget_all_may_retry():
    """`budget=False` lets every call repeat."""
    provider = ScriptedProvider(openai_error(503))
    layer = retry(2, budget=False)
    await asyncio.gather(*(layer(provider)() for _ in range(50)), return_exceptions=True)
    assert (100, None) == (provider.count, layer.snapshot().limit)


@pytest.mark.parametrize("at", [0.5, 1.5, 2.5])
async def test_a_cancelled_call_leaves_nothing_in_the_budget(at):
    """Cancelled in its first attempt, in its backoff, or in a retry, a call gives back what it took."""
    layer = retry(3)
    ask = layer(ScriptedProvider(after(1, openai_error(500)), hang()))
    task = asyncio.create_task(ask())
    await sleep(at)
    task.cancel()
    await asyncio.wait([task])
    assert RetrySnapshot(calls=0, retries=0, limit=3.0) == layer.snapshot()


async def test_the_budget_shows_what_is_under_way():
    """Snapshot and repr count the calls in flight and the retries among them."""
    layer = retry_jitter(2, base=5, jitter="none")
    task = asyncio.create_task(layer(ScriptedProvider(openai_error(500), "v"))())
    await sleep(1)
    assert RetrySnapshot(calls=1, retries=1, limit=3.0) == layer.snapshot()
    assert "<retry_jitter(2, base=5, jitter='none'): 1 calls in flight, 1 of 3 retries>" == repr(layer)
    assert "v" == await task


# ------------------------------------------------------------------ streams


async def test_a_stream_that_breaks_before_its_first_item_is_opened_again_behind_the_readers_back():
    """The reader's object stays; the provider's stream behind it is the new one."""
    provider = ScriptedProvider(stream("xy", fail_at=0), stream("xy", fail_at=0), stream("ab"))
    reading = await retry()(provider)()
    assert (["a", "b"], 3) == ([item async for item in reading], provider.count)


async def test_a_stream_is_not_repeated_after_its_first_item():
    """Stamina's retried stream yields its items twice; here the error comes out, and each item came once."""
    provider = ScriptedProvider(stream("abc", fail_at=2), stream("abc"))
    reading = await retry()(provider)()
    assert ["a", "b"] == [await anext(reading), await anext(reading)]
    raised, notes = await failure(anext(reading))
    assert (ConnectionResetError, 1) == (type(raised), provider.count)
    assert "sluiceway gave up after 1 attempt in 0 s: items of the stream are out" == notes[0]


async def test_a_generator_is_repeated_before_its_first_item_only():
    """Async generator functions go the same way."""
    tries = []

    @retry()
    async def ask():
        tries.append(now())
        if len(tries) == 1:
            raise ConnectionResetError
        yield "a"
        raise ConnectionResetError

    reading = ask()
    assert "a" == await anext(reading)
    await failure(anext(reading))
    assert [0, 1] == tries


async def test_a_reader_who_leaves_during_the_backoff_ends_it():
    """A closed stream is not opened again."""
    provider = ScriptedProvider(stream("a", fail_at=0), stream("a"))
    layer = retry(base=30)
    reading = await layer(provider)()
    task = asyncio.create_task(anext(reading))
    await sleep(1)
    task.cancel()
    await asyncio.wait([task])
    await sleep(100)
    assert (1, 0, 0) == (provider.count, layer.snapshot().calls, layer.snapshot().retries)


# ------------------------------------------------------------------ the last error


async def test_the_last_error_comes_out_as_it_was_raised():
    """Tenacity's RetryError hides the cause; here the very object comes out, its cause and context untouched."""
    cause = KeyError("inner")

    async def fail():
        errors.append(MyError())
        raise errors[-1] from cause

    errors = []
    raised, _ = await failure(retry(2, on=MyError)(fail)())
    assert (True, True, None) == (raised is errors[-1], raised.__cause__ is cause, raised.__context__)
    assert errors[0].__context__ is None


async def test_notes_tell_what_was_tried():
    """One line an attempt: the error's class and status, how long it took, how long we waited then and why."""
    first = after(0.2, openai_error(429, headers={"retry-after": "3"}, message="secret prompt"))
    provider = ScriptedProvider(first, after(0.3, TimeoutError("secret")), openai_error(500))
    _, notes = await failure(retry(3)(provider)())
    assert [
        "sluiceway gave up after 3 attempts in 5.5 s: attempts exhausted",
        "attempt 1: RateLimitError 429 after 0.2 s, then waited 3 s (retry-after)",
        "attempt 2: TimeoutError after 0.3 s, then waited 2 s (backoff)",
        "attempt 3: InternalServerError 500 after 0 s",
    ] == notes


async def test_one_calls_notes_do_not_show_another_calls_attempts():
    """Tenacity's statistics of one call show another's attempts; each call's notes are its own."""
    provider = ScriptedProvider(lambda kind: (_ for _ in ()).throw(openai_error(kind)))
    ask = retry(2, budget=False)(provider)
    _, other = await asyncio.gather(failure(ask(500)), failure(ask(503)))
    assert ["503"] * 2 == [line.split()[3] for line in other[1][1:]]


async def test_an_exception_that_takes_no_notes_comes_out_all_the_same():
    """A frozen exception passes without a note."""

    class Frozen(ConnectionError):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    raised, notes = await failure(retry(2)(ScriptedProvider(Frozen))())
    assert (Frozen, []) == (type(raised), notes)


async def test_a_not_retryable_error_after_others_tells_of_them():
    """An error that ends the trying early is raised with what came before it."""
    _, notes = await failure(retry(5)(ScriptedProvider(openai_error(500), openai_error(400)))())
    assert "sluiceway gave up after 2 attempts in 1 s: not retryable: ours to fix 400" == notes[0]


async def test_errors_of_a_call_that_succeeded_are_let_go():
    """The layer keeps no error of a call that is over."""
    seen = []

    async def ask():
        if not seen:
            error = MyError()
            seen.append(weakref.ref(error))
            raise error
        return "v"

    assert "v" == await retry(on=MyError)(ask)()
    gc.collect()
    assert None is seen[0]()


# ------------------------------------------------------------------ what it reports


async def test_reports_each_backoff_to_whoever_is_there(listen):
    """Every backoff is an event with its delay, who asked for it, the error's kind and the next attempt's number."""
    events = listen(listening=False)
    error = openai_error(429, headers={"retry-after": "3"})
    await retry()(ScriptedProvider(after(1, error), "v"))()
    [event] = events(BackedOff)
    assert (1, 4, "retry_jitter", "backoff") == (event.started_at, event.at, event.layer, event.name)
    assert (3, "retry-after", True, 2) == (event.delay, event.source, event.cause is error, event.attempt)
    assert {
        "sluiceway.retry.delay": 3.0,
        "sluiceway.retry.delay_source": "retry-after",
        "sluiceway.retry.reason": "rate limited",
    } == event.attributes


@pytest.mark.parametrize(
    ("script", "tries", "reason"),
    [
        (["v"], 1, "succeeded"),
        ([openai_error(500), "v"], 2, "succeeded"),
        ([openai_error(400)], 1, "not retryable: ours to fix 400"),
        ([openai_error(500)], 3, "attempts exhausted"),
        ([openai_error(500, headers={"retry-after": "600"})], 1, "the deadline comes first"),
    ],
    ids=repr,
)
async def test_reports_its_final_decision_where_detail_is_wanted(listen, script, tries, reason):
    """The phase "retry check" says why it ended, and after how many attempts."""
    events = listen()
    with hints(deadline=20):
        await asyncio.gather(retry()(ScriptedProvider(*script))(), return_exceptions=True)
    found = [phase.attributes for phase in events(Phase) if phase.name == "retry check"]
    assert [{"sluiceway.retry.attempts": tries, "sluiceway.retry.reason": reason}] == found


async def test_reports_no_decision_without_detail(listen):
    """In a session alone, a call that succeeds at once reports nothing."""
    events = listen(detailed=False)
    await retry()(ScriptedProvider("v"))()
    assert [] == events(Phase)


async def test_a_timeout_says_what_went_into_backoff():
    """The time of a backoff is booked, so that the total's error can tell where the time went."""
    raised, _ = await failure(timed(5)(retry(base=3)(ScriptedProvider(openai_error(500), hang())))())
    assert {"backoff": 3.0, "attempt 2": 2.0, "attempt 1": 0.0} == raised.spent


async def test_tells_once_that_the_sdk_retries_under_us(listen):
    """`max_retries=2` times 5 attempts were 15 requests, all but 5 invisible; seen on any attempt, it is told once."""

    class Sdk(Layer):
        async def handle(self, call, proceed):
            try:
                return await proceed(call)
            finally:
                call.run.last.sdk_retries = 2

    events = listen(listening=False)
    layer = retry(2)
    ask = layer(Sdk()(ScriptedProvider(openai_error(500), "v")))
    await ask()
    await ask()
    assert [2] == [event.retries for event in events(SdkRetries)]
    await retry(1)(Sdk()(ScriptedProvider("v")))()  # which multiplies nothing
    assert 1 == len(events(SdkRetries))


# ------------------------------------------------------------------ as a layer


def test_says_what_it_is():
    """It repeats, counts in the amplification factor, and names its settings."""
    layer = retry_jitter(5, base="250ms")
    assert (Role.REPEAT, 5, True) == (layer.role, layer.attempts, layer.stateful)
    assert ("250ms", "full") == (layer.settings()["base"], layer.settings()["jitter"])
    assert 15 == Pipeline(retry_jitter(5), retry_jitter(3)).attempts


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"attempts": 0}, ValueError, "attempts=0 must be at least 1"),
        ({"attempts": 2.5}, TypeError, "attempts=2.5 must be a whole number"),
        ({"base": -1}, ValueError, "base=-1"),
        ({"cap": "soon"}, ValueError, "cap='soon'"),
        ({"jitter": "some"}, ValueError, "jitter='some' must be one of 'full', 'equal'"),
        ({"on": "RateLimitError"}, TypeError, "on='RateLimitError' must be an exception type"),
        ({"on": ()}, TypeError, r"on=\(\) must be"),
        ({"on": int}, TypeError, "must be an exception type"),
        ({"on": CancelledError}, TypeError, "on=CancelledError: that is no error but a cancellation"),
        ({"budget": 0.2}, TypeError, "budget=0.2 must be a RetryBudget"),
        ({"rng": 7}, TypeError, "rng=7 must be a random.Random"),
    ],
)
def test_refuses_bad_settings(settings, error, message):
    """A setting that makes no sense is refused by name, where it is written."""
    with pytest.raises(error, match=message):
        retry_jitter(**settings)


async def test_a_setting_that_was_mutable_is_not_shared():
    """Stamina copies settings with a shared list inside; here two layers have budgets and chance of their own."""
    one, other = retry_jitter(3), retry_jitter(3)
    assert one.budget is not other.budget
    assert one.rng is not other.rng
