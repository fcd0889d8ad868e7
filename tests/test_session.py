"""A scope with statistics and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import SimpleNamespace

import pytest

from sluiceway import Pipeline
from sluiceway.errors import SessionClosed
from sluiceway.events import CallFinished, CallStarted, ErrorRateHigh
from sluiceway.layer import Layer
from sluiceway.providers.prices import PriceTable
from sluiceway.session import Session
from sluiceway.telemetry import hub
from sluiceway.testing import ScriptedProvider, after, chunks, completion, hang, openai_error, run, stream
from spies import Again, Passing, Stream, Within
from stepping import cancel_at_every_step


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


def bound(*script, name="ask", **options):
    """Return a scripted provider with a layer around it."""
    return Pipeline(Passing(), name=name)(ScriptedProvider(*script, **options))


@pytest.fixture(autouse=True)
def nothing_left():
    """No session stays behind anywhere."""
    yield
    assert [] == hub.process_scopes
    assert {} == hub.attached


# ------------------------------------------------------------------ what belongs to it


async def test_a_session_counts_the_calls_inside():
    """Calls before and after are not its own; the ones inside are, also those of tasks made inside."""
    ask = bound(completion(), latency=1.0)
    await ask("before")
    async with Session("nightly") as session:
        await ask("inside")
        await asyncio.gather(ask("in a task"), asyncio.create_task(ask("in a task")))
        assert session is Session.current()
    await ask("after")
    assert Session.current() is None
    stats = session.stats
    assert (3, 3, 3) == (stats.calls, stats.succeeded, stats.attempts)
    assert ("nightly", 2.0) == (stats.name, stats.elapsed)


async def test_statistics_equal_what_happened():
    """Retries, tokens, time limits and cancellations of real calls are counted as what they are."""
    answer = completion(prompt_tokens=10, completion_tokens=5, model="m")
    ask = Pipeline(Within(50.0), Again(times=3, pause=1.0), name="ask")(
        ScriptedProvider(ConnectionError(), answer, answer, hang(), hang(), *[ValueError("no")] * 3)
    )
    async with Session(prices={"m": {"input": 1.0, "output": 2.0}}) as session:
        await ask("retried")
        await ask("answered")
        with pytest.raises(TimeoutError):
            await ask("hangs")
        task = asyncio.create_task(ask("cancelled"))
        await asyncio.sleep(1)
        assert 1 == session.stats.in_flight
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(ValueError, match="no"):
            await ask("fails")
    stats = session.stats
    assert (5, 2, 1, 1, 1) == (stats.calls, stats.succeeded, stats.failed, stats.timed_out, stats.cancelled)
    assert (8, 30, pytest.approx(40e-6)) == (stats.attempts, stats.tokens.total, stats.cost)
    assert {"TimedOut (total)": 1, "ValueError": 1} == stats.errors
    assert {"ValueError": 3, "ConnectionError": 1} == stats.attempt_errors
    assert 50.0 == stats.latency.max
    assert (2, 3) == (stats.by_model["m"].calls, stats.by_model["m"].attempts)


async def test_a_stream_is_in_flight_until_it_is_read():
    """A stream's call ends with its last item; its tokens and its first item are counted."""
    ask = bound(stream(chunks("a b c", prompt_tokens=7, completion_tokens=3), gap=1.0))
    async with Session() as session:
        items = await ask("prompt")
        assert 1 == session.stats.in_flight
        assert [item async for item in items]
        stats = session.stats
    assert (0, 1, 10, 1) == (stats.in_flight, stats.succeeded, stats.tokens.total, stats.first_item.count)
    assert "gpt-4o-mini" in stats.by_model


async def test_inner_sessions_feed_outer_ones():
    """A call inside two sessions counts in both; the innermost is the current one."""
    ask = bound(completion())
    async with Session("outer") as outer:
        async with Session("inner") as inner:
            await ask("both")
            assert inner is Session.current()
        await ask("outer")
        assert outer is Session.current()
    assert (2, 1) == (outer.stats.calls, inner.stats.calls)


async def test_a_call_that_outlives_its_session_counts():
    """What started inside is counted when it is over, with the time that took; what starts later is not."""
    ask = bound(completion(), latency=10.0)
    async with Session() as session:
        task = asyncio.create_task(ask("outlives"))
        await asyncio.sleep(1)

    assert (1, 1, 1.0) == (session.stats.calls, session.stats.in_flight, session.stats.elapsed)
    await task
    assert (1, 1, 0, 10.0) == (
        session.stats.calls,
        session.stats.succeeded,
        session.stats.in_flight,
        session.stats.elapsed,
    )


async def test_a_task_that_stays_behind_may_call_on():
    """A task made inside that lives on is neither refused nor counted when the session has ended."""
    ask = bound(completion(), latency=10.0)

    async def worker():
        for _ in range(3):
            await ask("again")

    async with Session() as session:
        task = asyncio.create_task(worker())
        await asyncio.sleep(15)
    await task
    assert 2 == session.stats.calls


async def test_leaving_in_another_task():
    """A session may be entered in one task and left in another; who was inside is then outside."""
    ask = bound(completion())
    session = Session()
    await asyncio.create_task(session.__aenter__())
    assert Session.current() is None
    await session.__aexit__(None, None, None)

    other = Session()
    await other.__aenter__()
    await asyncio.create_task(other.__aexit__(None, None, None))
    assert Session.current() is None
    await ask("not counted")
    assert (0, 0) == (session.stats.calls, other.stats.calls)


async def test_sessions_may_cross():
    """Sessions need not end in the reverse order in which they began."""
    ask = bound(completion())
    first, second = Session(), Session()
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    await ask("second")
    await second.__aexit__(None, None, None)
    assert (0, 1) == (first.stats.calls, second.stats.calls)


async def test_a_session_is_entered_once():
    """A session cannot be entered a second time: its statistics would be of two times."""
    session = Session("nightly")
    assert "not entered" in repr(session)
    async with session:
        assert "open, 0 in flight" in repr(session)
        with pytest.raises(RuntimeError, match="make another Session"):
            await session.__aenter__()
    with pytest.raises(RuntimeError, match="make another Session"):
        await session.__aenter__()
    assert "ended" in repr(session)


async def test_attach_counts_tasks_that_are_older():
    """A pipeline or function that is attached is counted wherever it is called; until the session ends."""
    pipeline = Pipeline(Passing(), name="chat")
    chat, ask, other = pipeline(ScriptedProvider()), bound(), bound()
    turn = asyncio.Event()

    async def worker():
        await turn.wait()
        for function in (chat, ask, other):
            await function("prompt")

    old = asyncio.create_task(worker())
    await asyncio.sleep(0)
    async with Session() as session:
        session.attach(pipeline)
        session.attach(ask)
        session.attach(ask)
        turn.set()
        await old
        await chat("inside and attached: counted once")
    await chat("after")
    assert 3 == session.stats.calls


async def test_several_sessions_may_be_attached_to_one_pipeline():
    """Each counts while it is open, whichever ends first."""
    ask = bound()
    async with Session() as long:
        async with Session() as short:
            short.attach(ask)
            long.attach(ask)
            await ask("both")
        await ask("long")
    assert (2, 1) == (long.stats.calls, short.stats.calls)


async def test_attach_refuses_what_has_no_layers():
    """Only what has layers can be attached, and only while the session is open."""
    session = Session()
    with pytest.raises(RuntimeError, match="async with"):
        session.attach(Pipeline(Passing()))
    async with session:
        with pytest.raises(TypeError, match="give a pipeline, a layer or a decorated function"):
            session.attach(asyncio.sleep)
        with pytest.raises(ValueError, match="no layers"):
            session.attach(Pipeline())
    with pytest.raises(SessionClosed):
        session.attach(Pipeline(Passing()))


async def test_a_process_session_counts_everything():
    """Process scope counts every call of the process while it is open, each once."""
    ask = bound(completion(), latency=1.0)
    turn = asyncio.Event()

    async def worker():
        await turn.wait()
        await ask("from an older task")

    old = asyncio.create_task(worker())
    await asyncio.sleep(0)
    async with Session(scope="process") as session:
        assert session is Session.current()
        turn.set()
        await old
        async with Session() as inner:
            await session.gather(ask, range(3))
            assert inner is Session.current()
    await ask("after")
    assert (4, 3) == (session.stats.calls, inner.stats.calls)


def test_stats_can_be_read_when_the_loop_is_gone():
    """The numbers stay when everything else has ended; before entering there are none."""
    session = Session("nightly")
    assert (0, "nightly") == (session.stats.calls, session.stats.name)

    async def main():
        await session.__aenter__()
        await bound()("prompt")

    run(main())
    assert 1 == session.stats.calls


async def test_a_nested_call_is_counted_by_the_innermost():
    """A decorated function that calls another makes two calls, one attempt and one bill."""
    ask = bound(completion(prompt_tokens=10, completion_tokens=5))

    @Pipeline(Passing(), name="outer")
    async def outer(prompt):
        return await ask(prompt)

    async with Session() as session:
        (outcome,) = await session.gather(outer, ["prompt"])
    assert (2, 1, 15) == (session.stats.calls, session.stats.attempts, session.stats.tokens.total)
    assert (1, 15) == (outcome.attempts, outcome.usage.total)


# ------------------------------------------------------------------ what it tells


@pytest.mark.parametrize("hook", [None, id], ids=["counted", "heard"])
async def test_an_attempt_whose_error_a_layer_swallowed_counts_as_failed(hook):
    """The call was answered and the attempt was not, whoever else listens."""

    class Apologizes(Layer):
        async def handle(self, call, proceed):
            try:
                return await proceed(call)
            except ConnectionError:
                return "sorry"

    @Apologizes()
    async def ask():
        raise ConnectionResetError

    async with Session(on_event=hook) as session:
        assert "sorry" == await ask()
    stats = session.stats
    assert ({"ConnectionResetError": 1}, 0, 1) == (dict(stats.attempt_errors), stats.unmetered, stats.calls)


async def test_on_event_hears_every_event():
    """The hook hears the events of the session's calls, in order; what it raises is logged and harms nobody."""
    heard = []

    def hook(event):
        heard.append(type(event))
        raise ZeroDivisionError

    ask = bound(completion())
    async with Session(on_event=hook) as session:
        await ask("prompt")
    await ask("after")
    assert [CallStarted, CallFinished] == [heard[0], heard[-1]]
    assert 1 == heard.count(CallFinished)
    assert 1 == session.stats.succeeded


async def try_often(ask, times):
    for number in range(times):
        with contextlib.suppress(ConnectionError):
            await ask(number)


async def test_a_high_error_rate_is_told_once_an_episode():
    """Over 5 % of at least 50 calls of a minute is told once; again only after it had fallen to half of that."""
    high = []
    rates = {"fail": 0}

    @Pipeline(Passing(), name="ask")
    async def ask(number):
        await asyncio.sleep(0.1)
        if number % 10 < rates["fail"]:
            raise ConnectionError

    def hook(event):
        if isinstance(event, ErrorRateHigh):
            high.append(event)

    async with Session("nightly", on_event=hook) as session:
        await session.gather(ask, range(49), concurrency=1)
        assert [] == high
        rates["fail"] = 1
        await session.gather(ask, range(200), concurrency=1)
        assert 1 == len(high)
        rates["fail"] = 0
        await session.gather(ask, range(1000), concurrency=1)
        rates["fail"] = 2
        await session.gather(ask, range(300), concurrency=1)
    assert 2 == len(high)
    assert [session.id] * 2 == [event.session for event in high]
    assert all(event.rate > event.threshold == 0.05 and event.calls >= 50 for event in high)
    assert all(event.call is None for event in high)


async def test_an_alarm_reaches_the_hook_from_older_tasks_too():
    """The hook hears of it once, wherever the calls are made, and outer sessions hear of inner ones."""
    heard = {"outer": [], "inner": [], "attached": []}

    def hook(name):
        return lambda event: heard[name].append(event) if isinstance(event, ErrorRateHigh) else None

    ask = bound(ConnectionError())
    turn = asyncio.Event()

    async def worker():
        await turn.wait()
        await try_often(ask, 60)

    old = asyncio.create_task(worker())
    await asyncio.sleep(0)
    async with Session("attached", on_event=hook("attached")) as session:
        session.attach(ask)
        turn.set()
        await old
    assert 1 == len(heard["attached"])
    async with (
        Session("outer", on_event=hook("outer"), error_rate_alert=None),
        Session("inner", on_event=hook("inner")) as inner,
    ):
        await try_often(ask, 60)
    assert [inner.id] == [event.session for event in heard["inner"]] == [event.session for event in heard["outer"]]


# ------------------------------------------------------------------ draining


async def test_drain_lets_calls_finish_and_refuses_new_ones():
    """Draining waits for what is in flight, refuses what is new, and says whether all finished."""
    ask = bound(completion(), latency=10.0)
    async with Session("nightly") as session:
        task = asyncio.create_task(ask("in flight"))
        await asyncio.sleep(1)
        draining = asyncio.create_task(session.drain("60s"))
        await asyncio.sleep(1)
        assert "draining, 1 in flight" in repr(session)
        with pytest.raises(SessionClosed, match="nightly drains"):
            await ask("new")
        assert await draining
        assert task.done()
        assert 10.0 == asyncio.get_running_loop().time()
        with pytest.raises(SessionClosed):
            await ask("still new")
        assert await session.drain(0)
        assert session.stats.calls == 1
    with pytest.raises(SessionClosed):
        await session.drain()


async def test_what_a_drained_session_leaves_behind_goes_on():
    """Calls that start in a task of its own after its end are none of its calls, drained or not."""

    async def later():
        await asyncio.sleep(20)
        return await bound(completion("fine"))("prompt")

    async with Session() as session:
        task = asyncio.create_task(later())
        assert await session.drain("60s")
    assert await task
    assert 0 == session.stats.calls
    with pytest.raises(SessionClosed, match="has ended"):
        await session.gather(bound(completion()), ["prompt"])


async def test_drain_gives_up_at_its_limit():
    """What is not over by then goes on; the answer is False."""
    ask = bound(after(10, completion()))
    async with Session() as session:
        task = asyncio.create_task(ask("slow"))
        await asyncio.sleep(0)
        assert not await session.drain("5s")
        assert 5.0 == asyncio.get_running_loop().time()
        await task
        assert 1 == session.stats.succeeded


@pytest.mark.real
async def test_drain_hears_of_the_end_of_a_call_in_another_thread():
    """A session of the whole process waits for those too, and its event loop is woken as another thread has to."""
    loop = asyncio.get_running_loop()
    begun, go_on = threading.Event(), threading.Event()
    callers, call_soon = set(), loop.call_soon

    def watched(*args, **kwargs):
        callers.add(threading.current_thread())
        return call_soon(*args, **kwargs)

    loop.call_soon = watched  # which leaves the loop asleep, if it is called by another thread

    @Passing()
    async def slow():
        begun.set()
        await asyncio.to_thread(go_on.wait, 10)

    async with Session(scope="process") as session:
        thread = threading.Thread(target=lambda: asyncio.run(slow()))
        thread.start()
        assert await asyncio.to_thread(begun.wait, 10)
        draining = asyncio.create_task(session.drain("10s"))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.to_thread(thread.join)
        assert await draining
    assert {threading.current_thread()} == callers


async def test_drain_waits_for_nobody_if_nobody_is_there():
    """Without calls it is over at once."""
    async with Session() as session:
        assert await session.drain(0)


async def test_calls_inside_what_is_under_way_are_let_through():
    """An item or a call that is in flight may make the calls it needs to finish; retries go on."""
    inner = Again(times=3, pause=1.0)(ScriptedProvider(ConnectionError(), ConnectionError(), completion(), latency=1.0))

    @Pipeline(Passing(), name="outer")
    async def outer(prompt):
        await asyncio.sleep(5)
        return await inner(prompt)

    async def chain(prompt):
        await asyncio.sleep(5)
        return await inner(prompt)

    async with Session() as session:
        task = asyncio.create_task(outer("prompt"))
        items = asyncio.create_task(session.gather(chain, ["prompt"]))
        await asyncio.sleep(1)
        assert await session.drain()
        assert await task
        assert [True] == [outcome.ok for outcome in await items]


async def test_gather_ends_when_the_session_drains():
    """Items that had not begun are outcomes with SessionClosed; those under way finish."""
    ask = bound(completion(), latency=10.0)
    async with Session() as session:
        job = asyncio.create_task(session.gather(ask, range(10), concurrency=3))
        await asyncio.sleep(1)
        assert await session.drain("60s")
        outcomes = await job
    assert 3 == sum(outcome.ok for outcome in outcomes)
    assert 7 == sum(isinstance(outcome.error, SessionClosed) for outcome in outcomes)
    assert 3 == session.stats.calls


async def test_map_ends_when_the_session_drains():
    """A map reads no further items, yields what is under way, and raises SessionClosed instead of ending silently."""
    ask = bound(completion(), latency=10.0)
    pulled = []

    async def source():
        for number in range(100):
            pulled.append(number)
            yield number

    async def read():
        outcomes = session.map(ask, source(), concurrency=3)
        found = [(await anext(outcomes)).index for _ in range(3)]
        with pytest.raises(SessionClosed, match="drains"):
            await anext(outcomes)
        return found

    async with Session() as session:
        job = asyncio.create_task(read())
        await asyncio.sleep(1)
        assert await session.drain("60s")
        assert [0, 1, 2] == await job
    assert [0, 1, 2] == pulled


async def test_drain_waits_for_streams():
    """A stream that is read is in flight; draining waits for its end."""
    ask = bound(stream(["a", "b", "c"], gap=1.0))
    async with Session() as session:
        items = await ask("prompt")

        async def read():
            return [item async for item in items]

        reading = asyncio.create_task(read())
        assert await session.drain("60s")
        assert ["a", "b", "c"] == await reading


# ------------------------------------------------------------------ one prompt, and the client


class Client:
    """Looks like `AsyncOpenAI`, as far as a session uses it."""

    def __init__(self, *script, close=None, **options):
        self.provider = ScriptedProvider(*script or (completion("hello"),), **options)
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.provider))
        self.closed = 0
        self._close = close

    async def close(self):
        await asyncio.sleep(1)
        self.closed += 1
        if self._close is not None:
            raise self._close


@pytest.fixture
def recommended(monkeypatch):
    """Stand in for the client that a session makes."""
    made = []

    def make():
        made.append(Client())
        return made[-1]

    monkeypatch.setattr("sluiceway.session_client._recommended", make)
    return made


async def test_complete_asks_through_the_pipeline():
    """One prompt makes one call through the session's layers, with its model; the provider's answer comes back."""
    client = Client(ConnectionError(), completion("hello"))
    async with Session("nightly", client=client, pipeline=Again(times=2), model="m") as session:
        answer = await session.complete("prompt", temperature=0)
        await session.complete([{"role": "system", "content": "be brief"}], model="other")
    assert "hello" == answer.choices[0].message.content
    first, _, third = client.provider.calls
    assert {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "prompt"}]} == first.kwargs
    assert ("other", "system") == (third.kwargs["model"], third.kwargs["messages"][0]["role"])
    assert {"m": 2, "other": 1} == {name: each.attempts for name, each in session.stats.by_model.items()}


async def test_complete_can_be_gathered():
    """`session.complete` is a function of one prompt like any other."""
    async with Session(client=Client(), model="m") as session:
        outcomes = await session.gather(session.complete, ["a", "b"])
    assert [1, 1] == [outcome.attempts for outcome in outcomes]
    assert 2 == session.stats.calls


async def test_complete_counts_from_older_tasks():
    """The session's own calls count wherever they are made, and once."""
    turn = asyncio.Event()
    session = Session(client=Client(), model="m")

    async def worker():
        await turn.wait()
        await session.complete("from an older task")
        assert Session.current() is None

    old = asyncio.create_task(worker())
    await asyncio.sleep(0)
    async with session:
        turn.set()
        await old
        await session.complete("inside")
    assert 2 == session.stats.calls


async def test_complete_needs_a_model():
    """Without a model nothing is sent."""
    client = Client()
    async with Session(client=client) as session:
        with pytest.raises(ValueError, match=r"no model: give Session\(model=...\)"):
            await session.complete("prompt")
    assert 0 == client.provider.count


async def test_complete_after_the_end_is_refused():
    """An ended or draining session asks nobody."""
    session = Session(client=Client(), model="m")
    with pytest.raises(RuntimeError, match="async with"):
        await session.complete("prompt")
    async with session:
        await session.drain()
        with pytest.raises(SessionClosed):
            await session.complete("prompt")
    with pytest.raises(SessionClosed):
        await session.complete("prompt")


async def test_the_sessions_own_client_is_made_on_use_and_closed(recommended):
    """No client is made before it is needed; the one made is closed at the end."""
    async with Session(model="m"):
        pass
    assert [] == recommended
    async with Session(model="m") as session:
        await session.complete("a")
        await session.complete("b")
    assert [1] == [client.closed for client in recommended]


async def test_the_client_that_it_makes_is_the_recommended_one(monkeypatch):
    """Without a client of the user's it is `sluiceway.providers.openai.client()`, which does not retry."""
    from sluiceway.session_client import _recommended

    monkeypatch.setenv("OPENAI_API_KEY", "test")
    client = _recommended()
    assert ("AsyncOpenAI", 0) == (type(client).__name__, client.max_retries)
    await client.close()


@pytest.mark.parametrize(("own", "closed"), [(None, 0), (False, 0), (True, 1)])
async def test_a_client_that_was_handed_in_is_closed_if_asked(own, closed):
    """The session leaves a given client open unless it is told to own it."""
    client = Client()
    async with Session(client=client, own_client=own, model="m") as session:
        await session.complete("a")
    assert closed == client.closed


async def test_the_client_is_closed_whatever_happens():
    """An error inside comes out unchanged and the client is closed; an error of closing is only logged."""
    client = Client(close=OSError("cannot close"))
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with Session(client=client, own_client=True):
            raise error
    assert error is caught.value
    assert 1 == client.closed
    async with Session(client=Client(close=OSError()), own_client=True):
        pass


async def test_a_client_that_does_not_close_holds_nobody_up():
    """Closing takes ten seconds at most."""

    class Stuck(Client):
        async def close(self):
            await asyncio.Event().wait()

    async with Session(client=Stuck(), own_client=True):
        pass
    assert 10.0 == asyncio.get_running_loop().time()
    assert set() == others()


class Store:
    def __init__(self, error=None):
        self.closed = 0
        self.error = error

    async def aclose(self):
        self.closed += 1
        if self.error is not None:
            raise self.error


async def test_stores_are_closed_though_the_end_is_cancelled():
    """What they hold for others goes back, also where a client will not close and somebody loses patience."""

    class Stuck(Client):
        async def close(self):
            await asyncio.Event().wait()

    store = Store()

    async def nightly():
        async with Session(client=Stuck(), own_client=True) as session:
            session._stores.append(store)

    task = asyncio.create_task(nightly())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 1 == store.closed


async def test_a_store_that_cannot_be_closed_keeps_none_of_the_others_open():
    """What went wrong is raised when all had their turn."""
    error = OSError("gone")
    stores = [Store(), Store(error), Store()]
    with pytest.raises(OSError) as caught:  # noqa: PT011 - it is this one
        async with Session() as session:
            session._stores.extend(stores)
    assert caught.value is error
    assert [1, 1, 1] == [store.closed for store in stores]


async def test_a_client_with_aclose_or_a_plain_close():
    """Clients close by `close` or `aclose`, asynchronous or not, or need no closing."""
    closed = []

    async def aclose():
        closed.append("aclose")

    for client in (SimpleNamespace(aclose=aclose), SimpleNamespace(close=lambda: closed.append("close")), object()):
        async with Session(client=client, own_client=True):
            pass
    assert ["aclose", "close"] == closed


async def test_on_alert_hears_the_alert_and_nothing_else():
    """One ErrorRateHigh for fifty calls of which too many failed; what it raises breaks no call."""
    heard = []

    def alert(event):
        heard.append(event)
        raise RuntimeError("a hook of somebody's")

    ask = Pipeline(Passing())(ScriptedProvider(*[1] * 50, *[openai_error(500)] * 10))
    async with Session(on_alert=alert) as session:
        outcomes = await session.gather(ask, range(60))
    assert 50 == sum(outcome.ok for outcome in outcomes)
    assert [(ErrorRateHigh, session.id)] == [(type(event), event.session) for event in heard]


async def test_a_client_that_is_only_there_to_be_closed_completes_nothing():
    """What has no `chat.completions.create` is named by its type when it is asked for an answer."""
    async with Session(client=object(), model="m") as session:
        with pytest.raises(TypeError, match=r"complete\(\) needs a client with .*, not a object"):
            await session.complete("one")


async def test_cancelled_at_any_step_the_client_is_closed_and_nothing_stays():
    """Wherever a session is cancelled, its client is closed and no task and no registration is left."""
    clients = []

    async def job():
        clients.append(Client(latency=1.0))
        async with Session(client=clients[-1], own_client=True, model="m", scope="process") as session:
            session.attach(Pipeline(Passing(), name="chat"))
            await session.complete("one")
            background = asyncio.create_task(session.complete("two"))
            await asyncio.sleep(0.5)
            await session.drain("10s")
            await background

    for step in cancel_at_every_step():
        clients.clear()
        await step(job())
        await asyncio.sleep(30)
        assert set() == others(), step
        assert [1] * len(clients) == [client.closed for client in clients], step
        assert [] == hub.process_scopes
        assert {} == hub.attached
        assert Session.current() is None


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": 5}, "name=5 must be a str"),
        ({"model": 5}, "model=5 must be a str"),
        ({"pipeline": asyncio.sleep}, "must be a Pipeline or another layer"),
        ({"prices": 5}, "prices=5 must be a PriceTable or a mapping"),
        ({"on_event": 5}, "on_event=5 must be a plain function"),
        ({"on_event": asyncio.sleep}, "must be a plain function"),
        ({"error_rate_alert": "5 %"}, "error_rate_alert='5 %' must be a share"),
        ({"error_rate_alert": True}, "error_rate_alert=True must be a share"),
    ],
)
def test_wrong_types_are_refused(arguments, error):
    """An argument of the wrong type is named, with what it may be."""
    with pytest.raises(TypeError, match=error):
        Session(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"error_rate_alert": 5}, "error_rate_alert=5 must lie between 0 and 1"),
        ({"error_rate_alert": 0}, "error_rate_alert=0 must lie between 0 and 1"),
        ({"scope": "thread"}, 'scope=\'thread\' must be "context" or "process"'),
        ({"prices": {"m": {"input": -1, "output": 1}}}, "must be at least 0"),
    ],
)
def test_values_out_of_range_are_refused(arguments, error):
    """An argument out of its range is named, with the range."""
    with pytest.raises(ValueError, match=error):
        Session(**arguments)


async def test_a_price_table_is_taken_as_it_is():
    """Prices may come as a table that was made before."""
    table = PriceTable({"gpt-*": {"input": 1.0, "output": 1.0}})
    async with Session(prices=table) as session:
        await bound(completion(prompt_tokens=1, completion_tokens=1))("prompt")
    assert pytest.approx(2e-6) == session.stats.cost


async def test_an_abandoned_stream_is_cancelled_not_lost():
    """A stream whose reader leaves counts as cancelled, with nothing in flight."""

    @Pipeline(Passing(), name="ask")
    async def ask():
        return Stream(5)

    async with Session() as session:
        async with await ask() as items:
            await anext(items)
        assert (1, 0) == (session.stats.cancelled, session.stats.in_flight)
