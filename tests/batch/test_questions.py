"""What a row asks."""

from __future__ import annotations

import pytest

from sluiceway.batch.errors import BadRow
from sluiceway.batch.questions import Question, argument_of, question_of
from sluiceway.batch.templates import Template

USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("hi", Question("chat", {"messages": [USER]})),
        ({"prompt": "hi", "other": 1}, Question("chat", {"messages": [USER]})),
        ({"messages": [USER]}, Question("chat", {"messages": [USER]})),
        ({"messages": '[{"role": "user", "content": "hi"}]'}, Question("chat", {"messages": [USER]})),
        ({"input": "hi"}, Question("responses", {"input": "hi"})),
        (
            {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "hi"}},
            Question("embeddings", {"model": "m", "input": "hi"}),
        ),
        ({"custom_id": "a", "body": {"messages": [USER]}}, Question("chat", {"messages": [USER]})),
    ],
)
def test_every_form_of_a_row(value, expected):
    """Prompts, messages (as text in a CSV file too), inputs, and requests of OpenAI's Batch API."""
    assert expected == question_of(value)


def test_the_system_speaks_first():
    """As a message in chats, as instructions in responses."""
    asked = question_of("hi", system="be brief")
    assert [{"role": "system", "content": "be brief"}, USER] == asked.body["messages"]
    assert {"input": "hi", "instructions": "be brief"} == question_of(
        "hi", system="be brief", endpoint="responses"
    ).body


def test_prompts_can_go_elsewhere():
    """To be embedded, for example."""
    assert Question("embeddings", {"input": "hi"}) == question_of({"prompt": "hi"}, endpoint="embeddings")


def test_a_template_makes_the_prompt():
    """Whatever else the row has."""
    asked = question_of({"text": "hi", "prompt": "x"}, Template("{text}"))
    assert [USER] == asked.body["messages"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"text": "hi"}, "missing column"),
        ({}, "missing column"),
        ({"prompt": ""}, "bad prompt"),
        ({"prompt": 5}, "bad prompt"),
        (5, "no object"),
        ({"messages": []}, "bad messages"),
        ({"messages": "no"}, "bad messages"),
        ({"messages": ["no"]}, "bad messages"),
        ({"url": "/v1/files", "body": {}}, "bad url"),
        ({"custom_id": "a", "method": "GET", "body": {}}, "bad method"),
        ({"custom_id": "a", "body": {"stream": True}}, "bad body"),
    ],
)
def test_what_asks_nothing_is_a_bad_row(value, kind):
    """With its kind, by which dead letters are counted."""
    with pytest.raises(BadRow) as caught:
        question_of(value)
    assert kind == caught.value.kind


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("hi", "hi"),
        (5, 5),
        ({"prompt": "hi", "n": 1}, "hi"),
        ({"messages": [USER]}, [USER]),
        ({"input": "hi"}, "hi"),
        ({"custom_id": "a", "body": {"x": 1}}, {"x": 1}),
        ({"text": "hi"}, {"text": "hi"}),
    ],
)
def test_what_a_function_is_called_with(value, expected):
    """The prompt, messages or input if there is one, else the row."""
    assert expected == argument_of(value, None)


def test_a_template_makes_a_functions_argument_too():
    """From the row's columns."""
    assert "say hi" == argument_of({"text": "hi"}, Template("say {text}"))
