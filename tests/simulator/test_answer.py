"""What the simulated provider says."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.simulator.answer import compose, filler
from sluiceway.simulator.asked import Asked
from sluiceway.simulator.behaviour import Behaviour
from sluiceway.simulator.fate import draw


def answered(given=None, max_tokens=None, tokens=20):
    """Return the answer to a request of this limit."""
    asked = Asked("chat", "m", 5, max_tokens, identity=1, prompt="the prompt")
    drawn = draw(Behaviour.of(answer_tokens=tokens), 0, 1, 0)
    return compose(asked, drawn, given, identifier="1", created=0)


@given(st.integers(1, 3_000))
def test_filler_has_the_tokens_it_claims(tokens):
    """Filler of n tokens is streamed in n pieces that add up to it."""
    answer = answered(tokens=tokens)
    assert tokens == answer.tokens == len(list(answer.pieces()))
    assert filler(tokens) == answer.text == "".join(answer.pieces())


@given(st.text(max_size=200), st.integers(1, 50))
def test_a_given_text_is_sent_as_it_is_or_cut(text, max_tokens):
    """A given text is sent whole if the request allows it, else cut after the last allowed piece."""
    answer = answered(text, max_tokens)
    assert text.replace("{prompt}", "the prompt").startswith(answer.text)
    assert answer.tokens <= max_tokens
    assert answer.cut == (answer.text != text.replace("{prompt}", "the prompt"))


def test_max_tokens_cuts_the_answer():
    """An answer longer than the request allows ends there and says so."""
    answer = answered(max_tokens=3)
    assert ("flow gate pool", 3, True) == (answer.text, answer.tokens, answer.cut)


def test_the_prompt_may_be_repeated():
    """`{prompt}` in a given answer stands for the last message."""
    assert answered("You said: {prompt}.").text == "You said: the prompt."


def test_endless_pieces_go_on():
    """An endless answer repeats itself."""
    pieces = answered(tokens=2).endless_pieces()
    assert [next(pieces) for _ in range(5)] == ["flow ", "gate", "flow ", "gate", "flow "]


@pytest.mark.parametrize("seed", range(3))
def test_fate_depends_on_seed_request_and_count_alone(seed):
    """The same seed, request and count have the same fate; each of the three changes it."""
    behaviour = Behaviour.of(latency="0..1", answer_tokens="1..1000", errors={500: 0.3})

    def fate(*which):
        drawn = draw(behaviour, *which)
        return drawn.error, drawn.latency, drawn.tokens

    assert fate(seed, 1, 0) == fate(seed, 1, 0)
    assert len({fate(seed, 1, 0), fate(seed + 10, 1, 0), fate(seed, 2, 0), fate(seed, 1, 1)}) == 4


def test_switching_a_fault_on_leaves_the_others():
    """A fault drawn for a request does not change when another is switched on."""
    before = [draw(Behaviour.of(errors={500: 0.2}), 1, number, 0).error for number in range(200)]
    after = [draw(Behaviour.of(errors={500: 0.2}, hang_rate=0.5), 1, number, 0).error for number in range(200)]
    assert before == after


def test_faults_come_as_often_as_they_should():
    """Rates hold over many requests."""
    behaviour = Behaviour.of(errors={500: 0.1, 503: 0.2}, hang_rate=0.3, missing_usage=0.5)
    fates = [draw(behaviour, 1, number, 0) for number in range(4_000)]
    shares = [
        sum(fate.error == 500 for fate in fates) / 4_000,
        sum(fate.error == 503 for fate in fates) / 4_000,
        sum(fate.hangs > 0 for fate in fates) / 4_000,
        sum(not fate.usage for fate in fates) / 4_000,
    ]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.5], abs=0.03)


def test_a_plain_answer_takes_as_long_as_its_stream():
    """The time for n tokens is the latency and n - 1 gaps."""
    fixed = draw(Behaviour.of(latency=1, token_gap=0.1), 1, 1, 0)
    assert fixed.time_for(11) == pytest.approx(2.0)
    drawn = draw(Behaviour.of(latency=1, token_gap="0.1..0.2"), 1, 1, 0)
    assert 2.0 <= drawn.time_for(11) <= 3.0
    assert isinstance(drawn.rng, random.Random)
