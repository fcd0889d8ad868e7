"""What calls and errors are counted under."""

from __future__ import annotations

import asyncio
import enum
from types import SimpleNamespace

import pytest

from feeding_statistics import USAGE, Clock, FedCall
from sluiceway import Session, timed
from sluiceway.errors import CircuitOpen, TimedOut
from sluiceway.providers.stream_usage import StreamUsage
from sluiceway.telemetry.kinds import answering_model, kind_of, model_of
from sluiceway.testing import chunks, completion, openai_error


class Odd:
    """An answer that does not like to be asked."""

    @property
    def model(self):
        raise RuntimeError


def attempted(*, model=None, result=None, usage=USAGE, contained=False, reader=None):
    call = FedCall(lambda event: None, Clock(), model=model).begin_attempt()
    attempt = call.attempt
    attempt.result, attempt.usage, attempt.contained, attempt.reader = result, usage, contained, reader
    return call.call, attempt


@pytest.mark.parametrize("result", [completion(model="m"), {"model": "m"}])
def test_the_model_that_answered(result):
    """An answer names its model, as an object or as a dict."""
    assert "m" == model_of(*attempted(result=result))


def test_the_model_asked_for_comes_first():
    """The name in the call's arguments is what people look for; the answer's is more exact."""
    call, attempt = attempted(model="alias", result=completion(model="m"))
    assert "alias" == model_of(call, attempt)
    assert "m" == answering_model(attempt)


class Model(enum.StrEnum):
    MINI = "mini"


class Older(str, enum.Enum):  # noqa: UP042 - as it is written for Python 3.10
    MINI = "mini"


@pytest.mark.parametrize("member", [Model.MINI, Older.MINI])
async def test_a_model_may_be_a_member_of_an_enumeration(member):
    """It counts by its value, also where nobody answered, and where the answer names no model."""
    found = model_of(*attempted(model=member, usage=None))
    assert ("mini", str) == (found, type(found))

    async def ask(*, model, error):
        if error is not None:
            raise error
        return "text"

    async with Session() as session:
        await asyncio.gather(
            *[timed("5s")(ask)(model=member, error=error) for error in (None, ConnectionError())],
            return_exceptions=True,
        )
    assert {"mini": (2, 2)} == {name: (each.calls, each.attempts) for name, each in session.stats.by_model.items()}


def test_a_stream_names_its_model_in_its_chunks():
    """What a stream's chunks say is what answered."""
    reader = StreamUsage()
    for chunk in chunks("a b", model="m"):
        reader.note(chunk)
    assert "m" == model_of(*attempted(reader=reader))


@pytest.mark.parametrize("result", ["text", None, Odd(), SimpleNamespace(model=5)])
def test_what_names_no_model_has_none(result):
    """Whatever the function returns, looking for a model harms nobody."""
    assert model_of(*attempted(result=result)) is None


def test_without_an_answer_there_is_no_model():
    """No attempt, one without usage, and one that made calls of its own have no model."""
    call, attempt = attempted(result=completion(), usage=None)
    assert model_of(call, None) is None
    assert model_of(call, attempt) is None
    assert model_of(*attempted(result=completion(), contained=True)) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (openai_error(429, code="insufficient_quota"), "RateLimitError 429 insufficient_quota"),
        (openai_error(500, code=""), "InternalServerError 500"),
        (ValueError("the prompt"), "ValueError"),
        (TimedOut("slow", kind="idle"), "TimedOut (idle)"),
        (CircuitOpen("open", retry_after=5.0), "CircuitOpen"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
def test_a_kind_is_a_class_with_status_and_code(error, kind):
    """An error's kind tells what to look up and never what was said."""
    assert kind == kind_of(error)


def test_a_model_that_a_layer_asked_for_instead_is_the_attempts():
    """A fallback asks another model than the caller did; what the attempt was made with counts."""
    call, attempt = attempted(model="dear", result=completion(model="m"))
    attempt.asked = (call.function, (), {"model": "cheap"})
    assert "cheap" == model_of(call, attempt)
