"""rate_limited: what is admitted when, what is settled, what the provider may teach it."""

import asyncio

import pytest

from sluiceway.call import hints
from sluiceway.errors import CircuitOpen, CostTooLarge, QueueFull, RateLimited
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.rate_limited import rate_limited
from sluiceway.testing import ScriptedProvider, VirtualTimeLoop, chunks, completion, openai_error, run, stream
from spies import Again


class Spy(Layer):
    """Keeps every event that passes its call."""

    def __init__(self):
        self.events = []

    async def handle(self, call, proceed):
        call.run.sink = self.events.append
        call.run.listening = True
        return await proceed(call)

    def of(self, name):
        return [event for event in self.events if type(event).__name__ == name]


def now():
    return asyncio.get_running_loop().time()


async def times(function, n, *args):
    """Call *function* *n* times at once; return when each answer came."""

    async def one():
        await function(*args)
        return now()

    return await asyncio.gather(*[one() for _ in range(n)])


def level(limiter, name="tpm"):
    return limiter.snapshot()[0].available[name]


# ------------------------------------------------------------------ admission


async def test_calls_past_the_burst_come_at_the_rate():
    """At rpm=600 nine calls go at once (0.9 s of the rate) and the others follow ten a second."""
    came = await times(rate_limited(rpm=600, slack=0)(ScriptedProvider(1)), 19)
    assert [0.0] * 9 == came[:9]
    assert [0.1 * i for i in range(1, 11)] == pytest.approx(came[9:], abs=1e-3)


async def test_a_fast_limit_refills_later_after_idleness():
    """The first request of an idle client is on its way for a while; the provider's bucket is full until it comes."""
    limiter = rate_limited(rpm=6_000)
    assert 90.0 == level(limiter, "rpm")
    await limiter(ScriptedProvider(1))()
    assert 89.0 == level(limiter, "rpm")
    await asyncio.sleep(0.12)
    assert 89.0 == pytest.approx(level(limiter, "rpm"))
    await asyncio.sleep(0.01)
    assert 90.0 == pytest.approx(level(limiter, "rpm"))


async def test_requests_and_tokens_are_taken_together():
    """While tokens are short no request permit is held by the call that waits for them."""
    limiter = rate_limited(rpm=600, tpm=60_000, tokens=lambda call: 900)
    ask = limiter(ScriptedProvider(1))
    await ask("a")
    waiting = asyncio.create_task(ask("b"))
    await asyncio.sleep(0)
    assert 8.0 == pytest.approx(level(limiter, "rpm"))
    await waiting
    assert 0.9 == pytest.approx(now(), abs=0.01)


async def test_a_call_above_the_burst_passes_and_leaves_a_debt():
    """tpm=30,000 holds 450 tokens of burst; a call of 2,000 passes at once, and the next waits for its debt."""
    limiter = rate_limited(tpm=30_000, tokens=lambda call: 2_000)
    ask = limiter(ScriptedProvider(1))
    await ask("a")
    assert 0.0 == now()
    assert -1_550.0 == pytest.approx(level(limiter))
    await ask("b")
    assert 4.0 == pytest.approx(now(), abs=0.02)


async def test_a_call_above_the_whole_limit_is_refused_at_once_with_the_numbers():
    """A cost that no wait could admit is a CostTooLarge that names cost, limit, unit and window."""
    ask = rate_limited(tpm=30_000, tokens=lambda call: 30_001)(ScriptedProvider(1))
    with pytest.raises(CostTooLarge, match=r"30,001 tokens.*30,000 per 60 s") as caught:
        await ask("a")
    assert (30_001, 30_000, "tokens", 60.0) == (
        caught.value.cost,
        caught.value.limit,
        caught.value.unit,
        caught.value.window,
    )


async def test_places_in_flight_are_taken_with_the_rest_and_return_at_the_end():
    """in_flight=2 lets two run at a time, and a stream holds its place to its end."""
    provider = ScriptedProvider(stream([1, 2], gap=1.0))
    limiter = rate_limited(rpm=60_000, in_flight=2)
    ask = limiter(provider)
    streams = [await ask(), await ask()]
    third = asyncio.create_task(ask())
    await asyncio.sleep(10)
    assert not third.done()
    assert [1, 2] == [item async for item in streams[0]]
    assert [1, 2] == [item async for item in await third]
    assert [1, 2] == [item async for item in streams[1]]
    assert 0 == limiter.snapshot()[0].in_flight


async def test_any_other_window_can_be_given():
    """requests=10, window="1s" lets ten a second through."""
    came = await times(rate_limited(requests=10, window="1s", slack=0)(ScriptedProvider(1)), 19)
    assert 1.0 == pytest.approx(came[-1], abs=0.01)


async def test_a_window_meters_the_named_limits_over_it():
    """rpm=6000 metered over one second is a hundred in any second with the exact algorithm."""
    limiter = rate_limited(rpm=6_000, window="1s", algorithm="sliding_window", margin=0)
    came = await times(limiter(ScriptedProvider(1)), 300)
    assert max(sum(1 for t in came if start <= t < start + 1.0) for start in came) <= 100


async def test_limits_a_day_are_counted_and_not_spread():
    """rpd=100 lets a hundred go at once, and the next only a day after the first."""
    came = await times(rate_limited(rpd=100)(ScriptedProvider(1)), 101)
    assert [0.0] * 100 == came[:100]
    assert 86_400 == pytest.approx(came[100], rel=0.01)


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "gcra"])
async def test_every_algorithm_keeps_the_rate_and_settles(algorithm):
    """With each algorithm 200 calls at 100 a second take two seconds less a burst, and their tokens settle."""
    limiter = rate_limited(rpm=6_000, tpm=6_000_000, algorithm=algorithm)
    came = await times(limiter(ScriptedProvider(completion("x", prompt_tokens=5, completion_tokens=5))), 200, "hi")
    assert 0.9 < came[-1] < 2.3


class TickingLoop(VirtualTimeLoop):
    """Virtual time on which, as on a real clock, no two looks show the same."""

    def time(self):
        self._now += 1e-6
        return self._now


def test_a_call_that_waited_settles_what_it_took():
    """An exact log knows a permit by its time: that of the grant, not that at which the waiter went on."""
    limiter = rate_limited(tpm=60_000, algorithm="sliding_window", tokens=lambda call: 250)
    ask = limiter(ScriptedProvider(completion("x", prompt_tokens=2_000, completion_tokens=0)))

    async def main():
        await times(ask, 25)
        return level(limiter)

    with asyncio.Runner(loop_factory=TickingLoop) as runner:
        assert 60_000 - 25 * 2_000 == runner.run(main())


@pytest.mark.parametrize("settle", ["refund", "settle"])
def test_a_permit_that_waited_settles_what_it_took(settle):
    """A refund of a permit gives back what it took, also when it had to wait for it."""
    limiter = rate_limited(tpm=60_000, algorithm="sliding_window")

    async def one():
        async with limiter.permit(tokens=1_000) as permit:
            permit.refund() if settle == "refund" else permit.settle(0)

    async def main():
        await asyncio.gather(*[one() for _ in range(10)])
        return level(limiter)

    with asyncio.Runner(loop_factory=TickingLoop) as runner:
        assert 60_000 == runner.run(main())


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "gcra"])
async def test_more_keys_than_are_kept_switch_no_limit_off(algorithm):
    """A key whose limits are not full again is not forgotten: that would give it anew what it has used."""
    limiter = rate_limited(rpd=1, rpm=10, by=lambda call: call.args[0], max_wait=0, algorithm=algorithm)
    ask = limiter(ScriptedProvider(1))
    rounds = [await asyncio.gather(*map(ask, range(1_001)), return_exceptions=True) for _ in range(3)]
    assert 1_001 == sum(answer == 1 for answers in rounds for answer in answers)


async def test_keys_with_full_limits_are_forgotten():
    """Memory is for those keys that hold something back; of the others a thousand are kept."""
    ask = (limiter := rate_limited(rpm=60, by=lambda call: call.args[0]))(ScriptedProvider(1))
    await asyncio.gather(*map(ask, range(3_000)))
    assert 3_000 == len(limiter.snapshot())
    await asyncio.sleep(60)
    await asyncio.gather(*map(ask, range(3_000, 3_100)))
    assert 1_000 == len(limiter.snapshot())


async def test_a_paused_key_is_not_forgotten():
    """The provider asked for a pause, and a new state would know of none."""
    limiter = rate_limited(rps=1_000, by=lambda call: call.args[0], learn=True)
    refused = limiter(ScriptedProvider(openai_error(429, headers={"retry-after": "30"})))
    await asyncio.gather(refused("slow down"), return_exceptions=True)
    await asyncio.sleep(1)
    ask = limiter(ScriptedProvider(1))
    await asyncio.gather(*map(ask, range(2_000)))
    await ask("slow down")
    assert 30.0 <= now()


async def test_each_key_has_limits_of_its_own():
    """by= keeps tenants apart: a full one does not hold up another."""
    limiter = rate_limited(rpm=60, by=lambda call: call.hints.tenant, slack=0)
    ask = limiter(ScriptedProvider(1))
    with hints(tenant="a"):
        full = [asyncio.create_task(ask()) for _ in range(5)]
    await asyncio.sleep(0)
    with hints(tenant="b"):
        await ask()
    assert 0.0 == now()
    await asyncio.wait(full)
    assert {"a", "b"} == {shot.key for shot in limiter.snapshot()}


async def test_two_functions_under_one_object_share_its_limit():
    """A layer object is its state: two functions decorated with one object share, with two they do not."""
    shared = rate_limited(rpm=60, slack=0)
    one, two = shared(ScriptedProvider(1)), shared(ScriptedProvider(1))
    await one()
    await two()
    assert 1.0 == pytest.approx(now(), abs=0.01)


# ------------------------------------------------------------------ refusals


async def test_max_wait_refuses_what_would_wait_longer_and_says_when_to_come_again():
    """A call that would certainly wait longer than max_wait is refused at once, with retry_after."""
    ask = rate_limited(rpm=60, max_wait="500ms")(ScriptedProvider(1))
    await ask()
    with pytest.raises(RateLimited, match=r"max_wait=0\.5") as caught:
        await ask()
    assert 0.0 == now()
    assert 1.0 == pytest.approx(caught.value.retry_after, abs=0.01)


async def test_max_wait_ends_a_wait_whose_length_could_not_be_known():
    """Behind others in the queue a call is refused after max_wait, and leaves no trace in the queue."""
    limiter = rate_limited(rpm=60, max_wait="1.5s", slack=0)
    ask = limiter(ScriptedProvider(1))
    results = await asyncio.gather(*[ask() for _ in range(4)], return_exceptions=True)
    assert [1, 1] == results[:2]
    assert all(isinstance(error, RateLimited) for error in results[2:])
    assert 1.5 == now()
    assert 0 == limiter.snapshot()[0].waiting


async def test_max_queue_refuses_whom_the_queue_does_not_hold():
    """With max_queue=1 the second waiter is refused at once."""
    ask = rate_limited(rpm=60, max_queue=1)(ScriptedProvider(1))
    await ask()
    waiting = asyncio.create_task(ask())
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="1 calls wait already"):
        await ask()
    assert 1 == await waiting


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({}, ValueError, "needs a limit"),
        ({"rpm": 0}, ValueError, "rpm=0"),
        ({"rpm": -1}, ValueError, "rpm=-1"),
        ({"rpm": "6"}, TypeError, "rpm='6'"),
        ({"rpm": True}, TypeError, "rpm=True"),
        ({"requests": 5}, ValueError, "needs its window"),
        ({"rpm": 5, "algorithm": "leaky"}, ValueError, "token_bucket, sliding_window, gcra"),
        ({"rpm": 5, "policy": "cohere"}, ValueError, "generic, openai, azure, anthropic"),
        ({"rpm": 5, "counter": "guess"}, ValueError, "guess"),
        ({"rpm": 5, "settle": "never"}, ValueError, "'usage' or 'reserve'"),
        ({"rpm": 5, "burst": "soon"}, ValueError, "burst='soon'"),
        ({"rpm": 5, "tokens": 3}, TypeError, "tokens=3"),
        ({"rpm": 5, "learn": "yes"}, TypeError, "learn='yes'"),
        ({"rpm": 5, "queue": 3}, TypeError, "queue=3"),
        ({"rpm": 5, "in_flight": 0}, ValueError, "in_flight=0"),
        ({"rpm": 5, "max_queue": -1}, ValueError, "max_queue=-1"),
        ({"rpm": 5, "by": "model"}, TypeError, "by='model'"),
    ],
)
def test_bad_settings_are_refused_when_the_layer_is_made(settings, error, text):
    """Each bad setting is an error that names the value, before any call."""
    with pytest.raises(error, match=text):
        rate_limited(**settings)


async def test_text_that_tokens_returned_is_not_in_the_error():
    """It may be the prompt."""
    ask = rate_limited(tpm=60_000, tokens=lambda call: call.args[0])(ScriptedProvider(1))
    with pytest.raises(TypeError, match=r"^tokens= returned a str: return a number"):
        await ask("a secret")


# ------------------------------------------------------------------ settling


async def settled(step, *, estimate=500, settle="usage", **options):
    """Return (basis, tokens charged) of one call that was estimated at *estimate* and ended by *step*."""
    spy = Spy()
    limiter = rate_limited(rpm=600, tpm=6_000_000, tokens=lambda call: estimate, settle=settle, **options)
    ask = Pipeline(spy, limiter)(ScriptedProvider(step))
    before = level(limiter)
    try:
        result = await ask("x")
        if hasattr(type(result), "__anext__"):
            async for _ in result:
                pass
    except Exception:  # noqa: BLE001 - the way it ended is the parameter
        pass
    return spy.of("Settled")[0].basis, round(before - level(limiter))


async def test_known_usage_replaces_the_estimate():
    """700 used of 500 estimated leaves 700 charged; 100 used gives 400 back."""
    assert ("usage", 700) == await settled(completion("x", prompt_tokens=300, completion_tokens=400))
    assert ("usage", 100) == await settled(completion("x", prompt_tokens=30, completion_tokens=70))


async def test_a_stream_settles_by_its_last_chunk():
    """A stream's usage stands in its last chunk; it settles when the stream is over."""
    items = chunks("hello there", prompt_tokens=30, completion_tokens=70)
    assert ("usage", 100) == await settled(stream(items))


async def test_an_answer_without_usage_keeps_the_estimate():
    """Neither an answer nor a stream without usage changes what was reserved."""
    assert ("estimate", 500) == await settled("text")
    assert ("estimate", 500) == await settled(stream(["a", "b"]))


async def test_settle_reserve_keeps_the_estimate_though_usage_is_known():
    """Providers that charge what was reserved are met by settle="reserve"."""
    assert ("usage", 500) == await settled(completion("x", prompt_tokens=1, completion_tokens=1), settle="reserve")


async def test_a_429_spends_the_request_and_returns_the_tokens():
    """A refusal by the provider costs the request, not the tokens."""
    basis, tokens = await settled(openai_error(429))
    assert ("refused", 0) == (basis, tokens)


@pytest.mark.parametrize("step", [openai_error(500), openai_error(503), ConnectionResetError(), TimeoutError()])
async def test_a_failure_after_sending_may_have_been_billed(step):
    """5xx, resets and timeouts keep the reservation, marked so."""
    assert ("possibly billed", 500) == await settled(step)


async def test_a_call_that_was_never_sent_is_refunded_whole():
    """A layer inside that refuses gives request and tokens back."""

    class Refusing(Layer):
        async def handle(self, call, proceed):
            raise CircuitOpen("open", layer="circuit_breaker")

    limiter = rate_limited(rpm=600, tpm=60_000, tokens=lambda call: 500)
    ask = Pipeline(limiter, Refusing())(ScriptedProvider(1))
    with pytest.raises(CircuitOpen):
        await ask("x")
    assert (9.0, 900.0) == (level(limiter, "rpm"), level(limiter))


async def test_a_connection_that_never_came_about_is_refunded_whole():
    """Nothing was sent, so nothing is spent, the request neither."""
    assert ("refund", 0) == await settled(ConnectionRefusedError())


@pytest.mark.parametrize("settings", [{}, {"in_flight": 3}, {"by": lambda call: None}, {"algorithm": "sliding_window"}])
async def test_it_is_refunded_where_no_tokens_are_limited_too(settings):
    """Requests alone are limits like any."""
    limiter = rate_limited(rpm=600, **settings)
    full = 600.0 if settings.get("algorithm") else 9.0
    for _ in range(5):
        with pytest.raises(ConnectionRefusedError):
            await limiter(ScriptedProvider(ConnectionRefusedError()))()
    assert (full, 0) == (level(limiter, "rpm"), limiter.snapshot()[0].in_flight)


@pytest.mark.parametrize(
    ("first", "basis", "left"),
    [
        (openai_error(503), "possibly billed", (8.0, 400.0)),
        (openai_error(429), "refused", (8.0, 900.0)),
        (ConnectionRefusedError(), "refund", (9.0, 900.0)),
    ],
)
async def test_what_one_attempt_has_spent_is_not_refunded_for_a_later_one_that_was_never_sent(first, basis, left):
    """A retry inside ended without a connection: the permit is settled by what last reached the provider."""
    spy = Spy()
    limiter = rate_limited(rpm=600, tpm=60_000, tokens=lambda call: 500, learn=False)
    ask = Pipeline(spy, limiter, Again(2))(ScriptedProvider(first, ConnectionRefusedError()))
    with pytest.raises(ConnectionRefusedError):
        await ask("x")
    assert (basis, left) == (spy.of("Settled")[0].basis, (level(limiter, "rpm"), level(limiter)))


async def test_an_error_that_carries_usage_is_settled_by_it():
    """An answer cut off by its token limit is an error in some clients, and billed all the same."""
    error = ValueError("cut off")
    error.completion = completion("x", prompt_tokens=30, completion_tokens=70)
    assert ("usage", 100) == await settled(error)


async def test_cancelling_in_the_queue_takes_nothing():
    """A cancelled waiter leaves every level as it was."""
    limiter = rate_limited(rpm=60, tpm=60_000, tokens=lambda call: 10)
    ask = limiter(ScriptedProvider(1))
    await ask("x")
    waiting = asyncio.create_task(ask("y"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (0.0, 890.0) == (level(limiter, "rpm"), level(limiter))


async def test_input_and_output_limits_settle_apart():
    """input_tpm and output_tpm are charged with their own kind of tokens."""
    limiter = rate_limited(input_tpm=6_000_000, output_tpm=6_000_000, tokens=lambda call: (500, 500))
    await limiter(ScriptedProvider(completion("x", prompt_tokens=20, completion_tokens=800)))("x")
    assert (90_000 - 20, 90_000 - 800) == (level(limiter, "input_tpm"), level(limiter, "output_tpm"))


@pytest.mark.parametrize(
    ("policy", "reserved", "charged"),
    [("generic", 110, 70), ("openai", 100, 100), ("azure", 110, 110), ("anthropic", 110, 60)],
)
async def test_each_provider_charges_in_its_own_way(policy, reserved, charged):
    """What counts at the door and what in the end is the provider's policy, for the same call and usage."""
    seen = []
    spy = Spy()
    limiter = rate_limited(tpm=6_000_000, policy=policy, counter="characters")
    answer = completion("x", prompt_tokens=20, completion_tokens=50, cached_tokens=10)

    async def provider(**_):
        seen.append(90_000 - round(level(limiter)))
        return answer

    await Pipeline(spy, limiter)(provider)(prompt="x" * 40, max_tokens=100)
    assert (reserved, charged) == (seen[0], 90_000 - round(level(limiter)))


async def test_hints_name_the_expected_tokens():
    """hints(expected_tokens=...) stands for the estimate of calls in its block."""
    limiter = rate_limited(tpm=6_000_000)
    ask = limiter(ScriptedProvider("no usage"))
    with hints(expected_tokens=1_234):
        await ask("x")
    assert 90_000 - 1_234 == level(limiter)


async def test_output_is_estimated_by_max_tokens_else_by_what_answers_were_like():
    """max_tokens is what the output may be; without it 500 at first, then the running mean of the key's answers."""
    limiter = rate_limited(output_tpm=6_000_000)
    ask = limiter(ScriptedProvider("no usage", completion("x", prompt_tokens=1, completion_tokens=100), "no usage"))
    await ask(prompt="x", max_tokens=50)
    assert 90_000 - 50 == level(limiter, "output_tpm")
    await ask(prompt="x")
    assert 90_000 - 150 == level(limiter, "output_tpm")
    await ask(prompt="x")
    assert 90_000 - 250 == level(limiter, "output_tpm")


# ------------------------------------------------------------------ what the provider says


async def test_a_429_pauses_the_key_until_retry_after():
    """After a 429 with Retry-After: 5 no call of the key goes for five seconds, siblings included."""
    limiter = rate_limited(rpm=6_000)
    ask = limiter(ScriptedProvider(openai_error(429, headers={"retry-after": "5"}), 1, 1))
    with pytest.raises(Exception, match="429"):
        await ask()
    assert 5.0 == limiter.snapshot()[0].paused_for
    await asyncio.gather(ask(), ask())
    assert 5.0 <= now() < 5.1


async def test_a_lying_retry_after_pauses_for_a_minute_at_the_most():
    """Retry-After: 86400 stops the key for 60 s, not for a day."""
    limiter = rate_limited(rpm=6_000)
    with pytest.raises(Exception, match="429"):
        await limiter(ScriptedProvider(openai_error(429, headers={"retry-after": "86400"})))()
    assert 60.0 == limiter.snapshot()[0].paused_for


async def test_insufficient_quota_does_not_pause():
    """A 429 for lack of money is not a matter of time."""
    limiter = rate_limited(rpm=6_000)
    error = openai_error(429, headers={"retry-after": "5"}, code="insufficient_quota")
    with pytest.raises(type(error)):
        await limiter(ScriptedProvider(error))()
    assert 0.0 == limiter.snapshot()[0].paused_for


class Headers(Layer):
    """Puts headers on the attempt, as a client's hook does."""

    stateful = False

    def __init__(self, headers):
        self.headers = headers

    async def handle(self, call, proceed):
        result = await proceed(call)
        call.run.last.headers = self.headers
        return result


def openai_headers(remaining, limit=100):
    return {"x-ratelimit-limit-requests": str(limit), "x-ratelimit-remaining-requests": str(remaining)}


async def test_the_level_never_runs_ahead_of_what_the_headers_say_remains():
    """remaining=3 lowers a level of 89 to 3; remaining=95 does not raise it."""
    for remaining, expected in ((3, 3.0), (95, 89.0)):
        limiter = rate_limited(rpm=6_000)
        await Pipeline(limiter, Headers(openai_headers(remaining)))(ScriptedProvider(1))()
        assert expected == level(limiter, "rpm")


async def test_an_old_header_leaves_the_part_of_a_permit_that_has_grown_since():
    """remaining=0 was counted when the request came, 2.5 s ago; whole permits grown since may have been taken since."""
    limiter = rate_limited(rpm=60, burst="10s")
    await Pipeline(limiter, Headers(openai_headers(0)))(ScriptedProvider(1, latency=2.5))()
    assert 0.5 == pytest.approx(level(limiter, "rpm"))


async def test_slow_limits_with_slow_answers_are_used_to_the_full():
    """A provider that has nothing left after each request, and takes a second for it, gets one each 1.2 seconds."""
    limiter = rate_limited(rpm=50)
    provider = ScriptedProvider(1, latency=1)
    ask = Pipeline(limiter, Headers(openai_headers(0, 50)))(provider)
    await asyncio.gather(*(ask() for _ in range(51)))
    assert 50 * 1.2 + 1 == pytest.approx(now(), abs=0.1)


async def test_learnt_burst_rises_to_what_remains():
    """burst="learn" lifts the level to what the headers say remains."""
    limiter = rate_limited(rpm=6_000, burst="learn")
    await Pipeline(limiter, Headers(openai_headers(5_000, 6_000)))(ScriptedProvider(1))()
    assert 5_000.0 == level(limiter, "rpm")


async def test_a_key_of_the_users_own_learns_only_when_told():
    """With by= headers are not believed, unless learn=True."""
    for learn, expected in ((None, 89.0), (True, 3.0)):
        limiter = rate_limited(rpm=6_000, by=lambda call: "k", learn=learn)
        await Pipeline(limiter, Headers(openai_headers(3)))(ScriptedProvider(1))()
        assert expected == level(limiter, "rpm")


async def test_a_limit_a_day_does_not_learn_from_a_minutes_remainder():
    """A header whose limit is the minute's lowers rpm, not rpd."""
    limiter = rate_limited(rpm=100, rpd=10_000)
    await Pipeline(limiter, Headers(openai_headers(1, 100)))(ScriptedProvider(1))()
    assert 9_999.0 == level(limiter, "rpd")
    assert level(limiter, "rpm") <= 1.0


# ------------------------------------------------------------------ blocks, streams, loops


async def test_a_permit_goes_around_a_block():
    """Async with limiter.permit(tokens=...) takes and settles as a call does."""
    limiter = rate_limited(rpm=60, tpm=6_000_000, slack=0)
    async with limiter.permit(tokens=500) as permit:
        assert 90_000 - 500 == level(limiter)
        permit.settle(tokens=20)
        assert 90_000 - 20 == level(limiter)
    async with limiter.permit(tokens=100):
        pass
    assert 1.0 == pytest.approx(now(), abs=0.01)
    with pytest.raises(CostTooLarge):
        limiter.permit(tokens=10_000_000)


async def test_a_permit_settles_once():
    """A second settle, or one before the block, is a RuntimeError."""
    permit = rate_limited(rpm=60).permit()
    with pytest.raises(RuntimeError, match="not taken yet"):
        permit.settle(tokens=1)
    async with permit:
        permit.refund()
        with pytest.raises(RuntimeError, match="settled already"):
            permit.settle(tokens=1)


def test_the_limit_holds_from_one_event_loop_to_the_next():
    """asyncio.run twice with one object: the second loop's clock starts anew, the limit goes on."""
    limiter = rate_limited(rpm=60, slack=0)
    ask = limiter(ScriptedProvider(1))

    async def some(n):
        await asyncio.sleep(1_000)
        return [t - 1_000 for t in await times(ask, n)]

    assert [0.0, 1.0] == pytest.approx(run(some(2)), abs=0.01)

    async def more():
        return await times(ask, 3)

    came = run(more())
    assert 2.0 <= came[-1] <= 3.1


async def test_repr_and_snapshot_answer_why_it_waits():
    """Repr names what is left and how many wait."""
    limiter = rate_limited(rpm=60)
    ask = limiter(ScriptedProvider(1))
    await ask()
    waiting = asyncio.create_task(ask())
    await asyncio.sleep(0)
    assert "1 waiting" in repr(limiter)
    assert "0 of 60 left of rpm" in repr(limiter)
    await waiting
