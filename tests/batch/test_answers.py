"""What of an answer goes into the results."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from openai.types.chat import ChatCompletion

from sluiceway.batch.answers import full, output_of
from sluiceway.testing import completion


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (None, None),
        (3.5, 3.5),
        ([1, (2, 3)], [1, [2, 3]]),
        ({"a": Point(1), 2: "b"}, {"a": {"x": 1}, "2": "b"}),
        (Point(2), {"x": 2}),
        (SimpleNamespace(output_text="said"), "said"),
        (SimpleNamespace(data=[SimpleNamespace(embedding=[0.5])]), [0.5]),
        (SimpleNamespace(data=[SimpleNamespace(embedding=[1]), SimpleNamespace(embedding=[2])]), [[1], [2]]),
        (SimpleNamespace(content=[SimpleNamespace(text="a"), SimpleNamespace(text="b")]), "ab"),
    ],
)
def test_the_answer_of_each_kind_of_value(value, expected):
    """Text where there is text, and JSON of anything else."""
    assert expected == output_of(value)


def test_a_completion_is_its_text_and_in_full_a_mapping():
    """The whole response is for those who ask for it."""
    assert "hello" == output_of(completion("hello"))
    message = {"role": "assistant", "content": "hello"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    answer = ChatCompletion.model_validate(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    )
    assert "hello" == output_of(answer)
    assert "hello" == full(answer)["choices"][0]["message"]["content"]


def test_an_answer_without_text_is_its_message():
    """A call of a tool is an answer too."""
    message = SimpleNamespace(content=None, model_dump=lambda **_: {"tool_calls": ["look"]})
    assert {"tool_calls": ["look"]} == output_of(SimpleNamespace(choices=[SimpleNamespace(message=message)]))


@pytest.mark.parametrize("text", ["", "I will look."])
@pytest.mark.parametrize(
    "more", [{"tool_calls": ["look"]}, {"function_call": SimpleNamespace(name="look")}, {"refusal": "I will not."}]
)
def test_a_call_of_a_tool_is_kept_whatever_text_is_beside_it(text, more):
    """Some servers write an empty text beside calls, some models a sentence: the calls were paid for, and lost."""
    message = SimpleNamespace(content=text, **more, model_dump=lambda **_: {"whole": True})
    assert {"whole": True} == output_of(SimpleNamespace(choices=[SimpleNamespace(message=message)]))


def test_a_mock_with_a_text_is_its_text():
    """It has every other field too."""
    assert "hello" == output_of(MagicMock(choices=[MagicMock(message=MagicMock(content="hello"))]))


def test_calls_in_responses_and_in_messages_are_kept_too():
    """The whole response is the answer then; what a tool of the provider's did is not among them."""

    class Whole(SimpleNamespace):
        def model_dump(self, **_):
            return {"whole": True}

    call, search, use = (SimpleNamespace(type=kind) for kind in ("function_call", "web_search_call", "tool_use"))
    assert {"whole": True} == output_of(Whole(output_text="said", output=[call]))
    assert "said" == output_of(Whole(output_text="said", output=[search]))
    assert {"whole": True} == output_of(Whole(content=[SimpleNamespace(type="text", text="said"), use]))


def test_an_old_completion_is_its_text():
    """It has no message."""
    assert "said" == output_of(SimpleNamespace(choices=[SimpleNamespace(text="said")]))


def test_several_choices_are_a_list():
    """In their order."""
    choices = [SimpleNamespace(message=SimpleNamespace(content=text)) for text in "ab"]
    assert ["a", "b"] == output_of(SimpleNamespace(choices=choices))


def test_an_answer_that_breaks_is_its_repr():
    """It is paid for: nothing that a foreign type does may lose it."""

    class Broken:
        @property
        def choices(self):
            raise RuntimeError("no")

        def __repr__(self):
            return "<Broken>"

    assert "<Broken>" == output_of(Broken())
