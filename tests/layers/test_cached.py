"""`cached`: a hit asks nobody, costs nothing, and is what was answered."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import sys
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from sluiceway import MissingExtra, Pipeline, Session, bounded, cached, rate_limited, retry_jitter
from sluiceway.events import CacheHit, NotCached, Phase
from sluiceway.layers.cache_entries import Codec, NotStorable
from sluiceway.order import PipelineWarning
from sluiceway.testing import ScriptedProvider, chunks, completion, openai_error, run, stream
from spies import Spy, Stream


class Answer(BaseModel):
    """A model of the user's own."""

    text: str
    score: float = 0.0


async def read(items):
    return [item async for item in items]


def counted(answer):
    """Return a provider that gives *answer* and counts how often it is asked."""

    async def ask(prompt="", *, model="m"):
        ask.count += 1
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    ask.count = 0
    return ask


# ------------------------------------------------------------------ hits


@pytest.mark.parametrize(
    "answer",
    ["text", 3, 2.5, True, None, [1, [2]], {"a": {"b": None}}, SimpleNamespace(x=[SimpleNamespace(y=1)])],
    ids=repr,
)
async def test_equal_calls_are_answered_once(answer):
    """The second call gets what the first one got, and asks nobody."""
    ask = counted(answer)
    layer = cached()
    twice = layer(ask)
    assert [answer] * 2 == [await twice("a"), await twice(prompt="a")]
    assert (1, 1, 1) == (ask.count, layer.snapshot().hits, layer.snapshot().stored)
    await twice("b")
    assert 2 == ask.count


@pytest.mark.parametrize("real", [False, True])
async def test_openai_s_answers_come_back_as_they_were(real):
    """The same class with the same content, usage included, and an object of its own."""
    answer = completion("hello", real=real)
    ask = cached()(counted(answer))
    await ask("a")
    again = await ask("a")
    assert (type(answer), answer) == (type(again), again)
    assert again is not answer


async def test_what_one_caller_does_to_an_answer_the_next_does_not_see():
    """An answer is stored as text."""
    ask = cached()(counted(lambda: {"list": [1]}))
    for _ in range(3):
        answer = await ask("a")
        assert {"list": [1]} == answer
        answer["list"].append(2)


async def test_a_hit_costs_nothing():
    """No attempt, no tokens, no permit of the layers inside; a counter of its own."""
    spy = Spy()
    limiter = rate_limited(rpm=60)
    ask = Pipeline(cached(), bounded(1), limiter, spy)(counted(completion("hi", prompt_tokens=7)))
    async with Session() as session:
        for _ in range(5):
            await ask("a")
    stats = session.stats
    assert (5, 5, 1, 4, 7) == (stats.calls, stats.succeeded, stats.attempts, stats.cache_hits, stats.tokens.input)
    assert 1 == spy.log.count("enter")


async def test_a_hit_outside_which_layers_wait_takes_nothing_for_good():
    """A limiter outside the cache gets its permit back whole: nothing was sent."""
    limiter = rate_limited(rpm=60, tpm=60_000, tokens=lambda _: 1000, burst="60s")
    with pytest.warns(PipelineWarning, match="cached stands inside rate_limited"):
        ask = Pipeline(limiter, cached())(counted("x"))
    await ask("a")
    before = limiter.snapshot()[0].available
    await ask("a")
    assert before["tpm"] == pytest.approx(limiter.snapshot()[0].available["tpm"], abs=1001)
    assert 0 == limiter.snapshot()[0].in_flight


async def test_a_hit_is_told(listen):
    """As an event with the age of the answer, which traces draw as a phase; a miss is a phase too."""
    heard = listen()
    ask = cached()(counted("x"))
    await ask("a")
    await ask("a")
    (hit,) = heard(CacheHit)
    assert hit.age >= 0
    assert "cache hit" == hit.name
    assert ["cache miss", "cache hit"] == [phase.name for phase in heard(Phase)]


async def test_errors_are_never_stored():
    """Every call that failed is asked again."""
    ask = counted(openai_error(500))
    for _ in range(2):
        with pytest.raises(Exception, match="500"):
            await cached()(ask)("a")
    assert 2 == ask.count


async def test_a_retry_inside_is_one_answer():
    """What a retry got is stored as the answer of the call."""
    provider = ScriptedProvider(openai_error(500), "fine")
    ask = Pipeline(cached(key=lambda _: "k"), retry_jitter(3))(provider)
    assert ["fine", "fine", 2] == [await ask(), await ask(), provider.count]


# ------------------------------------------------------------------ streams


def openers(items):
    async def opened():
        opened.count += 1
        return items()

    async def generated():
        generated.count += 1
        async for item in items():
            yield item

    opened.count = generated.count = 0
    return [opened, generated]


async def start(function):
    stream = function()
    return await stream if asyncio.iscoroutine(stream) else stream


@pytest.mark.parametrize("index", [0, 1], ids=["opened", "generated"])
@pytest.mark.parametrize("real", [False, True])
async def test_a_stream_is_replayed_as_a_stream(index, real):
    """The same items of the same types, through the same form, and no second trip."""
    script = chunks("one two three", real=real)
    provider = openers(lambda: ScriptedStreamOf(script))[index]
    ask = cached()(provider)
    first = await read(await start(ask))
    again = await read(await start(ask))
    assert [script, script] == [first, again]
    assert [type(item) for item in script] == [type(item) for item in again]
    assert 1 == provider.count


class ScriptedStreamOf(Stream):
    """A stream of given items."""

    def __init__(self, script):
        super().__init__(len(script))
        self._script = script

    async def __anext__(self):
        return self._script[await super().__anext__() - 1]


@pytest.mark.parametrize("index", [0, 1], ids=["opened", "generated"])
async def test_a_stream_that_was_left_is_not_stored(index):
    """Only a clean end is one."""
    provider = openers(lambda: Stream(3))[index]
    ask = cached()(provider)
    stream = await start(ask)
    assert 1 == await anext(stream)
    await stream.aclose()
    assert [1, 2, 3] == await read(await start(ask))
    assert 2 == provider.count


async def test_a_stream_that_broke_is_not_stored():
    """What came before the error is no answer."""
    provider = ScriptedProvider(stream([1, 2], fail_at=1), stream([1, 2]))
    ask = cached(key=lambda _: "k")(provider)
    with pytest.raises(ConnectionResetError):
        await read(await ask())
    assert [1, 2] == await read(await ask())
    assert [1, 2] == await read(await ask())
    assert 2 == provider.count


async def test_a_replay_can_be_left():
    """Leaving it early ends the call, and the entry stays."""
    spy = Spy()
    provider = openers(lambda: Stream(3))[0]
    ask = Pipeline(spy, cached())(provider)
    await read(await ask())
    async with await ask() as replay:
        assert 1 == await anext(replay)
    assert [1, 2, 3] == await read(await ask())
    assert (1, 0) == (provider.count, spy.inside)


async def test_an_empty_stream_is_no_answer():
    """It is asked again."""
    provider = openers(lambda: Stream(0))[0]
    ask = cached()(provider)
    assert [[], []] == [await read(await ask()), await read(await ask())]
    assert 2 == provider.count


async def test_a_replay_makes_no_attempt_and_no_usage():
    """A stream from the cache is counted as a hit and nothing else."""
    provider = openers(lambda: ScriptedStreamOf(chunks("one two")))[0]
    ask = cached()(provider)
    async with Session() as session:
        await read(await ask())
        await read(await ask())
    stats = session.stats
    assert (2, 1, 1, 10) == (stats.succeeded, stats.attempts, stats.cache_hits, stats.tokens.input)


# ------------------------------------------------------------------ keys


async def test_a_key_of_one_s_own():
    """It decides what is equal; None is not cached at all."""
    ask = counted("x")
    by_model = cached(key=lambda call: call.kwargs.get("model"))(ask)
    await by_model("a", model="m")
    await by_model("b", model="m")
    assert 1 == ask.count
    await by_model("a")
    await by_model("a")
    assert 3 == ask.count


async def test_a_key_that_is_no_str_is_refused():
    """By its type."""
    with pytest.raises(TypeError, match="must be a str or None, not a int"):
        await cached(key=lambda _: 1)(counted("x"))()


async def test_an_argument_without_a_form_is_an_error():
    """It says to give key=, rather than taking different calls for equal ones."""
    with pytest.raises(TypeError, match="key="):
        await cached()(counted("x"))(object())


# ------------------------------------------------------------------ time and room


async def test_an_answer_in_memory_lives_by_the_loop_s_clock():
    """It is asked anew when its time is over."""
    ask = counted("x")
    short = cached(ttl="1h")(ask)
    for pause in (0, 3599, 2, 3599):
        await asyncio.sleep(pause)
        await short("a")
    assert 2 == ask.count


def test_memory_outlives_an_event_loop():
    """Another loop, whose clock starts anew, finds the answers, and their time goes on."""
    ask = counted("x")
    short = cached(ttl=100)(ask)

    async def after(*pauses):
        for pause in pauses:
            await asyncio.sleep(pause)
            await short("a")

    run(after(1000))
    run(after(0, 99))
    assert 1 == ask.count
    run(after(0, 2))
    assert 2 == ask.count


async def test_memory_keeps_what_was_used_last():
    """No more than `max_entries` answers."""
    ask = counted("x")
    two = cached(max_entries=2)(ask)
    for prompt in "abacab":
        await two(prompt)
    assert 4 == ask.count


# ------------------------------------------------------------------ on disk


async def test_answers_on_disk_serve_other_objects(tmp_path):
    """A second object with the same file, as in another process, finds what the first one stored."""
    ask = counted(completion("hello", real=True))
    path = tmp_path / "new" / "answers.db"
    first = await cached(path)(ask)("a")
    assert first == await cached(str(path))(ask)("a")
    assert 1 == ask.count
    assert 0o600 == path.stat().st_mode & 0o777


async def test_answers_on_disk_live_by_the_wall_clock(tmp_path, monkeypatch):
    """However long the process slept."""
    now = [1e9]
    monkeypatch.setattr("time.time", lambda: now[0])
    ask = counted("x")
    day = cached(tmp_path / "answers.db", ttl="1d")(ask)
    await day("a")
    now[0] += 86_399
    await day("a")
    assert 1 == ask.count
    now[0] += 2
    await day("a")
    assert 2 == ask.count


async def test_a_file_keeps_what_was_stored_last(tmp_path):
    """No more than `max_entries`, whoever wrote them."""
    ask = counted("x")
    two = cached(tmp_path / "answers.db", max_entries=2)(ask)
    for prompt in "abcbc":
        await two(prompt)
    assert 3 == ask.count
    await two("a")
    assert 4 == ask.count
    with sqlite3.connect(tmp_path / "answers.db") as file:
        rows = file.execute("SELECT count(*) FROM answers").fetchone()
    file.close()
    assert (2,) == rows


def rewrite(path, change):
    file = sqlite3.connect(path)
    with file:
        ((text,),) = file.execute("SELECT value FROM answers").fetchall()
        file.execute("UPDATE answers SET value = ?", (change(text),))
    file.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "not JSON",
        lambda _: "[]",
        lambda _: "{}",
        lambda text: json.dumps({**json.loads(text), "version": 99}),
        lambda text: json.dumps({**json.loads(text), "at": "noon"}),
        lambda text: json.dumps({**json.loads(text), "answer": {"$model": "os:system", "by": "validate", "data": {}}}),
        lambda text: json.dumps({**json.loads(text), "answer": {"$model": 3}}),
        lambda text: json.dumps({**json.loads(text), "answer": {"$namespace": 3}}),
    ],
)
async def test_a_bad_entry_is_passed_over_and_written_anew(tmp_path, change):
    """Whatever stands in the file, the call is answered."""
    path = tmp_path / "answers.db"
    ask = counted("x")
    ours = cached(path)(ask)
    await ours("a")
    rewrite(path, change)
    assert ["x", "x"] == [await ours("a"), await ours("a")]
    assert 2 == ask.count


@pytest.mark.parametrize(
    "model",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:dict",
        "openai.types.chat:os",
        "openai.types.nothing:Thing",
        "openai.types.chat.chat_completion:ChatCompletion.model_validate",
        "openai.types.chat.chat_completion:List",
        "openai.types.:x",
        "tests.evil:Answer",
    ],
)
def test_a_path_in_a_cache_imports_nothing(model):
    """Only classes seen alive or named, and openai's and anthropic's answers."""
    before = set(sys.modules)
    with pytest.raises(ValueError, match=r"is not known|cannot be had|is no class of answers"):
        Codec().read({"$model": model, "by": "validate", "data": {}})
    assert {name for name in set(sys.modules) - before if not name.startswith("openai")} == set()


async def test_a_model_of_one_s_own_comes_back_once_it_is_known(tmp_path):
    """In a new process it is asked again, unless it was named; after one live answer entries are read."""
    path = tmp_path / "answers.db"
    ask = counted(Answer(text="hi", score=0.5))
    assert Answer(text="hi", score=0.5) == await cached(path)(ask)("a")
    named = cached(path, types=[Answer])(ask)
    assert Answer(text="hi", score=0.5) == await named("a")
    assert 1 == ask.count
    new = cached(path)(ask)
    await new("a")
    await new("a")
    assert 2 == ask.count


async def test_an_answer_that_openai_would_not_validate_is_made_as_openai_makes_it():
    """Other providers answer with what its types do not allow, which the client takes all the same."""
    from openai.types.chat import ChatCompletion

    data = completion("hi", real=True).model_dump()
    data["choices"][0]["finish_reason"] = "because"
    data["extra"] = {"x": 1}
    odd = ChatCompletion.construct(**data)
    ask = cached()(counted(odd))
    await ask("a")
    again = await ask("a")
    assert ("because", {"x": 1}, "hi") == (
        again.choices[0].finish_reason, again.extra, again.choices[0].message.content,
    )  # fmt: skip


# ------------------------------------------------------------------ what cannot be stored


@pytest.mark.parametrize(
    "answer", [object(), (1, 2), {1: 2}, {"$model": "x"}, b"bytes", math.nan, [math.inf], {1, 2}, Stream], ids=repr
)
def test_what_would_come_back_as_something_else_is_declined(answer):
    """Rather than given back changed."""
    with pytest.raises(NotStorable):
        Codec().written(answer)


async def test_a_declined_answer_passes_through_and_is_told_once(listen):
    """For each kind of answer, without its content."""
    heard = listen()
    ask = counted((1, "secret"))
    layer = cached()
    both = layer(ask)
    assert [(1, "secret")] * 2 == [await both("a"), await both("a")]
    (told,) = heard(NotCached)
    assert "a builtins:tuple is neither JSON nor a Pydantic model" == told.reason
    assert (2, 2, 0) == (ask.count, layer.snapshot().declined, layer.snapshot().stored)


class Broken:
    """A store that fails."""

    async def get(self, key):
        raise OSError("disk full")

    async def put(self, key, value, *, ttl=None):
        raise OSError("disk full")


async def test_a_store_that_fails_breaks_no_call(listen):
    """The provider is asked, and the failure told once."""
    heard = listen()
    ask = counted("x")
    both = cached(Broken())(ask)
    assert ["x", "x"] == [await both("a"), await both("a")]
    assert ["the store failed: OSError"] == [event.reason for event in heard(NotCached)]


async def test_a_file_that_is_no_cache_is_left_alone(tmp_path):
    """Nothing is deleted that we have not made."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, this is no database at all." * 50)
    before = path.read_bytes()
    assert "x" == await cached(path)(counted("x"))("a")
    assert before == path.read_bytes()


class Dict(dict):
    """A store of the user's own."""

    async def get(self, key, *, collection=None):
        return super().get(key)

    async def put(self, key, value, *, collection=None, ttl=None):
        self[key] = {**value, "ttl": ttl}


async def test_a_store_of_one_s_own():
    """It is given dicts and the time, and whatever has the two methods will do."""
    store = Dict()
    ask = counted("x")
    both = cached(store, ttl="1m")(ask)
    assert ["x", "x"] == [await both("a"), await both("a")]
    ((key, entry),) = store.items()
    assert key.endswith(":" + key.rpartition(":")[2])
    assert (1, "x", 60.0) == (ask.count, entry["answer"], entry["ttl"])
    json.dumps(entry)


# ------------------------------------------------------------------ refusing


def test_memory_needs_its_extra(monkeypatch):
    """And says which; a file does not."""
    monkeypatch.setitem(sys.modules, "cachetools", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sluiceway\[cache\]'"):
        cached()
    cached("answers.db")


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        ((3,), {}, TypeError, "store=3 must be None"),
        ((), {"max_entries": 0}, ValueError, "max_entries=0 must be at least 1"),
        ((), {"max_entries": 1.5}, TypeError, "max_entries=1.5 must be an int"),
        ((Broken(),), {"max_entries": 5}, ValueError, "decides itself"),
        ((), {"key": "prompt"}, TypeError, "key='prompt' must be a function"),
        ((), {"ttl": -1}, ValueError, "ttl"),
    ],
)
def test_bad_settings_are_refused(arguments, settings, error, message):
    """At construction, with the value and what is allowed."""
    with pytest.raises(error, match=message):
        cached(*arguments, **settings)


async def test_it_says_what_it_did():
    """The repr counts."""
    ask = (layer := cached())(counted("x"))
    await ask("a")
    await ask("a")
    assert "<cached(): 1 hits, 1 misses>" == repr(layer)
