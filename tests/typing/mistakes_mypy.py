"""What mypy must refuse. Each marked line is expected to fail: one that no longer does is an unused ignore.

The same mistakes stand in `mistakes_pyright.py`, since pyright takes a `type: ignore` for its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway import Call, Layer, Pipeline, Proceed, bounded, hints, rate_limited, retry_jitter, timed

if TYPE_CHECKING:
    from openai import AsyncOpenAI

pipeline = Pipeline(timed("60s"), bounded(3))


@pipeline
@bounded(1)
async def ask(prompt: str, *, temperature: float = 0.0) -> int:
    return len(prompt)


async def wrong_arguments() -> None:
    await ask(5)  # type: ignore[arg-type]
    await ask()  # type: ignore[call-arg]
    await ask("p", top_p=1)  # type: ignore[call-arg]
    await ask("p", temperature="hot")  # type: ignore[arg-type]


async def wrong_results(client: AsyncOpenAI) -> None:
    text: str = await ask("p")  # type: ignore[assignment]
    number: int = ask("p")  # type: ignore[assignment]
    called: str = await pipeline.call(ask, "p")  # type: ignore[arg-type]
    wrapped: int = pipeline.wrap(client)  # type: ignore[assignment]
    create = bounded(1)(client.chat.completions.create)
    await create(model="m")  # type: ignore[call-overload]
    _ = (text, number, called, wrapped)


def wrong_settings() -> None:
    bounded()  # type: ignore[call-arg]
    bounded("30")  # type: ignore[arg-type]
    bounded(30, by="tenant")  # type: ignore[arg-type]
    bounded(30, limits=5)  # type: ignore[call-arg]
    timed(b"5s")  # type: ignore[arg-type]
    rate_limited(500)  # type: ignore[call-arg]
    retry_jitter(jitter="some")  # type: ignore[arg-type]
    hints(tenant=5)  # type: ignore[arg-type]
    Pipeline(bounded)  # type: ignore[arg-type]
    Pipeline(name=5)  # type: ignore[arg-type]


def not_functions() -> None:
    bounded(1)(5)  # type: ignore[type-var]
    bounded(1)("ask")  # type: ignore[type-var]


@timed  # type: ignore[arg-type]
async def bare() -> None: ...


class Unfinished(Layer):
    pass


class Sync(Layer):
    def handle(self, call: Call, proceed: Proceed[str]) -> str:  # type: ignore[override]
        return "not awaited"


Unfinished()  # type: ignore[abstract]
