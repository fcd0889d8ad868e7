"""How each provider charges its token limits."""

from types import SimpleNamespace

import openai
import pytest

from sluiceway.providers.charging import ANTHROPIC, AZURE, GENERIC, OPENAI, Charge, policy_of
from sluiceway.providers.estimates import Estimate
from sluiceway.providers.usage import Usage

ASKED = Estimate(100, 400, exact=False)
OPEN = Estimate(100, None, exact=False)
USUAL = 250.0


@pytest.mark.parametrize(
    ("policy", "estimate", "charge"),
    [
        (OPENAI, ASKED, Charge(100, 400, 400)),
        (OPENAI, OPEN, Charge(100, 250, 250)),
        (AZURE, ASKED, Charge(100, 400, 500)),
        (AZURE, OPEN, Charge(100, 250, 350)),
        (ANTHROPIC, ASKED, Charge(100, 250, 350)),
        (ANTHROPIC, Estimate(100, 10, exact=False), Charge(100, 10, 110)),
        (GENERIC, ASKED, Charge(100, 400, 500)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_at_the_door(policy, estimate, charge):
    """OpenAI takes the larger of prompt and max_tokens, Azure both, Anthropic what answers usually take."""
    assert charge == policy.reserve(estimate, USUAL)


@pytest.mark.parametrize(
    ("policy", "charge"),
    [
        (OPENAI, Charge(100, 400, 400)),
        (AZURE, Charge(100, 400, 500)),
        (ANTHROPIC, Charge(30, 50, 80)),
        (GENERIC, Charge(90, 50, 140)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_afterwards(policy, charge):
    """OpenAI and Azure keep what they charged, Anthropic does not count what the cache gave, others settle."""
    reserved = policy.reserve(ASKED, USUAL)
    assert charge == policy.settle(Usage(90, 50, 60), reserved)


def test_more_than_reserved_is_charged():
    """An answer that took more than was charged at the door is charged in full."""
    reserved = OPENAI.reserve(OPEN, USUAL)
    assert Charge(200, 300, 500) == OPENAI.settle(Usage(200, 300), reserved)


CLIENT = openai.AsyncOpenAI(api_key="x")


@pytest.mark.parametrize(
    ("where", "policy"),
    [
        ("https://api.openai.com/v1", OPENAI),
        ("https://eu.api.openai.com/v1", OPENAI),
        ("api.openai.com", OPENAI),
        (CLIENT, OPENAI),
        (CLIENT.chat.completions.create, OPENAI),
        (CLIENT.with_options(base_url="https://acme.openai.azure.com/openai").responses.create, AZURE),
        ("https://acme.services.ai.azure.com/models", AZURE),
        ("https://api.anthropic.com", ANTHROPIC),
        (SimpleNamespace(base_url="https://api.anthropic.com"), ANTHROPIC),
        ("http://127.0.0.1:8000/v1", GENERIC),
        ("https://notapi.openai.com.evil.test", GENERIC),
        ("http://[bad", GENERIC),
        ("", GENERIC),
        (None, GENERIC),
        (print, GENERIC),
    ],
    ids=range(15),
)
def test_whose_policy(where, policy):
    """The policy is told by where requests go: a URL, a client, or a client's method; else it is the generic one."""
    assert policy is policy_of(where)
