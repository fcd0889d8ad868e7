"""Use a layer from a package in a file.

A package brings layers by an entry point of the group `sluiceway.layers`; once it is installed, files name them
as they name ours, with their own settings, and `sluiceway check` and the JSON Schema know them. Functions have no entry
points: the application gives them a name in a `Registry`, so that no file can import anything.

Prints::

    chat (outermost first)
      polite(word='please', often=2)
      bounded(limit=3, by=by_length)
      at most 1 attempt a call
    HELLO, PLEASE, PLEASE
    ...: pipelines.chat.layers[0].oftn: polite has no setting 'oftn': did you mean 'often'?
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sluiceway import Call, ConfigError, config, describe

sys.path.append(str(Path(__file__).parent / "packages"))  # in place of `pip install polite-layers`

FILE = {
    "pipelines": {
        "chat": {
            "layers": [
                {"use": "polite", "word": "please", "often": 2},
                {"use": "bounded", "limit": 3, "by": "length"},
            ]
        }
    }
}


def by_length(call: Call) -> int:
    return len(call.args[0])


async def ask(prompt: str) -> str:
    return prompt.upper()


async def main() -> None:
    registry = config.Registry({"length": by_length})
    chat = config.load(FILE, registry=registry).pipelines["chat"]
    print(describe(chat))
    print(await chat(ask)("hello"))
    try:
        config.load({"pipelines": {"chat": {"layers": [{"use": "polite", "oftn": 2}]}}})
    except ConfigError as error:
        print(error)


if __name__ == "__main__":
    asyncio.run(main())
