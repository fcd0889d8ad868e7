"""Arguments by name, however their caller gave them."""

from __future__ import annotations

import functools

import pytest

from sluiceway import Session, budgeted, rate_limited
from sluiceway.arguments import argument, by_name, takes
from sluiceway.call import NO_HINTS, Call


async def ask(prompt, model="small", max_tokens=50, *, n=1):
    """Only its signature matters."""


async def bare(prompt):
    """Only its signature matters."""


class Bot:
    async def ask(self, prompt, model="small", max_tokens=50):
        """Only its signature matters."""


class Unhashable:
    __hash__ = None

    async def __call__(self, prompt, model="small"):
        """Only its signature matters."""


def call(function, *args, **kwargs):
    return Call(function, args, kwargs, None, None, NO_HINTS)


NAMES = ("model", "max_tokens", "n", "unknown")


@pytest.mark.parametrize(
    ("made", "args", "kwargs"),
    [
        (call(ask, "hi"), ("hi",), {"model": "small", "max_tokens": 50, "n": 1}),
        (call(ask, "hi", "large"), ("hi",), {"model": "large", "max_tokens": 50, "n": 1}),
        (call(ask, "hi", "large", 9, n=2), ("hi",), {"model": "large", "max_tokens": 9, "n": 2}),
        (call(ask, "hi", model="large"), ("hi",), {"model": "large", "max_tokens": 50, "n": 1}),
        (call(Bot().ask, "hi", "large"), ("hi",), {"model": "large", "max_tokens": 50}),
        (call(Unhashable(), "hi"), ("hi",), {"model": "small"}),
        (call(functools.partial(ask, "hi"), max_tokens=9), (), {"model": "small", "max_tokens": 9, "n": 1}),
        (call(bare, "hi"), ("hi",), {}),
        (call(len, "hi"), ("hi",), {}),
    ],
    ids=lambda value: repr(value.args) if isinstance(value, Call) else "",
)
def test_arguments_are_told_by_name(made, args, kwargs):
    """Those of the names asked for; all others stay where they are."""
    assert (args, kwargs) == by_name(made, NAMES)
    assert kwargs == {name: value for name in NAMES if (value := argument(made, name)) is not None}


def test_what_takes_a_name():
    """A parameter of that name, any name, or no signature that could tell."""

    async def anything(**kwargs):
        """Only its signature matters."""

    assert [True, False, True] == [takes(function, "model") for function in (ask, bare, anything)]


@pytest.mark.parametrize("args", [("hi",), ("hi", "small"), ("hi", "small", 50)])
@pytest.mark.parametrize("make", [lambda: rate_limited(tpm=100_000), lambda: budgeted(tokens=100_000)])
async def test_limits_reserve_the_same_however_a_call_is_written(make, args):
    """The most that it may answer counts also by position and by default, and the model's name is no prompt."""
    layer = make()
    taken = []

    @layer
    async def asks(prompt, model="small", max_tokens=50):
        shot = layer.snapshot()[0]
        taken.append(shot.reserved["tokens"] if hasattr(shot, "reserved") else shot.available["tpm"])

    await asks(*args)
    await asks(prompt="hi", model="small", max_tokens=50)
    assert taken[0] == pytest.approx(taken[1] if make().name == "budgeted" else taken[1] + 51, abs=1e-6)


@pytest.mark.parametrize("args", [("hi",), ("hi", "small"), ("hi", "small", 50)])
@pytest.mark.parametrize("on_event", [None, id], ids=["counted", "heard"])
async def test_failures_and_answers_count_under_the_model_that_was_asked(args, on_event):
    """However it was named."""
    fails = iter([ValueError("no"), None])

    @rate_limited(rpm=60)
    async def asks(prompt, model="small", max_tokens=50):
        error = next(fails)
        if error is not None:
            raise error

    async with Session("s", on_event=on_event) as session:
        with pytest.raises(ValueError, match="no"):
            await asks(*args)
        await asks(*args)
    assert {"small": 2} == {model: stats.calls for model, stats in session.stats.by_model.items()}
