"""What responses say about themselves."""

import pytest

from sluiceway.providers.facts import ResponseFacts, response_facts
from sluiceway.testing import completion


@pytest.mark.parametrize("real", [True, False])
def test_chat_completion(real):
    """A chat completion names its id, its model and why each choice ended."""
    facts = response_facts(completion(model="gpt-4o-mini", finish_reason="length", real=real))
    assert ResponseFacts("chatcmpl-scripted", "gpt-4o-mini", ("length",)) == facts


@pytest.mark.parametrize(
    ("value", "facts"),
    [
        ({"id": "r", "model": "m", "status": "completed"}, ResponseFacts("r", "m", ("completed",))),
        (
            {"id": "r", "model": "m", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            ResponseFacts("r", "m", ("max_output_tokens",)),
        ),
        ({"id": "a", "model": "claude", "stop_reason": "end_turn"}, ResponseFacts("a", "claude", ("end_turn",))),
        ({"model": "embedder", "data": []}, ResponseFacts(None, "embedder", ())),
        (
            {
                "model": "m",
                "choices": [{"finish_reason": "stop"}, {"finish_reason": None}, {"finish_reason": "length"}, 7],
            },
            ResponseFacts(None, "m", ("stop", "length")),
        ),
    ],
    ids=["response", "cut response", "message", "embeddings", "choices"],
)
def test_dicts(value, facts):
    """Responses, messages and embeddings are read as well, each in its own words."""
    assert facts == response_facts(value)


@pytest.mark.parametrize("value", [None, "text", 7, {}, {"model": 3}, object()])
def test_nothing_to_say(value):
    """What names no model says nothing."""
    assert response_facts(value) is None
