"""Specifies when two calls are equal."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import json
import weakref
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from hashlib import sha256
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import NOT_GIVEN, AsyncOpenAI

from sluiceway.bound_arguments import bound_arguments
from sluiceway.call import NO_HINTS, Call, Run
from sluiceway.call_key import call_key


async def ask(prompt, model="small", /, *more, temperature=0.0, **kwargs):
    """Only its signature matters."""


async def plain(prompt, model="small", temperature=0.0):
    """Only its signature matters."""


async def other(prompt, model="small", temperature=0.0):
    """Only its signature matters."""


def key(function, *args, **kwargs):
    loop = asyncio.new_event_loop()
    try:
        run = Run(loop, None, copy_context(), (), "a name", None, NO_HINTS)
        return call_key(Call(function, args, kwargs, None, run, NO_HINTS))
    finally:
        loop.close()


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: object = None


class Answer(pydantic.BaseModel):
    text: str


def test_arguments_are_compared_as_bound_and_defaults_count():
    """However an argument was passed, and whether a default was spelt out, equal calls have one key."""
    expected = key(plain, "hi")
    assert expected == key(plain, prompt="hi")
    assert expected == key(plain, "hi", "small", temperature=0.0)
    assert expected != key(plain, "hi", "large")


class Holder:
    async def ask(self, prompt, one="one", two=Colour.RED, *, more=Colour.RED):
        """Only its signature matters."""


async def held(prompt, one="one", two=Colour.RED, *, more=Colour.RED):
    """Only its signature matters."""


@functools.wraps(held)
async def wrapper(*args, **kwargs):
    """Only what it wraps matters."""


@functools.wraps(wrapper)
async def wrapper_of_it(*args, **kwargs):
    """Only what it wraps matters."""


async def said(*args, **kwargs):
    """Only what it says of itself matters."""


said.__signature__ = inspect.signature(held)


@pytest.mark.parametrize("function", [held, Holder().ask, wrapper, wrapper_of_it, said], ids=lambda each: each.__name__)
def test_defaults_that_are_objects_count_too(function):
    """They are read anew at each call, wherever the function has its signature from."""
    expected = {"prompt": "hi", "one": "one", "two": Colour.RED, "more": Colour.RED}
    assert expected == bound_arguments(function, ("hi",), {})[1]
    assert {**expected, "one": 1, "more": 2} == bound_arguments(function, ("hi", 1), {"more": 2})[1]


def test_a_function_that_its_own_default_refers_to_dies():
    """What is known of functions keeps none of them alive: a method made at run time holds its object as a default."""

    class Client(AsyncOpenAI):
        def __init__(self):
            async def ask(prompt, client=self):
                """Only its signature matters."""

            self.ask = ask

    client = Client()
    assert key(client.ask, "hi")
    there = weakref.ref(client)
    del client
    gc.collect()
    assert there() is None


def test_a_key_is_the_functions_name_and_a_digest_without_the_prompt():
    """It may be shown and stored: nothing of the arguments is in clear."""
    found = key(plain, "a secret")
    name, _, digest = found.partition(":")
    assert f"{__name__}.plain" == name
    assert 64 == len(digest)
    assert "secret" not in found


_SIMPLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(_SIMPLE, _SIMPLE, st.lists(_SIMPLE, max_size=3))
def test_the_digest_is_that_of_canonical_json(prompt, model, temperature):
    """Which any other program can compute: sorted names, no spaces, UTF-8."""
    said = {"prompt": prompt, "model": model, "temperature": temperature}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = f"{__name__}.plain:{sha256(text.encode()).hexdigest()}"
    assert expected == key(plain, prompt, model=model, temperature=temperature)


def test_half_a_surrogate_pair_has_a_key_too():
    """As some broken answers hold, which are prompts of the next call."""
    assert key(plain, "\ud83d") != key(plain, "\ude00")


def test_two_functions_have_different_keys():
    """Also for the same arguments."""
    assert key(plain, "hi") != key(other, "hi")


@pytest.mark.parametrize(
    ("one", "another"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        (None, "null"),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        ({1: "a"}, {"1": "a"}),
        (b"x", "x"),
        (float("nan"), "nan"),
        (Point(1), {"x": 1, "y": None}),
        (Colour.RED, "red"),
        (Answer, Point),
        (Answer(text="a"), Answer(text="b")),
        (Path("a"), "a"),
    ],
)
def test_different_values_have_different_keys(one, another):
    """Also where JSON alone would not tell them apart."""
    assert key(plain, one) != key(plain, another)


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ({"a": 1, "b": [1]}, {"b": [1], "a": 1}),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, {2, 3, 1}),
        ({1: "a", 2: "b"}, {2: "b", 1: "a"}),
        (Point(1, Point(2)), Point(1, Point(2))),
        (Answer(text="a"), Answer(text="a")),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        ({"a": 1, "b": NOT_GIVEN}, {"a": 1}),
    ],
)
def test_equal_values_have_one_key(one, another):
    """The order of names does not matter, nor which object holds the values."""
    assert key(plain, one) == key(plain, another)


def test_a_shared_part_is_no_circle():
    """The same list twice in one argument is as two equal ones; a list inside itself is refused."""
    part = [1]
    assert key(plain, [part, part]) == key(plain, [[1], [1]])
    part.append(part)
    with pytest.raises(TypeError, match="prompt contains itself"):
        key(plain, part)


def test_further_arguments_count_too():
    """`*args` and `**kwargs`, even where a name is that of a positional parameter."""
    assert key(ask, "hi", "m", 1) != key(ask, "hi", "m", 2)
    assert key(ask, "hi", top_p=1) != key(ask, "hi", top_p=2)
    assert key(ask, "hi", "m", prompt="x") != key(ask, "x", "m", prompt="hi")


def test_what_a_partial_holds_counts():
    """A partial is the function with its arguments."""
    assert key(plain, "hi", "large") == key(functools.partial(plain, model="large"), "hi")


def test_self_is_no_part_of_it():
    """Two objects' methods have one key for the same arguments."""

    class Bot:
        async def ask(self, prompt):
            """Only its signature matters."""

        async def told(self, *prompt):
            """Only its signature matters."""

        async def lacks_self():
            """Cannot be called."""

    assert key(Bot().ask, "hi") == key(Bot().ask, prompt="hi")
    assert key(Bot().ask, "hi") != key(Bot().ask, "ho")
    assert key(Bot().told, "hi") == key(Bot().told, "hi")
    assert key(Bot().lacks_self) == key(Bot().lacks_self)


def test_clients_are_no_part_of_it():
    """What is talked through does not decide what is asked, and its API key least of all."""

    async def through(client, prompt):
        """Only its signature matters."""

    assert key(through, AsyncOpenAI(api_key="a"), "hi") == key(through, AsyncOpenAI(api_key="b"), "hi")


def test_a_stream_to_be_read_is_no_client():
    """Two recordings of speech are not equal only since both can be closed."""

    async def speech():
        yield b"a"

    with pytest.raises(TypeError, match="async_generator"):
        key(plain, speech())


def test_arguments_that_no_json_can_show_are_refused_by_name():
    """The error says which parameter, which type and what to do, but not the value."""

    class Secret:
        def __repr__(self):
            return "hunter2"

    with pytest.raises(TypeError, match=r"argument model holds a .*Secret.*key=") as caught:
        key(plain, "hi", [Secret()])
    assert "hunter2" not in str(caught.value)


def test_wrong_arguments_are_left_for_the_function_to_refuse():
    """A key never fails for a missing or unknown argument."""
    assert key(plain) != key(plain, unknown=1)


def test_a_function_without_a_signature_is_keyed_by_what_it_was_given():
    """As some callables written in C have none."""

    class NoSignature:
        __signature__ = "none"

        async def __call__(self, *args):
            """Not called."""

    function = NoSignature()
    assert key(function, 1) == key(function, 1)
    assert key(function, 1) != key(function, 2)
