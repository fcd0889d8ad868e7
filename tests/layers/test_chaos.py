"""`chaos`: faults that nobody outside can tell from the provider's own, the same ones in every run."""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections import Counter

import pytest

from sluiceway import Pipeline, TimedOut, bounded, chaos, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.events import AttemptFinished, Phase
from sluiceway.providers.errors import Fault, classify
from sluiceway.testing import ScriptedProvider, chunks, completion, run
from spies import Spy, Stream


async def kinds(function, calls=100):
    """Return what each of so many concurrent calls ended with, in order."""

    async def one():
        try:
            answer = await asyncio.wait_for(function(), 1000)
        except TimeoutError:
            return "hung"
        except Exception as error:  # noqa: BLE001 - whatever was injected is the result
            return getattr(error, "status_code", type(error).__name__)
        else:
            return answer

    return await asyncio.gather(*(one() for _ in range(calls)))


async def read(stream):
    return [item async for item in stream]


def certain(**settings):
    return chaos(**settings, enabled=True)


# ------------------------------------------------------------------ on and off


async def test_it_is_off_unless_switched_on():
    """A fault that is certain spares every call until `on()` is entered, and again after it."""
    faults = chaos(errors={500: 1})
    ask = faults(ScriptedProvider("answer"))
    assert "answer" == await ask()
    with faults.on():
        assert [500] == await kinds(ask, 1)
    assert "answer" == await ask()
    assert faults.snapshot().on is False


@pytest.mark.parametrize(
    ("environment", "enabled", "on"),
    [("1", None, True), ("0", None, False), ("1", False, False), (None, True, True), (None, None, False)],
)
def test_environment_and_setting_switch_it_on(monkeypatch, environment, enabled, on):
    """`SLUICEWAY_CHAOS=1` counts where the setting says nothing, and is read when the layer is made."""
    if environment is not None:
        monkeypatch.setenv("SLUICEWAY_CHAOS", environment)
    else:
        monkeypatch.delenv("SLUICEWAY_CHAOS", raising=False)
    layer = chaos(hang=1, enabled=enabled)
    monkeypatch.setenv("SLUICEWAY_CHAOS", "0" if environment == "1" else "1")
    assert on == layer.snapshot().on


async def test_blocks_nest():
    """Leaving an inner block leaves the outer one on, and entering it does not start over."""
    faults = chaos(errors={500: 1})
    ask = faults(ScriptedProvider())
    with faults.on():
        await kinds(ask, 2)
        with faults.on():
            await kinds(ask, 1)
        assert [500] == await kinds(ask, 1)
        assert (True, 4, {"500": 4}) == (faults.snapshot().on, faults.snapshot().trips, dict(faults.snapshot().faults))


# ------------------------------------------------------------------ the same in every run


def test_a_seed_makes_the_same_faults():
    """Two runs with one seed agree trip by trip, another seed differs, and every block starts anew."""
    settings = {"errors": {429: 0.2, 529: 0.2}, "reset": 0.2, "hang": 0.1}

    def met(seed, blocks=1):
        faults = chaos(**settings, seed=seed)
        ask = faults(ScriptedProvider("answer"))

        async def block():
            with faults.on():
                return await kinds(ask)

        return [run(block()) for _ in range(blocks)]

    first, second = met(7, blocks=2)
    assert [first] == met(7)
    assert first == second
    assert [first] != met(8)


async def test_every_fault_has_its_share():
    """Over many trips each is met as often as it is likely."""
    faults = certain(errors={429: 0.1, ValueError: 0.1}, reset=0.2, hang=0.1)
    met = Counter(await kinds(faults(ScriptedProvider("answer")), 4000))
    expected = {429: 0.1, "ValueError": 0.1, "ConnectionResetError": 0.2, "hung": 0.1, "answer": 0.5}
    assert expected.keys() == met.keys()
    for kind, share in expected.items():
        assert abs(met[kind] / 4000 - share) < 0.03, kind
    assert met["hung"] == faults.snapshot().faults["hang"]


# ------------------------------------------------------------------ as the provider's own


@pytest.mark.parametrize(
    ("status", "fault", "headers"),
    [(429, Fault.RATE_LIMITED, {"retry-after": "1"}), (529, Fault.OVERLOADED, {}), (400, Fault.OURS_TO_FIX, {})],
)
async def test_an_error_is_in_the_record_as_a_provider_s_would_be(listen, status, fault, headers):
    """Status, headers and class stand in the attempt's record, and it is classified alike."""
    heard = listen()
    with pytest.raises(Exception, match=str(status)) as raised:
        await Pipeline(Spy(), certain(errors={status: 1}))(ScriptedProvider())()
    (finished,) = heard(AttemptFinished)
    attempt = finished.attempt
    assert (status, headers, "error", raised.value) == (
        attempt.status, dict(attempt.headers), attempt.outcome, attempt.error,
    )  # fmt: skip
    assert (fault, status) == (classify(raised.value).fault, classify(raised.value).status)


async def test_headers_can_be_given():
    """They replace the default, and pause limits and retries as a provider's do."""
    faults = certain(errors={429: 1}, headers={"retry-after-ms": "2500"})
    with pytest.raises(Exception, match="429") as raised:
        await faults(ScriptedProvider())()
    assert 2.5 == classify(raised.value).retry_after


async def test_retries_wait_as_they_are_told():
    """A retry outside makes another trip, whose fate is another, after the wait that the headers ask for."""
    faults = chaos(errors={429: 0.5}, headers={"retry-after": "20"}, seed=3)
    provider = ScriptedProvider("answer")
    ask = Pipeline(retry_jitter(10, budget=False), faults)(provider)
    with faults.on():
        assert ["answer"] * 20 == await kinds(ask, 20)
    refused = faults.snapshot().faults["429"]
    assert (20, 20 + refused) == (provider.count, faults.snapshot().trips)
    assert get_running_loop().time() >= 20


async def test_limits_are_settled_as_for_a_provider():
    """A 429 spends its request and returns its tokens; nothing stays in flight."""
    limiter = rate_limited(rpm=600, tpm=600_000, tokens=lambda _: 1000)
    places = bounded(5)
    ask = Pipeline(places, limiter, certain(errors={429: 1}, headers={}))(ScriptedProvider())
    await kinds(ask, 3)
    (shot,) = limiter.snapshot()
    assert shot.available["tpm"] == shot.limit["tpm"] or shot.available["tpm"] > 0
    assert (0, 0) == (places.snapshot()[0].in_flight, shot.in_flight)


async def test_the_circuit_opens_on_faults():
    """A breaker counts them as failures of the provider."""
    ask = Pipeline(circuit_breaker(failure_ratio=0.5, min_calls=5), certain(errors={500: 1}))(ScriptedProvider())
    met = await kinds(ask, 5)
    assert [500] * 5 == met
    assert ["CircuitOpen"] == await kinds(ask, 1)


async def test_it_stands_anywhere():
    """A fault happens at the provider, also where the layer is the outermost."""
    spy = Spy()
    await kinds(Pipeline(certain(errors={500: 1}), retry_jitter(2), spy)(ScriptedProvider()), 1)
    assert 2 == spy.log.count("InternalServerError")


async def test_a_reset_loses_an_answer_that_was_made():
    """The provider is called, and its stream closed."""
    provider = ScriptedProvider("answer")
    assert ["ConnectionResetError"] * 3 == await kinds(certain(reset=1)(provider), 3)
    assert 3 == provider.count
    stream = Stream()

    async def opens():
        return stream

    assert ["ConnectionResetError"] == await kinds(certain(reset=1)(opens), 1)
    assert stream.closed


async def test_a_hang_ends_by_a_time_limit_only():
    """Nothing comes, and the provider is not called."""
    provider = ScriptedProvider("answer")
    with pytest.raises(TimedOut):
        await Pipeline(timed(5), certain(hang=1))(provider)()
    assert (5, 0) == (get_running_loop().time(), provider.count)


@pytest.mark.parametrize("real", [False, True])
async def test_errors_can_be_openai_s_own(real):
    """`real=True` raises what code that asks `isinstance` expects."""
    import openai

    for settings, kind in (
        ({"errors": {429: 1}}, openai.RateLimitError),
        ({"reset": 1}, openai.APIConnectionError),
    ):
        with pytest.raises(Exception, match=r".") as raised:
            await certain(**settings, real=real)(ScriptedProvider("answer"))()
        assert real == isinstance(raised.value, kind)
        assert classify(raised.value).retryable


# ------------------------------------------------------------------ answers and streams


@pytest.mark.parametrize("slow_by", [3, (3, 3), lambda rng: 3.0])
async def test_a_slow_answer_comes_late(slow_by):
    """A plain answer, or the first item of a stream, comes `slow_by` later; the further items at once."""
    assert "answer" == await certain(slow=1, slow_by=slow_by)(ScriptedProvider("answer"))()
    assert 3 == get_running_loop().time()

    async def opens():
        return Stream(3)

    assert [1, 2, 3] == await read(await certain(slow=1, slow_by=slow_by)(opens)())
    assert 6 == get_running_loop().time()
    with pytest.raises(TimedOut):
        await read(await Pipeline(timed(first_item=2), certain(slow=1, slow_by=slow_by))(opens)())


async def generates():
    for item in (1, 2, 3):
        yield item


async def opens():
    return Stream(3)


@pytest.mark.parametrize("provider", [opens, generates], ids=["opened", "generated"])
async def test_a_stream_is_cut(provider):
    """After so many items the connection breaks, to the reader and to layers alike."""
    spy = Spy()
    ask = Pipeline(spy, certain(cut=1, cut_after=2))(provider)
    stream = ask() if provider is generates else await ask()
    assert [1, 2] == [await anext(stream), await anext(stream)]
    with pytest.raises(ConnectionResetError):
        await read(stream)
    assert ["enter", "ConnectionResetError"] == spy.log


@pytest.mark.parametrize("provider", [opens, generates], ids=["opened", "generated"])
async def test_a_truncated_stream_just_ends(provider):
    """Its layers and its reader see a clean end."""
    spy = Spy()
    ask = Pipeline(spy, certain(truncated=1, cut_after=1))(provider)
    assert [1] == await read(ask() if provider is generates else await ask())
    assert ["enter", "value"] == spy.log


@pytest.mark.parametrize("settings", [{"errors": {503: 1}}, {"reset": 1}])
async def test_a_generator_fails_at_its_first_read(settings):
    """As one does that asks its provider when it is read; a retry may begin again."""
    with pytest.raises(Exception, match=r"503|connection"):
        await read(certain(**settings)(generates)())


async def test_a_cut_leaves_plain_answers_alone():
    """There is no stream to cut."""
    assert "answer" == await certain(cut=1)(ScriptedProvider("answer"))()


@pytest.mark.parametrize("real", [False, True])
async def test_a_truncated_answer_says_why(real):
    """Half of the text, the reason of a token limit, the usage untouched, and the provider's own object as it was."""
    whole = completion("eight ch", real=real)
    answer = await certain(truncated=1)(ScriptedProvider(whole))()
    choice = answer.choices[0]
    assert ("eigh", "length", whole.usage) == (choice.message.content, choice.finish_reason, answer.usage)
    assert "eight ch" == whole.choices[0].message.content


async def test_a_stream_is_otherwise_the_provider_s():
    """Its attributes pass through, and closing it closes the provider's."""
    stream = Stream(5)

    async def ask():
        return stream

    async with await certain(slow=1, slow_by=0)(ask)() as read_through:
        assert "the response" == read_through.response
        assert 1 == await anext(read_through)
    assert stream.closed


async def test_chunks_stay_chunks():
    """A stream of a provider comes through as it is."""
    script = chunks("one two")

    async def ask():
        return Stream(len(script))

    assert len(script) == len(await read(await certain(slow=1, slow_by=1)(ask)()))


# ------------------------------------------------------------------ telling, and refusing


async def test_a_trace_tells_what_was_injected(listen):
    """A phase of no length names the fault, so that nobody takes it for the provider's."""
    heard = listen()
    await kinds(certain(errors={429: 1})(ScriptedProvider()), 1)
    (phase,) = heard(Phase)
    assert ("chaos: 429", {"sluiceway.chaos.fault": "429"}) == (phase.name, dict(phase.attributes))


async def test_it_says_what_it_did():
    """The repr counts faults by name."""
    faults = certain(errors={429: 1})
    await kinds(faults(ScriptedProvider()), 2)
    assert "on, 2 429 in 2 trips" in repr(faults)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, ValueError, "without a fault does nothing"),
        ({"errors": {429: 2}}, ValueError, r"errors\[429\] must be a probability"),
        ({"errors": 0.2}, TypeError, r"errors=0.2 must be a mapping .*, such as {429: 0.2}"),
        ({"errors": {200: 0.1}}, ValueError, "not 200"),
        ({"errors": {"429": 0.1}}, TypeError, "'429' must be an HTTP status"),
        ({"hang": 0.6, "reset": 0.6}, ValueError, "not be likelier than 1"),
        ({"cut": 0.1, "cut_after": (3, 1)}, ValueError, "the least before the most"),
        ({"cut": 0.1, "cut_after": -1}, ValueError, "at least 0"),
        ({"cut": 0.1, "cut_after": 1.5}, TypeError, "number of items"),
        ({"slow": 0.1, "slow_by": "soon"}, ValueError, "soon"),
        ({"hang": 0.1, "enabled": 1}, TypeError, "enabled=1"),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    """At construction, with the value and what is allowed."""
    with pytest.raises(error, match=message):
        chaos(**settings)
