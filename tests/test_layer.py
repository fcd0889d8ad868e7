"""Layers, and pipelines in their four ways of use."""

from __future__ import annotations

import asyncio
import functools
import inspect
from types import MappingProxyType

import openai
import pytest

from mock_openai import Server, client_of
from sluiceway import Deployment, bounded, rate_limited, retry_jitter, routed, timed
from sluiceway.binding import layers_of
from sluiceway.call import Call, Proceed
from sluiceway.errors import TimedOut
from sluiceway.layer import Layer, Pipeline, flat
from sluiceway.order import Role
from sluiceway.testing import faulty
from spies import Again, Observed, Passing, Spy, Stream

MESSAGES = [{"role": "user", "content": "hello"}]


class Mark(Layer):
    """Writes down when it is entered and left."""

    stateful = False

    def __init__(self, log, mark):
        self.log = log
        self.mark = mark

    async def handle(self, call, proceed):
        self.log.append(f"{self.mark} in, {call.name}")
        try:
            return await proceed(call)
        finally:
            self.log.append(f"{self.mark} out")


async def ask(prompt="p"):
    await asyncio.sleep(0)
    return f"answer to {prompt}"


@pytest.fixture
def log():
    return []


@pytest.fixture
def pipeline(log):
    return Pipeline(Mark(log, "a"), Mark(log, "b"), name="chat")


EXPECTED = ["a in, chat", "b in, chat", "b out", "a out"]

# ------------------------------------------------------------------ four ways of use


async def test_a_pipeline_is_a_decorator(pipeline, log):
    """The first layer is the outermost; the pipeline's name stands for the function's."""

    @pipeline
    async def ask(prompt):
        return prompt

    assert "p" == await ask("p")
    assert EXPECTED == log


async def test_a_pipeline_wraps_a_function(pipeline, log):
    """`pipeline(function)` leaves the function itself alone."""
    bound = pipeline(ask)
    assert "answer to p" == await bound("p")
    assert EXPECTED == log
    assert "answer to p" == await ask("p")
    assert EXPECTED == log
    assert pipeline.layers == layers_of(bound)


async def test_a_pipeline_calls_a_function_once(pipeline, log):
    """`await pipeline.call(function, *args, **kwargs)`; the function may have arguments of any name."""

    async def ask(*args, **kwargs):
        return args, kwargs

    assert ((1, 2), {"self": 3, "function": 4, "name": 5}) == await pipeline.call(ask, 1, 2, self=3, function=4, name=5)
    assert EXPECTED == log


async def test_a_pipeline_wraps_a_client(pipeline, log):
    """`pipeline.wrap(client)` is the client with its calls in the pipeline."""
    server = Server("hello")
    async with pipeline.wrap(client_of(server)) as client:
        assert isinstance(client, openai.AsyncOpenAI)
        answer = await client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert "hello" == answer.choices[0].message.content
    assert EXPECTED == log


async def test_a_pipeline_without_layers_passes_calls_through():
    """`Pipeline()` is a pipeline; its calls are still calls."""
    with Observed() as observed:
        assert "answer to p" == await Pipeline()(ask)("p")
    assert {"CallStarted": 1, "AttemptStarted": 1, "AttemptFinished": 1, "CallFinished": 1} == observed.counts()


async def test_all_ways_of_use_share_the_layers_state():
    """Whatever runs through one pipeline object runs through one limit."""
    bound = bounded(1)
    pipeline = Pipeline(bound)
    decorated = pipeline(ask)
    most = []

    async def look():
        most.append(bound.snapshot()[0].in_flight)
        await asyncio.sleep(1)

    await asyncio.gather(pipeline.call(look), pipeline(look)(), decorated(), pipeline.call(look))
    assert [1, 1, 1] == most
    assert 3.0 == asyncio.get_running_loop().time()


# ------------------------------------------------------------------ call


async def test_calling_a_method_tells_the_call_its_instance():
    """`pipeline.call(obj.method)` is a call of the object's method."""
    seen = []

    class Look(Layer):
        async def handle(self, call, proceed):
            seen.append((call.instance, call.name))
            return await proceed(call)

    class K:
        async def m(self):
            return self

    k = K()
    assert k is await Pipeline(Look()).call(k.m)
    assert [(k, "K.m")] == seen


async def test_calling_a_bound_function_puts_the_pipeline_in_front_of_its_layers(pipeline, log):
    """One call with all layers, not a call inside of a call."""
    bound = Pipeline(Mark(log, "c"))(ask)
    with Observed() as observed:
        assert "answer to p" == await pipeline.call(bound, "p")
    assert ["a in, chat", "b in, chat", "c in, chat", "c out", "b out", "a out"] == log
    assert 1 == observed.counts()["CallStarted"]


async def test_calling_a_function_that_returns_a_stream_gives_the_stream(pipeline, log):
    """The pipeline is around it until it ends."""

    async def ask():
        return Stream()

    stream = await pipeline.call(ask)
    assert EXPECTED[:2] == log
    assert [1, 2, 3] == [item async for item in stream]
    assert EXPECTED == log


async def test_calling_what_is_no_coroutine_function_is_refused(pipeline):
    """A synchronous function names AsyncOpenAI; an async generator function is iterated instead."""

    def sync():
        return 1

    async def generate():
        yield 1

    with pytest.raises(TypeError, match="AsyncOpenAI"):
        await pipeline.call(sync)
    for function in (generate, pipeline(generate)):
        with pytest.raises(TypeError, match=r"iterate over pipeline\(function\)\(\.\.\.\)"):
            await pipeline.call(function)
    with pytest.raises(TypeError, match="no function"):
        await pipeline.call(5)


def collected(function):
    """Return the generator *function* as one whose items are awaited, together."""

    @functools.wraps(function)
    async def items(*args):
        return [item async for item in function(*args)]

    return items


def generated(function):
    """Return the coroutine *function* as one that yields what it returns."""

    @functools.wraps(function)
    async def items(*args):
        yield await function(*args)

    return items


async def test_what_a_function_wraps_does_not_tell_how_it_is_called():
    """One that reads a generator was refused as one, and one that yields was called and never read."""

    async def ask(prompt):
        return prompt

    async def generate(prompt):
        yield prompt

    pipeline = Pipeline(bounded(1))
    assert [1] == await pipeline.call(collected(generate), 1)
    with pytest.raises(TypeError, match=r"iterate over pipeline\(function\)"):
        await pipeline.call(generated(ask), 1)
    with pytest.raises(TypeError, match="must both be async generators, or neither"):
        routed(Deployment("eu", function=generated(ask)))(ask)
    assert [1] == await routed(Deployment("eu", function=collected(generate)))(ask)(1)
    assert [1] == await faulty(collected(generate))(1)
    with pytest.raises(TypeError, match="takes a coroutine function"):
        faulty(generated(ask))


# ------------------------------------------------------------------ nesting and names


async def test_pipelines_nest_as_if_their_layers_were_written_here(log):
    """They are taken apart, however deep, and the outer name counts."""
    inner = Pipeline(Mark(log, "b"), Pipeline(Mark(log, "c")), name="inner")
    outer = Pipeline(Mark(log, "a"), inner, Mark(log, "d"), name="outer")
    assert ["a", "b", "c", "d"] == [layer.mark for layer in outer.layers]
    assert outer.layers == flat((outer,))
    await outer(ask)()
    assert ["a in, outer", "b in, outer", "c in, outer", "d in, outer"] == log[:4]


async def test_a_pipeline_stacks_with_decorators(log):
    """A pipeline above or below other lines is those lines."""
    pipeline = Pipeline(Mark(log, "b"), Mark(log, "c"), name="chat")

    @Mark(log, "a")
    @pipeline
    @Mark(log, "d")
    async def ask():
        pass

    assert ["a", "b", "c", "d"] == [layer.mark for layer in layers_of(ask)]
    await ask()
    assert "a in, chat" == log[0]


async def test_a_pipeline_inside_of_a_layer_of_ones_own_runs_all_its_layers(log):
    """`handle` runs the pipeline like any layer, for a layer that chooses between pipelines."""
    cheap, dear = Pipeline(Mark(log, "cheap")), Pipeline(Mark(log, "dear"), Mark(log, "twice"))

    class Choose(Layer):
        async def handle(self, call, proceed):
            return await (dear if call.kwargs["dear"] else cheap).handle(call, proceed)

    async def ask(*, dear):
        return dear

    bound = Choose()(ask)
    assert await bound(dear=True)
    assert not await bound(dear=False)
    assert ["dear in, ask", "twice in, ask", "twice out", "dear out", "cheap in, ask", "cheap out"] == log


async def test_without_a_name_calls_have_the_functions():
    """A pipeline's name is for what it calls by many functions; without one each has its own."""
    log = []
    await Pipeline(Mark(log, "a"))(ask)()
    assert "a in, ask" == log[0]
    assert ("Pipeline", "chat") == (Pipeline().name, Pipeline(name="chat").name)


def test_the_amplification_is_the_product_of_attempts():
    """`pipeline.attempts` says how many attempts one call can make."""
    assert 1 == Pipeline(bounded(1)).attempts
    assert 5 == Pipeline(retry_jitter(attempts=5), bounded(1)).attempts
    assert 15 == Pipeline(Pipeline(retry_jitter(attempts=5)), retry_jitter(attempts=3)).attempts


@pytest.mark.parametrize("thing", [5, None, ask, "timed", bounded, Passing])
def test_a_pipeline_takes_layers_only(thing):
    """Anything else, a class without its parentheses too, is named in the error."""
    with pytest.raises(TypeError, match="is not a layer: a Pipeline takes layers such as timed"):
        Pipeline(timed(5), thing)


@pytest.mark.parametrize("name", [5, "", b"chat", ask])
def test_a_pipelines_name_is_a_text(name):
    """It stands in spans and logs; anything but a text with something in it is refused."""
    with pytest.raises((TypeError, ValueError), match="name="):
        Pipeline(name=name)


def test_a_bare_pipeline_is_told_what_it_takes():
    """`@Pipeline` without parentheses is refused like any function among its layers."""
    with pytest.raises(TypeError, match="ask is not a layer"):
        Pipeline(ask)


def test_the_same_object_twice_is_refused_when_the_pipeline_is_built():
    """Also through pipelines inside."""
    bound = bounded(1)
    with pytest.raises(ValueError, match="the same bounded object stands twice"):
        Pipeline(bound, Pipeline(timed(5), bound))


# ------------------------------------------------------------------ what a layer is


def test_a_layer_must_have_a_handle():
    """An abstract class says so when it is made."""

    class Nothing(Layer):
        pass

    with pytest.raises(TypeError, match="handle"):
        Nothing()


def test_a_layer_of_ones_own_needs_nothing_but_handle():
    """Name, role, numbers and repr have defaults, and so have its settings."""
    layer = Passing()
    assert ("Passing", Role.OTHER, 1, None, None, False) == (
        layer.name,
        layer.role,
        layer.attempts,
        layer.time_limit,
        layer.window,
        layer.keyed,
    )
    assert layer.snapshot() is None
    assert "Passing()" == repr(layer)
    assert {} == dict(layer.settings())


def test_settings_are_all_arguments_as_given_or_by_default():
    """By name, read-only, also those given by position."""

    class Own(Layer):
        def __init__(self, first, second=2, *rest, third=3, **more):
            pass

        async def handle(self, call, proceed):
            return await proceed(call)

    layer = Own(1, third=4, fourth=5)
    assert {"first": 1, "second": 2, "rest": (), "third": 4, "more": {"fourth": 5}} == dict(layer.settings())
    assert isinstance(layer.settings(), MappingProxyType)
    assert "Own(1, third=4, fourth=5)" == repr(layer)


def test_a_repr_names_functions_instead_of_their_addresses():
    """`by=tenant` is readable; `<function tenant at 0x...>` is not."""

    def tenant(call):
        return call.hints.tenant

    assert "by=test_a_repr_names_functions_instead_of_their_addresses.<locals>.tenant" in repr(bounded(1, by=tenant))


def test_wrong_arguments_are_python_s_own_type_error():
    """`Layer.__new__` takes what comes and leaves the complaint to `__init__`."""
    with pytest.raises(TypeError, match=r"bounded.__init__\(\) got an unexpected keyword argument 'limits'"):
        bounded(limits=5)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'limit'"):
        bounded()


def test_inspect_shows_a_layers_own_signature():
    """Editors and `help` show the settings, not `*args, **kwargs`."""
    assert ["limit", "by", "max_wait", "max_queue", "queue", "store"] == list(inspect.signature(bounded).parameters)


async def test_a_layer_may_run_the_rest_not_at_all_once_or_often():
    """`proceed` is awaited zero, one or many times, with the call or a copy for another attempt."""
    attempts = []

    class Thrice(Layer):
        async def handle(self, call, proceed):
            return [await proceed(call.again(number)) for number in (1, 2, 3)]

    class Never(Layer):
        async def handle(self, call, proceed):
            return "cached"

    class Look(Layer):
        async def handle(self, call, proceed):
            attempts.append(call.attempt)
            return await proceed(call)

    assert ["answer to p"] * 3 == await Pipeline(Thrice(), Look())(ask)()
    assert [1, 2, 3] == attempts
    with Observed() as observed:
        assert "cached" == await Pipeline(Never())(ask)()
    assert {"CallStarted": 1, "CallFinished": 1} == observed.counts()


async def test_a_layer_may_change_the_arguments_of_the_call_by_making_another():
    """What `proceed` is given is what runs."""
    from sluiceway.call import Call

    class Shout(Layer):
        async def handle(self, call, proceed):
            args = tuple(arg.upper() for arg in call.args)
            return await proceed(Call(call.function, args, call.kwargs, call.instance, call.run, call.hints))

    assert "answer to P" == await Shout()(ask)("p")


async def test_an_error_of_the_layers_own_is_the_calls():
    """What a layer raises before, after or instead of the provider comes out as it is."""
    error = KeyError("mine")
    spy = Spy()

    class Failing(Layer):
        async def handle(self, call, proceed):
            await proceed(call)
            raise error

    with pytest.raises(KeyError) as raised:
        await Pipeline(spy, Failing())(ask)()
    assert raised.value is error
    assert ["enter", "KeyError"] == spy.log


async def test_all_five_layers_make_a_call_that_fails_waits_and_succeeds():
    """The stack of the front page, on virtual time: two failures, backoff, and an answer."""
    tries = []

    async def ask():
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 3:
            raise ConnectionError
        return "answer"

    bound = bounded(30)
    pipeline = Pipeline(timed("60s"), retry_jitter(attempts=5), bound, rate_limited(rpm=500))
    assert "answer" == await pipeline(ask)()
    assert 3 == len(tries)
    assert 0 == bound.snapshot()[0].in_flight
    with pytest.raises(TimedOut):
        await Pipeline(timed("60s"), Again(times=10**6, pause=1))(failing)()


async def failing():
    raise ConnectionError


def test_a_pipelines_snapshot_is_its_layers_and_its_repr_reads_as_it_was_written():
    """Those without state are left out of the snapshot; nothing is left out of the repr."""
    pipeline = Pipeline(timed(5), bounded(2), name="chat")
    assert 1 == len(pipeline.snapshot())
    assert 2 == pipeline.snapshot()[0][0].limit
    assert "Pipeline(timed(5), <bounded(2): 0 in flight, 0 waiting>, name='chat')" == repr(pipeline)
    assert "Pipeline()" == repr(Pipeline())


def test_the_types_of_a_layers_arguments_can_be_written_without_quotes():
    """Also where annotations are read when the class is made."""
    assert Call is Proceed[int].__args__[0]
