"""A client of the provider that the environment names, else of the embedded one."""

import openai
import pytest

from sluiceway.simulator import Simulator, real_or_simulated

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """Let the environment of whoever runs the tests name no provider."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


async def test_without_a_key_it_is_a_simulated_provider():
    """Nothing in the environment: a provider of our own, with the settings that were given, until the block ends."""
    async with real_or_simulated(answer="It was {prompt}.") as client:
        asked = [{"role": "user", "content": "rain"}]
        answer = await client.chat.completions.create(model="gpt-4o-mini", messages=asked)
        assert "It was rain." == answer.choices[0].message.content
        assert "127.0.0.1" == client.base_url.host
    assert client.is_closed()


async def test_the_environment_names_a_real_provider(monkeypatch):
    """With OPENAI_BASE_URL and OPENAI_API_KEY set, the settings are passed over and nothing is simulated."""
    async with Simulator(answer="real") as somewhere:
        monkeypatch.setenv("OPENAI_BASE_URL", somewhere.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "theirs")
        async with real_or_simulated(answer="simulated") as client:
            asked = [{"role": "user", "content": "who?"}]
            answer = await client.chat.completions.create(model="gpt-4o-mini", messages=asked)
        assert "real" == answer.choices[0].message.content
        assert "theirs" == client.api_key


async def test_a_base_url_without_a_key_is_never_simulated(monkeypatch):
    """Whoever names a server means it: without a key that is openai's own error."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:11434/v1")
    with pytest.raises(openai.OpenAIError, match="OPENAI_API_KEY"):
        async with real_or_simulated():
            pass


async def test_a_wrong_setting_is_refused_either_way(monkeypatch):
    """A setting that the simulator does not know is an error, also where a real provider is used."""
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    with pytest.raises(TypeError, match="'rmp' is no setting"):
        async with real_or_simulated(rmp=60):
            pass
