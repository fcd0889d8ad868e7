"""Test code that uses sluiceway, without a provider and without waiting.

Retries, limits and timeouts are made of time, and tests must neither sleep nor meet a real provider. On the virtual
clock of `sluiceway.testing` a minute of backoff passes at once and a deadlock is an error; a `ScriptedProvider` plays
the answers and errors that you write down; `disabled()` takes the layers away. With pytest, mark a test with
`@pytest.mark.virtual_time`, or take the fixture of that name.

Prints, and passes under pytest too::

    test_it_survives_an_overload: ok
    test_it_stays_inside_its_rate: ok
    test_it_gives_up_on_a_provider_that_hangs: ok
    test_its_own_logic_without_the_layers: ok
    two minutes of waiting in less than two seconds: True
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sluiceway import TimedOut, rate_limited, retry_jitter, timed
from sluiceway.testing import ScriptedProvider, completion, disabled, hang, openai_error, run


def summarizer(provider: Any) -> Any:
    """Return the code that is tested; in an application it takes a client."""

    @timed("60s")
    @retry_jitter(attempts=5)
    @rate_limited(rpm=600)
    async def summarize(text: str) -> str:
        answer = await provider(prompt=f"Summarize: {text}")
        return str(answer.choices[0].message.content)

    return summarize


def test_it_survives_an_overload() -> None:
    provider = ScriptedProvider(openai_error(503, headers={"retry-after": "20"}), completion("short"))
    assert run(summarizer(provider)("long")) == "short"
    first, second = provider.calls
    assert 20 <= second.started_at - first.started_at <= 22  # Retry-After and up to 10 % more


def test_it_stays_inside_its_rate() -> None:
    provider = ScriptedProvider(completion("short"))
    summarize = summarizer(provider)

    async def many() -> float:
        await asyncio.gather(*(summarize("long") for _ in range(300)))
        return asyncio.get_running_loop().time()

    assert 29 < run(many()) < 31


def test_it_gives_up_on_a_provider_that_hangs() -> None:
    summarize = summarizer(ScriptedProvider(hang()))

    async def ending() -> list[Any]:
        return list(await asyncio.gather(summarize("long"), return_exceptions=True))

    assert isinstance(run(ending())[0], TimedOut)


def test_its_own_logic_without_the_layers() -> None:
    with disabled():
        assert run(summarizer(ScriptedProvider(completion("short")))("long")) == "short"


if __name__ == "__main__":
    began = time.perf_counter()
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: ok")
    print(f"two minutes of waiting in less than two seconds: {time.perf_counter() - began < 2}")
