"""The edge: a bound function is the function itself to everybody but its caller's provider."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import copy
import functools
import inspect
import pickle
import traceback
import types
import typing
from asyncio import CancelledError
from unittest.mock import AsyncMock, MagicMock

import openai
import pytest

from mock_openai import Server, client_of
from sluiceway.binding import Bound, layers_of
from sluiceway.errors import ReentrantUse
from sluiceway.events import AttemptFinished, CallFinished
from sluiceway.layer import Layer, Pipeline
from sluiceway.layers.bounded import bounded
from sluiceway.layers.circuit_breaker import circuit_breaker
from sluiceway.layers.timed import timed
from sluiceway.testing.virtual_time import VirtualTimeLoop
from spies import Observed, Passing, Spy, Stream

MESSAGES = [{"role": "user", "content": "hello"}]


class Seen(Layer):
    """Notes what each call looks like to a layer."""

    stateful = False

    def __init__(self):
        self.calls = []

    async def handle(self, call, proceed):
        self.calls.append(call)
        return await proceed(call)

    @property
    def last(self):
        call = self.calls[-1]
        return call.instance, call.args, call.kwargs


seen = Seen()


@seen
async def top(a: int, *, b: str = "x") -> int:
    """Doc."""
    return a


@seen
async def numbers(n: int):
    for number in range(n):
        yield number


class K:
    """Every kind of method, decorated on either side."""

    @seen
    async def m(self, x):
        """A method."""
        return self, x

    @seen
    @classmethod
    async def c1(cls, x):
        return cls, x

    @classmethod
    @seen
    async def c2(cls, x):
        return cls, x

    @seen
    @staticmethod
    async def s1(x):
        return x

    @staticmethod
    @seen
    async def s2(x):
        return x

    @seen
    async def g(self, n):
        for number in range(n):
            yield self, number

    @seen
    @classmethod
    async def cg(cls, n):
        for number in range(n):
            yield cls, number

    async def raw(self, x):
        return self, x


class Sub(K):
    async def m(self, x):
        return await super().m(x)


class Callable:
    """An object that is called."""

    def __init__(self, factor=1):
        self.factor = factor

    async def __call__(self, x):
        return x * self.factor


class CallableGenerator:
    async def __call__(self, n):
        for number in range(n):
            yield number


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


# ------------------------------------------------------------------ the function's own


def test_signature_name_doc_module_and_annotations_are_the_functions():
    """What `inspect` and `typing` say of a bound function is what they say of the function."""
    raw = top.__wrapped__
    assert inspect.signature(raw) == inspect.signature(top)
    assert "(a: 'int', *, b: 'str' = 'x') -> 'int'" == str(inspect.signature(top))
    assert ("top", "top", "Doc.", __name__) == (top.__name__, top.__qualname__, top.__doc__, top.__module__)
    assert {"a": int, "b": str, "return": int} == typing.get_type_hints(top)
    assert raw is inspect.unwrap(top)
    assert inspect.getsource(raw) == inspect.getsource(top)


def test_inspect_sees_what_kind_of_function_it_is():
    """Frameworks that ask whether a handler is a coroutine function or an async generator function get the truth."""
    assert inspect.isfunction(top)
    assert inspect.iscoroutinefunction(top)
    assert asyncio.iscoroutinefunction(top)
    assert inspect.iscoroutinefunction(K().m)
    assert inspect.iscoroutinefunction(K.c1)
    assert inspect.isasyncgenfunction(numbers)
    assert inspect.isasyncgenfunction(K().g)
    assert not inspect.iscoroutinefunction(numbers)


def test_an_attribute_set_on_it_is_the_functions():
    """Marks that other decorators leave go to the function, where they look for them."""
    top.mark = "a mark"
    assert "a mark" == top.__wrapped__.mark
    del top.mark


async def test_it_returns_a_coroutine_that_asyncio_takes():
    """A task, `gather` and `wait_for` take the result of calling it."""
    assert 3 == await asyncio.create_task(top(3))
    assert [1, 2] == await asyncio.gather(top(1), top(2))
    assert 4 == await asyncio.wait_for(top(4), 1)
    coroutine = top(5)
    assert inspect.iscoroutine(coroutine)
    assert 5 == await coroutine


def test_pickling_by_name_gives_the_same_object():
    """Functions and methods pickle by their qualified name, as plain ones do."""
    for function in (top, numbers, K.m, K.g):
        assert pickle.loads(pickle.dumps(function)) is function


def test_pickling_a_local_function_fails_as_it_does_for_a_plain_one():
    """What cannot be found by its name cannot be pickled."""

    @seen
    async def local():
        pass

    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(local)


def test_copies_are_the_same_object():
    """`copy` and `deepcopy` take functions for atoms, and so they do bound ones, also inside of other things."""
    assert copy.copy(top) is top
    assert copy.deepcopy(top) is top
    assert copy.deepcopy({"ask": top, "other": [numbers]}) == {"ask": top, "other": [numbers]}
    kept = K()
    copied = copy.deepcopy(kept.m)
    assert copied.__self__ is not kept
    assert copied.__func__ is kept.m.__func__


def test_equality_and_hash_are_those_of_methods_and_functions():
    """Two accesses to one method are equal and hash alike; a bound function equals itself."""
    k = K()
    assert k.m == k.m
    assert hash(k.m) == hash(k.m)
    assert k.m != K().m
    assert {top: 1}[top] == 1


def test_an_abstract_method_stays_abstract():
    """A decorated abstract method still keeps its class from being made."""

    class Base(abc.ABC):
        @seen
        @abc.abstractmethod
        async def ask(self):
            """Ask."""

    with pytest.raises(TypeError, match="abstract"):
        Base()


# ------------------------------------------------------------------ methods and what is called


async def test_a_method_gets_its_instance_and_the_call_knows_it():
    """`Call.instance` is the object; `args` are what the caller wrote."""
    k = K()
    assert (k, 1) == await k.m(1)
    assert (k, (1,), {}) == seen.last
    assert (k, 2) == await K.m(k, x=2)
    assert (k, (), {"x": 2}) == seen.last
    assert inspect.ismethod(k.m)
    assert k.m.__self__ is k
    assert "(x)" == str(inspect.signature(k.m))
    assert "A method." == k.m.__doc__
    assert (k, 3) == await K.m(self=k, x=3)


async def test_a_subclass_reaches_the_method_by_super():
    """`super().m(x)` is the decorated method with the subclass's instance."""
    sub = Sub()
    assert (sub, 2) == await sub.m(2)
    assert (sub, (2,), {}) == seen.last


@pytest.mark.parametrize("name", ["c1", "c2"])
async def test_a_classmethod_gets_its_class_on_either_side_of_the_decorator(name):
    """`Call.instance` is the class, through the class, an instance and a subclass."""
    for owner, expected in ((K, K), (K(), K), (Sub, Sub), (Sub(), Sub)):
        assert (expected, 1) == await getattr(owner, name)(1)
        assert (expected, (1,), {}) == seen.last


async def test_a_decorated_classmethod_knows_its_class_however_python_calls_it():
    """Python 3.13 hands the class to what a classmethod holds, without asking it to bind itself."""
    held = K.__dict__["c1"].__func__
    assert (K, 1) == await types.MethodType(held, K)(1)
    assert (K, (1,), {}) == seen.last


@pytest.mark.parametrize("name", ["s1", "s2"])
async def test_a_staticmethod_gets_nothing_on_either_side_of_the_decorator(name):
    """A staticmethod is a function: no instance."""
    for owner in (K, K(), Sub):
        assert 1 == await getattr(owner, name)(1)
        assert (None, (1,), {}) == seen.last


async def test_a_class_with_slots_and_one_that_denies_equality_have_decorated_methods():
    """Nothing is kept on the instance, nor is it compared or hashed."""

    class Odd:
        __slots__ = ()
        __hash__ = None

        def __eq__(self, other):
            raise AssertionError("compared")

        @seen
        async def m(self):
            return 1

    assert 1 == await Odd().m()


async def test_async_generator_methods_are_bound_like_any():
    """Instance and class reach the generator, and the call."""
    k = K()
    assert [(k, 0), (k, 1)] == [item async for item in k.g(2)]
    assert (k, (2,), {}) == seen.last
    assert [(K, 0)] == [item async for item in K.cg(1)]
    assert (K, (1,), {}) == seen.last


async def test_a_method_of_an_object_can_be_bound_by_itself():
    """`bind` of `obj.method`: the call's instance is the object, as if its class were decorated."""
    k = K()
    bound = seen(k.raw)
    assert (k, 5) == await bound(5)
    assert (k, (5,), {}) == seen.last
    assert "K.raw" == seen.calls[-1].name


async def test_a_bound_method_kept_in_a_class_is_not_bound_again():
    """`ask = bounded(5)(client.create)` in a class body stays what it is, as a plain bound method does."""
    kept = K()

    class Service:
        ask = seen(kept.raw)
        partial = staticmethod(seen(functools.partial(kept.raw, 3)))
        called = seen(Callable(2))

    assert (kept, 1) == await Service().ask(1)
    assert (kept, 1) == await Service.ask(1)
    assert (kept, 3) == await Service().partial()
    assert 8 == await Service().called(4)


async def test_a_bound_function_as_an_attribute_of_an_object_is_a_function():
    """`self.ask = bounded(5)(ask)` gets no instance."""
    k = K()
    k.ask = top
    assert 1 == await k.ask(1)
    assert seen.last[0] is None


async def test_partials_and_callable_objects_are_bound_and_bindable():
    """A partial of a bound function calls it; a partial or an object with an async `__call__` can be bound."""
    assert 5 == await functools.partial(top, 5)()
    assert 7 == await seen(functools.partial(top.__wrapped__, 7))()
    assert 12 == await seen(Callable(3))(4)
    assert [0, 1] == [item async for item in seen(CallableGenerator())(2)]
    assert "Callable" == seen.calls[-2].name
    assert (None, (), {}) != seen.last


async def test_a_lambda_and_a_wrapper_that_return_an_awaitable_are_bound():
    """Whether these are asynchronous only their first call can tell, and it does."""

    async def ask(x):
        return x

    assert 1 == await seen(lambda x: ask(x))(1)  # noqa: PLW0108 - the lambda is the point
    wrapped = functools.wraps(ask)(lambda x: ask(x))  # noqa: PLW0108 - and here
    assert 2 == await seen(wrapped)(2)

    def future(x):
        result = asyncio.get_running_loop().create_future()
        result.set_result(x)
        return result

    assert 3 == await seen(functools.partial(future, 3))()


async def test_mocks_are_bound_and_their_results_returned():
    """An `AsyncMock` in place of a provider is a provider, whatever it returns."""
    response = MagicMock()
    provider = AsyncMock(return_value=response)
    assert response is await bounded(1)(provider)("prompt")
    provider.assert_awaited_once_with("prompt")


# ------------------------------------------------------------------ what is refused


def sync(prompt):
    return prompt


class Plain:
    def m(self):
        return 1

    @classmethod
    def c(cls):
        return 1


def generator():
    yield 1


@pytest.mark.parametrize(
    "function", [sync, generator, Plain().m, Plain.c, functools.wraps(sync)(lambda p: p)], ids=lambda f: f.__name__
)
def test_a_synchronous_function_is_refused_when_it_is_decorated(function):
    """The error names the function and the asynchronous client."""
    with pytest.raises(TypeError, match=rf"{function.__name__} is not asynchronous.*AsyncOpenAI"):
        bounded(1)(function)


def test_a_synchronous_method_is_refused_inside_of_a_classmethod_and_a_staticmethod():
    """The decorators of methods hide nothing."""
    with pytest.raises(TypeError, match="AsyncOpenAI"):
        bounded(1)(classmethod(sync))
    with pytest.raises(TypeError, match="AsyncOpenAI"):
        bounded(1)(staticmethod(sync))


def test_the_synchronous_client_is_refused_when_its_create_is_decorated():
    """`OpenAI().chat.completions.create` is told from its asynchronous twin, though both are wrappers."""
    client = client_of(Server(), openai.OpenAI)
    with pytest.raises(TypeError, match="AsyncOpenAI"):
        bounded(1)(client.chat.completions.create)
    client.close()


@pytest.mark.parametrize(
    "hidden", [lambda x: x, functools.partial(sync), len, Plain], ids=["lambda", "partial", "len", "class"]
)
async def test_what_only_a_call_can_tell_is_refused_at_its_first_call(hidden):
    """A lambda, a partial or a builtin that turns out to be synchronous raises the same error; a class never passes."""
    bound = bounded(1)
    with pytest.raises(TypeError, match=r"AsyncOpenAI|no function"):
        await bound(hidden)("x")
    assert 0 == bound.snapshot()[0].in_flight


def test_a_bare_decorator_is_told_to_have_parentheses():
    """`@timed` without them is a `TypeError` that says what to write, for functions, methods and bound functions.

    What cannot be left out stands in it: `@bounded()` would fail too.
    """

    async def ask():
        pass

    for function in (ask, K().raw, sync, top, classmethod(ask), staticmethod(ask)):
        for layer in (circuit_breaker, timed, Seen):
            with pytest.raises(TypeError, match=rf"write @{layer.__name__}\(\), with parentheses"):
                layer(function)
        with pytest.raises(TypeError, match=r"write @bounded\(limit=\.\.\.\), with its arguments: bounded got a func"):
            bounded(function)


@pytest.mark.parametrize("thing", [K, 5, None, "ask", object()], ids=repr)
def test_what_is_no_function_is_refused(thing):
    """A class, a number, None: the error says that an `async def` function is wanted."""
    with pytest.raises(TypeError, match="no function that layers could wrap"):
        bounded(1)(thing)


# ------------------------------------------------------------------ stacking


async def test_stacked_decorators_are_one_pipeline_around_one_raw_function():
    """Decorating a bound function puts its layer in front; there is one proxy and one `Call`."""
    a, b, c = Seen(), bounded(1), Seen()

    async def raw():
        return 1

    bound = a(b(c(raw)))
    assert (a, b, c) == layers_of(bound)
    assert bound.__wrapped__ is raw
    await bound()
    assert a.calls[0] is c.calls[0]


async def test_stacking_leaves_the_inner_bound_function_as_it_was():
    """A function that is decorated twice exists in both forms."""
    inner_layer, outer_layer = Seen(), Seen()

    async def raw():
        return 1

    inner = inner_layer(raw)
    outer = outer_layer(inner)
    await inner()
    assert (1, 0) == (len(inner_layer.calls), len(outer_layer.calls))
    await outer()
    assert (2, 1) == (len(inner_layer.calls), len(outer_layer.calls))


async def test_stacking_works_on_methods_of_classes_and_of_objects():
    """`K.m`, `k.m` and classmethods that are bound already get further layers in front."""
    outer = Seen()
    k = K()
    assert (outer, seen) == layers_of(outer(K.m))
    assert (k, 1) == await outer(K.m)(k, 1)
    assert (outer, seen) == layers_of(outer(k.m))
    assert (k, 2) == await outer(k.m)(2)
    assert (k, (2,), {}) == outer.last
    assert (outer, seen) == layers_of(outer(K.c1))
    assert (K, 3) == await outer(K.c1)(3)
    stacked = outer(seen(classmethod(K.__dict__["raw"])))
    assert isinstance(stacked, classmethod)
    assert (outer, seen) == layers_of(stacked)


@pytest.mark.parametrize(
    "function",
    [top, numbers, K.m, K().m, K.c1, K().c2, K.s1, K().s2, K.g, K().g, K.__dict__["c1"], K.__dict__["s1"]],
    ids=str,
)
def test_layers_of_tells_the_layers_of_everything_that_is_bound(function):
    """Functions, methods through class and object, classmethods, staticmethods and generators answer alike."""
    assert (seen,) == layers_of(function)


@pytest.mark.parametrize("thing", [sync, K().raw, len, 5, functools.partial(top, 1)], ids=str)
def test_layers_of_anything_else_are_none(thing):
    """What is not bound has no layers; a partial of a bound function is a partial."""
    assert () == layers_of(thing)


def test_the_same_stateful_object_twice_is_an_error():
    """A call would take from one limit twice: refused when it is stacked, put into a pipeline, or through both."""
    bound = bounded(1)

    async def ask():
        pass

    with pytest.raises(ValueError, match="the same bounded object stands twice"):
        bound(bound(ask))
    with pytest.raises(ValueError, match="the same bounded object stands twice"):
        bound(timed(5)(bound(ask)))
    with pytest.raises(ValueError, match="the same bounded object stands twice"):
        Pipeline(bound, timed(1), bound)
    with pytest.raises(ValueError, match="the same bounded object stands twice"):
        Pipeline(bound)(bound(ask))


async def test_the_same_object_without_state_may_stand_twice():
    """A layer that says it has no state may be repeated."""
    passing = Passing()

    async def ask():
        return 1

    assert 1 == await passing(passing(ask))()


async def test_one_object_on_two_functions_is_one_limit_and_two_are_two():
    """A layer object is its state."""
    shared, own = bounded(1), bounded(1)

    async def ask():
        await asyncio.sleep(1)

    first, second, third = shared(ask), shared(ask), own(ask)
    started = asyncio.get_running_loop().time()
    await asyncio.gather(first(), second(), third())
    assert 2.0 == asyncio.get_running_loop().time() - started


# ------------------------------------------------------------------ loops


def test_objects_made_at_import_time_serve_one_event_loop_after_another():
    """`asyncio.run` twice, with waiting, time limits and streams, finds everything as new."""
    bound = bounded(1)

    @timed(60)
    @bound
    async def ask(n):
        await asyncio.sleep(1)
        return Stream() if n == 0 else n

    async def main():
        stream = await ask(0)
        waiting = asyncio.gather(ask(1), ask(2))
        items = [item async for item in stream]
        return items, await waiting

    assert ([1, 2, 3], [1, 2]) == run(main())
    assert ([1, 2, 3], [1, 2]) == run(main())
    assert 0 == bound.snapshot()[0].in_flight


def test_decorating_needs_no_event_loop():
    """Nothing touches a loop before the first call."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()

    @bounded(1)
    @timed(5)
    async def ask():
        return 1

    assert 1 == run(ask())


# ------------------------------------------------------------------ errors pass unchanged


async def boom():
    raise ValueError("mine")


async def test_the_functions_error_passes_unchanged():
    """Same object, no cause, no context, and its traceback ends in the frame that raised it."""
    error = ValueError("mine")

    async def raising():
        raise error

    bound = Pipeline(timed(9), bounded(3), Spy())(raising)
    with pytest.raises(ValueError, match="mine") as raised:
        await bound()
    assert raised.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    assert not hasattr(error, "__notes__")
    assert "raising" == traceback.extract_tb(error.__traceback__)[-1].name


async def test_an_error_with_a_cause_keeps_it_and_one_raised_in_a_handler_keeps_its_context():
    """What the function chained stays chained to the very objects."""
    cause = KeyError("cause")

    async def caused():
        raise ValueError from cause

    async def handled():
        try:
            raise cause
        except KeyError:
            raise ValueError  # noqa: B904 - the context is the point

    for function, attribute in ((caused, "__cause__"), (handled, "__context__")):
        with pytest.raises(ValueError) as raised:  # noqa: PT011 - which one is asserted below
            await Pipeline(timed(9), bounded(3))(function)()
        assert getattr(raised.value, attribute) is cause


async def test_an_error_whose_attributes_raise_passes_unchanged_too():
    """An exception class with a property that fails must not be replaced by that failure."""

    class Odd(Exception):
        @property
        def response(self):
            raise RuntimeError("no response was set")

    error = Odd()

    async def raising():
        raise error

    with Observed() as observed, pytest.raises(Odd) as raised:
        await bounded(1)(raising)()
    assert raised.value is error
    assert ["error"] == [event.attempt.outcome for event in observed.of(AttemptFinished)]


async def test_base_exceptions_pass_unchanged():
    """A `CancelledError` that the function raises itself, and `StopAsyncIteration`, arrive as they are."""

    class Stop(BaseException):
        pass

    for error in (CancelledError("mine"), StopAsyncIteration(), Stop()):

        async def raising(error=error):
            raise error

        with pytest.raises(type(error)) as raised:
            await Pipeline(timed(9), bounded(3))(raising)()
        assert raised.value is error


async def test_few_frames_stand_between_the_caller_and_the_function():
    """A layer adds a frame or two to a traceback, the edge two: people read these."""
    passing = [Passing() for _ in range(3)]
    with pytest.raises(ValueError, match="mine") as raised:
        await Pipeline(*passing)(boom)()
    names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)][1:]
    assert ["handle"] * 3 == [name for name in names if name == "handle"]
    assert "boom" == names[-1]
    assert len(names) <= 3 + 4


async def test_wrong_arguments_are_the_functions_own_type_error():
    """A missing argument is reported as Python does, and takes no permit with it."""
    bound = bounded(1)

    async def ask(prompt):
        return prompt

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'prompt'"):
        await bound(ask)()
    assert 0 == bound.snapshot()[0].in_flight


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "ok"), (ValueError(), "error"), (CancelledError(), "cancelled")], ids=repr
)
async def test_each_call_is_reported_finished_once(error, outcome):
    """`CallFinished` carries the outcome's word and the error itself."""

    async def ask():
        if error is not None:
            raise error

    with Observed() as observed, contextlib.suppress(ValueError, CancelledError):
        await bounded(1)(ask)()
    finished = observed.of(CallFinished)
    assert [(outcome, error)] == [(event.outcome, event.error) for event in finished]


async def test_a_coroutine_of_a_bound_function_that_is_never_awaited_starts_nothing():
    """Like any coroutine it can be closed, and no layer has seen a call."""
    spy = Spy()

    async def ask():
        return 1

    coroutine = spy(ask)()
    coroutine.close()
    assert [] == spy.log


async def test_the_await_chain_of_a_call_is_seen_from_outside_down_to_the_driver():
    """A debugger that walks the chain of awaits finds the edge and the driver."""
    future = asyncio.get_running_loop().create_future()

    async def ask():
        await future

    task = asyncio.create_task(bounded(1)(ask)())
    await asyncio.sleep(0)
    chain, awaited = [], task.get_coro()
    while awaited is not None:
        chain.append(getattr(awaited, "__name__", None))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    assert "run_call" == chain[0]
    assert "drive_on" == chain[1]
    future.set_result(None)
    await task


async def test_a_name_is_the_functions_without_where_it_was_defined():
    """Spans and logs show `K.m` and `ask`, not `test_x.<locals>.ask`."""

    @seen
    async def ask():
        pass

    await ask()
    assert "ask" == seen.calls[-1].name
    await K().m(1)
    assert "K.m" == seen.calls[-1].name


# ------------------------------------------------------------------ openai's own methods


async def test_openais_create_can_be_decorated_itself():
    """`bounded(2)(client.chat.completions.create)`, a wrapper that denies being a coroutine function, just works."""
    server, bound = Server("hello"), bounded(2)
    async with client_of(server) as client:
        create = seen(bound(client.chat.completions.create))
        answer = await create(model="gpt-4o-mini", messages=MESSAGES)
        assert "hello" == answer.choices[0].message.content
        assert (seen, bound) == layers_of(create)
        assert client.chat.completions is seen.calls[-1].instance
        assert "AsyncCompletions.create" == seen.calls[-1].name
        assert {"model": "gpt-4o-mini", "messages": MESSAGES} == seen.calls[-1].kwargs
        stream = await create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
        assert 1 == bound.snapshot()[0].in_flight
        assert isinstance(stream, openai.AsyncStream)
        text = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "one two three" == "".join(text)
        assert 0 == bound.snapshot()[0].in_flight


async def test_openais_other_methods_can_be_decorated_too():
    """Responses and embeddings are coroutine functions that show it."""
    async with client_of(Server()) as client:
        response = await seen(client.responses.create)(model="gpt-4o-mini", input="hello")
        assert '{"answer": 4}' == response.output_text
        embeddings = await seen(client.embeddings.create)(model="text-embedding-3-small", input="hello")
        assert [0.5, 0.25] == embeddings.data[0].embedding


async def test_usage_is_read_from_what_openai_returns():
    """The attempt knows the tokens of its answer."""
    async with client_of(Server("hello")) as client:
        with Observed() as observed:
            answer = await bounded(1)(client.chat.completions.create)(model="gpt-4o-mini", messages=MESSAGES)
    attempt = observed.of(AttemptFinished)[0].attempt
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        attempt.usage.input_tokens,
        attempt.usage.output_tokens,
    )


async def test_a_decorated_function_inside_itself_by_one_bound_is_refused_not_hung():
    """Nested use of one bound is told from a wait that would never end."""
    bound = bounded(2)

    @bound
    async def ask(depth):
        return await ask(depth - 1) if depth else "bottom"

    assert "bottom" == await ask(0)
    with pytest.raises(ReentrantUse):
        await ask(1)
    assert 0 == bound.snapshot()[0].in_flight


def test_there_is_one_proxy_however_many_lines():
    """Eight decorators, one `Bound`."""

    async def ask():
        pass

    function = ask
    for _ in range(8):
        function = Passing()(function)
    assert isinstance(function, Bound)
    assert function.__wrapped__ is ask
