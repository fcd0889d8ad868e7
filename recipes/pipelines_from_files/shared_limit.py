"""Share one limit between two pipelines of a file.

The provider counts what your account sends, whichever pipeline it goes through. A layer under `limits` has a name, and
pipelines that name it share its state; what stands in a pipeline itself is its own. When the file changes, a limit
of which only numbers changed keeps its level and those who wait for it.

Prints::

    60 calls of two pipelines through one limit of 50 a second: ... s
    the limit is one object: True
    now 100 a second, and still the same object: True
"""

from __future__ import annotations

import asyncio
import time

from sluiceway import config

TOML = """
[limits.account]
use = "rate_limited"
rps = 50
burst = "0.1s"

[pipelines.chat]
layers = [{ use = "bounded", limit = 30 }, { ref = "limits.account" }]

[pipelines.nightly]
layers = [{ use = "retry_jitter", attempts = 5 }, { ref = "limits.account" }]
"""


async def ask(prompt: str) -> str:
    return prompt.upper()


async def main() -> None:
    loaded = config.load(text=TOML, format="toml")
    chat, nightly = (pipeline(ask) for pipeline in loaded.pipelines.values())
    began = time.perf_counter()
    await asyncio.gather(*(each("hello") for each in (chat, nightly) for _ in range(30)))
    took = time.perf_counter() - began
    print(f"60 calls of two pipelines through one limit of 50 a second: {took:.1f} s")
    account = loaded.limits["account"]
    print("the limit is one object:", all(account in pipeline.layers for pipeline in loaded.pipelines.values()))
    loaded.reload(text=TOML.replace("rps = 50", "rps = 100"), format="toml")
    print("now 100 a second, and still the same object:", account is loaded.limits["account"])


if __name__ == "__main__":
    asyncio.run(main())
