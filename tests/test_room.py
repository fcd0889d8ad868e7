"""How soon a layer would let a call go on, and what a layer may refuse to stand around."""

from __future__ import annotations

from math import inf

import pytest

from sluiceway.layer import Layer, Pipeline, room_in
from sluiceway.room import FREE, REFUSES, Room
from sluiceway.testing import ScriptedProvider


class Says(Layer):
    """Says how much room it has."""

    def __init__(self, wait, left):
        self.said = Room(wait, left)

    def room(self, call, service):
        return self.said

    async def handle(self, call, proceed):
        return await proceed(call)


class Picky(Layer):
    """Stands around nothing."""

    async def handle(self, call, proceed):
        return await proceed(call)

    def check_function(self, function):
        raise TypeError(f"not around {function.__name__}")


class Plain(Layer):
    """Does nothing."""

    async def handle(self, call, proceed):
        return await proceed(call)


def test_a_layer_that_makes_nobody_wait_has_all_the_room_there_is():
    """Unless a layer says otherwise, a call goes on at once."""
    assert Room(0.0, 1.0) == FREE == Plain().room(None, 1.0)


def test_of_several_layers_the_slowest_and_the_fullest_count():
    """A call is through when it is through the last of them."""
    assert Room(3.0, 0.2) == room_in([Says(3.0, 0.5), Says(1.0, 0.2), Plain()], None, 1.0)
    assert Room(3.0, 0.5) == Pipeline(Says(3.0, 0.5), Plain()).room(None, 1.0)
    assert (inf, 0.0) == REFUSES == room_in([Says(0.0, 1.0), Says(inf, 0.0)], None, 1.0)


async def test_a_layer_may_refuse_a_function_when_it_is_decorated():
    """Not only when it is called, and in every one of the ways in."""
    ask = ScriptedProvider(1, name="ask")
    with pytest.raises(TypeError, match="not around ask"):
        Picky()(ask)
    with pytest.raises(TypeError, match="not around ask"):
        Pipeline(Plain(), Picky())(Plain()(ask))
    with pytest.raises(TypeError, match="not around ask"):
        await Pipeline(Plain(), Picky()).call(ask)
    with pytest.raises(TypeError, match="not around ask"):
        Pipeline(Plain(), Picky()).check_function(ask)
