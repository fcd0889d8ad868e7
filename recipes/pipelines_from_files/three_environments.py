"""One file for three environments.

Limits differ between your laptop, staging and production, and change more often than code is deployed. The file says
each difference once, where it differs; the environment chooses a pipeline by its name, and can override any setting
without an edit. A service would watch the file, and go on with the new numbers from the next call on.

Prints::

    dev: at most 2 at a time, 2 attempts, 500 requests a minute
    staging: at most 10 at a time, 2 attempts, 500 requests a minute
    production: at most 100 at a time, 5 attempts, 10000 requests a minute
    hello from production: ...
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sluiceway import config
from sluiceway.simulator import real_or_simulated

FILE = Path(__file__).parent / "pipeline.toml"
OVERRIDES = {  # what the machines of each environment have in theirs
    "production": {"SLUICEWAY_LIMITS__ACCOUNT__RPM": "10_000"},
}


async def main() -> None:
    for name in ("dev", "staging", "production"):
        loaded = config.load(FILE, environ={**os.environ, **OVERRIDES.get(name, {})})
        chat = loaded.pipelines[name]
        bound = next(layer for layer in chat.layers if layer.name == "bounded").settings()["limit"]
        rpm = loaded.limits["account"].settings()["rpm"]
        print(f"{name}: at most {bound} at a time, {chat.attempts} attempts, {rpm} requests a minute")

    async with real_or_simulated() as client, loaded.watch("5s"):
        ask = chat.wrap(client).chat.completions.create
        answer = await ask(model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])
        print(f"hello from {chat.name}: {answer.choices[0].message.content}")


if __name__ == "__main__":
    asyncio.run(main())
