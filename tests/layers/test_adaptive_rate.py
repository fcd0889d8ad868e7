"""adaptive_rate: how fast it finds a rate that nobody told it, and what it makes of errors."""

import asyncio
import json
import logging
from random import Random

import pytest

from sluiceway.algorithms.provider_limits import ProviderLimits
from sluiceway.algorithms.provider_meters import Limit
from sluiceway.call import hints
from sluiceway.errors import CircuitOpen, QueueFull, RateLimited, TimedOut
from sluiceway.events import LimitPaused, RateAdapted
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.adaptive_rate import adaptive_rate
from sluiceway.layers.timed import timed
from sluiceway.testing import ScriptedProvider, after, hang, openai_error, run

WORKERS = 500


class Metered:
    """A provider with true limits: it refuses after 50 ms, answers after two seconds, and keeps a ledger."""

    def __init__(self, per_second, metering="bucket", **settings):
        self.metering = metering
        self.limits = ProviderLimits({"requests": self._limit(per_second)}, **settings)
        self.seen = []

    def _limit(self, per_second):
        return Limit(per_second * 60, self.metering, 1.0)

    def change(self, per_second):
        self.limits.change(now(), {"requests": self._limit(per_second)}, refusals_count=False)

    async def __call__(self):
        await asyncio.sleep(0.025)
        verdict = self.limits.ask(now(), {"requests": 1})
        self.seen.append((now(), verdict.accepted))
        if verdict.accepted:
            await asyncio.sleep(2)
            return
        await asyncio.sleep(0.025)
        raise openai_error(429, headers={"retry-after-ms": f"{verdict.retry_after * 1000:.3f}"})

    def accepted(self, since, until):
        """Return how many a second it took."""
        return sum(1 for at, ok in self.seen if since <= at < until and ok) / (until - since)

    def refused(self, since, until):
        """Return the share that it refused."""
        answers = [ok for at, ok in self.seen if since <= at < until]
        return answers.count(False) / len(answers)


async def test_more_keys_than_are_kept_forget_no_rate_that_was_found_lately():
    """A key that fell is as slow as before among a thousand others; after a minute's silence it begins anew."""
    limiter = adaptive_rate(10, by=lambda call: call.args[0], slow_start=False)
    await asyncio.gather(limiter(ScriptedProvider(openai_error(429)))("fell"), return_exceptions=True)
    fallen = limiter.rates()["fell"]
    assert fallen < 10
    ask = limiter(ScriptedProvider(1))
    await asyncio.gather(*map(ask, range(2_000)))
    assert (fallen, 2_001) == (limiter.rates()["fell"], len(limiter.rates()))
    await asyncio.sleep(61)
    await asyncio.gather(*map(ask, range(2_000, 3_100)))
    assert "fell" not in limiter.rates()
    assert 1_100 == len(limiter.rates())


def now():
    return asyncio.get_running_loop().time()


async def saturate(ask, seconds):
    """Ask as fast as *ask* lets us, with more callers than it needs, for so long."""
    until = now() + seconds

    async def ever():
        while now() < until:
            try:
                await ask()
            except Exception as error:
                if getattr(error, "status_code", None) != 429:
                    raise

    await asyncio.gather(*(ever() for _ in range(WORKERS)))


# ------------------------------------------------------------------ what it is for


@pytest.mark.parametrize("metering", ["bucket", "rolling"])
async def test_it_finds_a_limit_that_nobody_told_it(metering):
    """From 10 a second it is at over 90 % of 100 within 30 s, then stays at 90 to 100 % with under 2 % refused."""
    provider = Metered(100, metering)
    limiter = adaptive_rate(10, rng=Random(1))
    await saturate(limiter(provider), 90)
    assert provider.accepted(20, 30) > 90
    assert 90 <= provider.accepted(30, 90) <= 100.5
    assert provider.refused(30, 90) < 0.02


@pytest.mark.parametrize("metering", ["bucket", "rolling"])
async def test_it_follows_a_limit_that_drops_and_recovers(metering):
    """At 30 a second refusals are under 2 % again within 10 s; when the limit is 100 again, so is the rate."""
    provider = Metered(100, metering)
    limiter = adaptive_rate(10, rng=Random(1))
    driving = asyncio.create_task(saturate(limiter(provider), 150))
    await asyncio.sleep(50)
    provider.change(30)
    await asyncio.sleep(50)
    provider.change(100)
    await driving
    assert provider.refused(60, 100) < 0.02
    assert 25 < provider.accepted(60, 100) <= 30.5
    assert provider.accepted(120, 150) > 90
    assert provider.refused(120, 150) < 0.02


async def test_aimd_is_the_other_law():
    """It finds the limit too, more slowly and with fewer refusals."""
    provider = Metered(100)
    await saturate(adaptive_rate(10, law="aimd", rng=Random(1))(provider), 90)
    assert provider.accepted(40, 90) > 80
    assert provider.refused(30, 90) < 0.01


# ------------------------------------------------------------------ what moves the rate


class Refusing(Layer):
    """A layer inside that refuses, as an open circuit does."""

    async def handle(self, call, proceed):
        raise CircuitOpen("open", layer="circuit_breaker")


def rate(limiter):
    return limiter.snapshot()[0].rate


async def after_one(step, *inside, **settings):
    """Return what is left of a rate of 100 after one call that ended by *step*."""
    limiter = adaptive_rate(100, rng=Random(1), **settings)
    ask = Pipeline(limiter, *inside)(ScriptedProvider(step))
    with pytest.raises(BaseException):  # noqa: B017, PT011 - how it ends is the parameter
        await ask()
    return pytest.approx(rate(limiter), rel=1e-6)


async def test_a_429_leaves_seven_tenths():
    """Or what `decrease` says."""
    assert 70 == await after_one(openai_error(429))
    assert 50 == await after_one(openai_error(429), decrease=0.5)


async def test_a_timeout_inside_leaves_nine_tenths():
    """Whether it is the client's or that of a `timed` inside; or what `timeout_decrease` says."""
    assert 90 == await after_one(TimeoutError())
    assert 90 == await after_one(hang(), timed(5))
    assert 80 == await after_one(TimeoutError(), timeout_decrease=0.8)


@pytest.mark.parametrize("error", [openai_error(503), openai_error(500), ConnectionResetError()], ids=repr)
async def test_other_failures_of_the_provider_lower_it_slightly(error):
    """By a fiftieth, or what `error_decrease` says; 1 leaves it."""
    assert 98 == await after_one(error)
    assert 90 == await after_one(error, error_decrease=0.9)
    assert 100 == await after_one(error, error_decrease=1)


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
async def test_what_is_not_the_providers_pace_is_neutral(error):
    """Wrong requests, money, what was never sent, the user's own exceptions, deadlines and cancellation."""
    assert 100 == await after_one(error)


async def test_a_deadline_or_total_timeout_outside_is_neutral():
    """It reaches the layer as a cancellation."""
    limiter = adaptive_rate(100)
    for ask in (timed(5)(limiter(ScriptedProvider(hang()))), limiter(ScriptedProvider(hang()))):
        with hints(deadline=10), pytest.raises(TimedOut):
            await ask()
    assert 100 == rate(limiter)


async def test_a_refusal_of_a_layer_inside_gives_the_permit_back():
    """What was never sent costs nothing, and says nothing."""
    limiter = adaptive_rate(4)
    ask = Pipeline(limiter, Refusing())(ScriptedProvider(1))
    for _ in range(100):
        with pytest.raises(CircuitOpen):
            await ask()
    assert (4, 1.0) == (rate(limiter), pytest.approx(limiter.snapshot()[0].available["rps"]))
    assert now() < 0.5


async def test_a_connection_that_never_came_about_gives_the_permit_back():
    """Nothing was sent."""
    limiter = adaptive_rate(4)
    with pytest.raises(ConnectionRefusedError):
        await limiter(ScriptedProvider(ConnectionRefusedError()))()
    assert 1.0 == limiter.snapshot()[0].available["rps"]


async def test_one_burst_of_refusals_lowers_it_once():
    """Ten calls sent together and refused are one episode: 0.7 of what was in use, not 0.7 to the tenth of it."""
    limiter = adaptive_rate(10, burst="1s", slow_start=False)
    ask = limiter(ScriptedProvider(openai_error(429), latency=0.3))
    await asyncio.gather(*(ask() for _ in range(10)), return_exceptions=True)
    first = rate(limiter)
    assert 6 < first <= 7
    await asyncio.sleep(0.01)
    await asyncio.gather(ask(), return_exceptions=True)
    assert rate(limiter) <= 0.7 * first


async def test_a_429_pauses_until_its_retry_after_and_a_little_longer(listen):
    """For five seconds and at most a tenth more; then all come back at the new rate and not as a burst."""
    events = listen()
    limiter = adaptive_rate(100, slow_start=False, rng=Random(1))
    ask = limiter(ScriptedProvider(openai_error(429, headers={"retry-after": "5"}), 1))
    with pytest.raises(Exception, match="429"):
        await ask()
    pause = limiter.snapshot()[0].paused_for
    assert 5.0 < pause < 5.5
    assert [(pause, "retry-after")] == [(event.seconds, event.source) for event in events(LimitPaused)]
    assert "paused for 5." in repr(limiter)
    await asyncio.gather(*(ask() for _ in range(8)))
    assert pause + 7 / 70 == pytest.approx(now(), abs=0.03)


async def test_a_lying_retry_after_pauses_for_a_minute_at_the_most():
    """A day is not believed."""
    limiter = adaptive_rate(100)
    with pytest.raises(Exception, match="429"):
        await limiter(ScriptedProvider(openai_error(429, headers={"retry-after": "86400"})))()
    assert 60.0 == limiter.snapshot()[0].paused_for


async def test_it_grows_only_while_calls_wait_for_it():
    """A thousand calls at half the rate leave it where it was."""
    limiter = adaptive_rate(10)
    ask = limiter(ScriptedProvider(1))
    for _ in range(1000):
        await ask()
        await asyncio.sleep(0.2)
    assert 10 == rate(limiter)


async def test_it_stays_between_min_and_max():
    """However much it is asked for, and however often refused."""
    limiter = adaptive_rate(10, max=20)
    ask = limiter(ScriptedProvider(1))
    await asyncio.gather(*(ask() for _ in range(200)))
    assert 20 == rate(limiter)
    limiter = adaptive_rate(10, min=5)
    ask = limiter(ScriptedProvider(openai_error(429), latency=0.01))
    for _ in range(20):
        await asyncio.gather(ask(), return_exceptions=True)
    assert 5 == rate(limiter)


# ------------------------------------------------------------------ as a layer that waits


async def test_each_key_has_a_rate_of_its_own():
    """One key's refusals do not slow another one down."""
    limiter = adaptive_rate(100, by=lambda call: call.args[0])
    provider = ScriptedProvider(lambda key: (_ for _ in ()).throw(openai_error(429)) if key == "a" else 1)
    ask = limiter(provider)
    await asyncio.gather(ask("a"), ask("b"), return_exceptions=True)
    assert {"a": pytest.approx(70.0), "b": 100.0} == dict(limiter.rates())
    assert limiter.keyed
    assert "2 keys" in repr(limiter)


async def test_it_refuses_as_other_layers_that_wait():
    """By `max_wait`, saying when to come again, and by `max_queue`."""
    ask = adaptive_rate(1, max_wait="500ms")(ScriptedProvider(1))
    await ask()
    with pytest.raises(RateLimited, match=r"adaptive_rate.*max_wait=0\.5") as caught:
        await ask()
    assert 1.0 == pytest.approx(caught.value.retry_after, abs=0.01)
    ask = adaptive_rate(1, max_queue=0)(ScriptedProvider(1))
    await ask()
    with pytest.raises(QueueFull):
        await ask()


async def test_cancelled_in_the_queue_it_takes_nothing():
    """The bucket refills as if nobody had come."""
    limiter = adaptive_rate(1)
    ask = limiter(ScriptedProvider(1))
    await ask()
    waiting = asyncio.create_task(ask())
    await asyncio.sleep(0.5)
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.sleep(0.5)
    assert 1.0 == pytest.approx(limiter.snapshot()[0].available["rps"])
    assert 0 == limiter.snapshot()[0].waiting


def test_it_goes_on_in_another_event_loop():
    """The rate that it has found, the pause and the episode outlive the loop, whose clock starts anew."""
    limiter = adaptive_rate(100, slow_start=False, rng=Random(1))
    ask = limiter(ScriptedProvider(openai_error(429, headers={"retry-after": "5"}), 1))

    async def refused():
        await asyncio.sleep(1000)
        await asyncio.gather(ask(), return_exceptions=True)

    async def again():
        await ask()
        return now()

    run(refused())
    assert 5.0 < run(again()) < 5.6
    assert 70 <= rate(limiter) < 75


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"initial": 0}, ValueError, "initial=0"),
        ({"initial": "10"}, TypeError, "initial='10'"),
        ({"min": 20}, ValueError, "min=20"),
        ({"max": 5}, ValueError, "max=5"),
        ({"law": "vegas"}, ValueError, "law='vegas' must be one of 'cubic', 'aimd'"),
        ({"decrease": 1.5}, ValueError, "decrease=1.5"),
        ({"increase": -1}, ValueError, "increase=-1"),
        ({"timeout_decrease": 0}, ValueError, "timeout_decrease=0"),
        ({"error_decrease": 1.1}, ValueError, "error_decrease=1.1"),
        ({"burst": "soon"}, ValueError, "burst='soon'"),
        ({"by": "model"}, TypeError, "by='model'"),
        ({"max_wait": -1}, ValueError, "max_wait=-1"),
        ({"max_queue": -1}, ValueError, "max_queue=-1"),
        ({"queue": 3}, TypeError, "queue=3"),
        ({"store": 3}, TypeError, "store=3"),
        ({"rng": 3}, TypeError, "rng=3"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_when_it_is_made(wrong, error, text):
    """Each by its name and value."""
    with pytest.raises(error, match=text):
        adaptive_rate(**{"initial": 10} | wrong)


# ------------------------------------------------------------------ what it shows


async def test_every_move_is_an_event(listen):
    """Decreases at once, with their reason; growth when it has come to 5 %."""
    events = listen(detailed=False)
    limiter = adaptive_rate(10)
    ask = limiter(ScriptedProvider(*[after(0.5, 1)] * 40, openai_error(429)))
    await asyncio.gather(*(ask() for _ in range(41)), return_exceptions=True)
    told = events(RateAdapted)
    assert ["growth"] * (len(told) - 1) + ["429"] == [event.reason for event in told]
    assert len(told) > 5
    olds = [event.old for event in told]
    assert [10.0, *(event.new for event in told)][:-1] == olds
    assert all(event.new > 1.05 * event.old for event in told[:-1])


async def test_snapshot_and_repr_tell_the_rate_and_how_it_came_about():
    """How many wait, what is left, the rate, and where it was refused."""
    limiter = adaptive_rate(4)
    ask = limiter(ScriptedProvider(openai_error(429)))
    assert repr(limiter).endswith("0 waiting, 1 of 4 left of rps, 4/s, doubling>")
    with pytest.raises(Exception, match="429"):
        await ask()
    waiting = asyncio.create_task(ask())
    await asyncio.sleep(0)
    shot = limiter.snapshot()[0]
    assert (None, 2.8, 4.0, False, 1) == (shot.key, pytest.approx(shot.rate), shot.peak, shot.doubling, shot.waiting)
    assert "1 waiting" in repr(limiter)
    assert repr(limiter).endswith("2.8/s, last refused at 4/s>")
    await asyncio.gather(waiting, return_exceptions=True)


# ------------------------------------------------------------------ memory


async def grown(limiter):
    """Have *limiter* grow, and wait until that is written."""
    ask = limiter(ScriptedProvider(1))
    await asyncio.gather(*(ask("prompt") for _ in range(60)))
    await asyncio.sleep(10)
    return dict(limiter.rates())


async def test_the_rate_is_remembered_across_restarts(tmp_path):
    """A new object with the same path starts where the old one was, and does not double from there."""
    path = tmp_path / "deep" / "rates.json"
    (found,) = (await grown(adaptive_rate(10, store=path))).values()
    assert found > 15
    assert {"": found} == json.loads(path.read_text())
    assert [path.name] == [entry.name for entry in path.parent.iterdir()]
    again = adaptive_rate(10, store=str(path))
    await again(ScriptedProvider(1))()
    assert (found, False) == (rate(again), again.snapshot()[0].doubling)


async def test_each_key_is_remembered_by_itself(tmp_path):
    """Those that did not come back this time stay in the file."""
    path = tmp_path / "rates.json"
    path.write_text('{"other": 7.5, "prompt": 33.0}')
    limiter = adaptive_rate(10, by=lambda call: call.args[0], store=path)
    found = (await grown(limiter))["prompt"]
    assert found > 33
    assert {"other": 7.5, "prompt": found} == json.loads(path.read_text())


@pytest.mark.parametrize("text", ["{", "[]", '{"": "fast"}', '{"": -1}', '{"": NaN}', "\x00"])
async def test_a_corrupt_file_costs_a_warning_and_nothing_else(text, tmp_path, caplog):
    """It starts at the initial rate; the warning comes once."""
    path = tmp_path / "rates.json"
    path.write_text(text)
    caplog.set_level(logging.WARNING, "sluiceway")
    limiter = adaptive_rate(10, store=path, by=lambda call: call.args[0])
    ask = limiter(ScriptedProvider(1))
    await ask("a")
    await ask("b")
    assert {"a": 10.0, "b": 10.0} == dict(limiter.rates())
    assert 1 == len(caplog.records)
    assert "cannot be read" in caplog.text


async def test_a_disk_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    """Calls go on."""
    (tmp_path / "file").write_text("")
    caplog.set_level(logging.WARNING, "sluiceway")
    await grown(adaptive_rate(10, store=tmp_path / "file" / "rates.json"))
    await asyncio.sleep(10)
    assert ["cannot be"] == [word for record in caplog.records for word in ["cannot be"] if word in record.message]


class Kept:
    """A store of somebody's own."""

    def __init__(self, **rates):
        self.rates = rates
        self.saved = []

    def load(self):
        return self.rates

    def save(self, rates):
        self.saved.append(dict(rates))


async def test_a_store_of_ones_own_is_asked_once_and_told_every_few_seconds():
    """In a minute of growth it is written at most every three seconds, and not while nothing changes."""
    store = Kept(**{"": 20.0})
    limiter = adaptive_rate(10, law="aimd", store=store)
    ask = limiter(ScriptedProvider(1))
    driving = [asyncio.create_task(ask()) for _ in range(2000)]
    await asyncio.sleep(30)
    assert 5 <= len(store.saved) <= 10
    for task in driving:
        task.cancel()
    await asyncio.gather(*driving, return_exceptions=True)
    await asyncio.sleep(10)
    before = len(store.saved)
    await asyncio.sleep(600)
    assert before == len(store.saved)
    assert {"": rate(limiter)} == {name: pytest.approx(kept, rel=0.02) for name, kept in store.saved[-1].items()}
