"""What pyright must refuse. Each marked line is expected to fail: one that no longer does is an unused ignore.

The same mistakes stand in `mistakes_mypy.py`.
"""

# mypy: ignore-errors
# pyright: reportUnnecessaryTypeIgnoreComment=true

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
    await ask(5)  # pyright: ignore[reportArgumentType]
    await ask()  # pyright: ignore[reportCallIssue]
    await ask("p", top_p=1)  # pyright: ignore[reportCallIssue]
    await ask("p", temperature="hot")  # pyright: ignore[reportArgumentType]


async def wrong_results(client: AsyncOpenAI) -> None:
    text: str = await ask("p")  # pyright: ignore[reportAssignmentType]
    number: int = ask("p")  # pyright: ignore[reportAssignmentType]
    called: str = await pipeline.call(ask, "p")  # pyright: ignore[reportAssignmentType]
    wrapped: int = pipeline.wrap(client)  # pyright: ignore[reportAssignmentType]
    create = bounded(1)(client.chat.completions.create)
    await create(model="m")  # pyright: ignore[reportCallIssue]
    _ = (text, number, called, wrapped)


def wrong_settings() -> None:
    bounded()  # pyright: ignore[reportCallIssue]
    bounded("30")  # pyright: ignore[reportArgumentType]
    bounded(30, by="tenant")  # pyright: ignore[reportArgumentType]
    bounded(30, limits=5)  # pyright: ignore[reportCallIssue]
    timed(b"5s")  # pyright: ignore[reportArgumentType]
    rate_limited(500)  # pyright: ignore[reportCallIssue]
    retry_jitter(jitter="some")  # pyright: ignore[reportArgumentType]
    hints(tenant=5)  # pyright: ignore[reportArgumentType]
    Pipeline(bounded)  # pyright: ignore[reportArgumentType]
    Pipeline(name=5)  # pyright: ignore[reportArgumentType]


def not_functions() -> None:
    bounded(1)(5)  # pyright: ignore[reportArgumentType]
    bounded(1)("ask")  # pyright: ignore[reportArgumentType]


@timed  # pyright: ignore[reportArgumentType]
async def bare() -> None: ...


class Unfinished(Layer):
    pass


class Sync(Layer):
    def handle(self, call: Call, proceed: Proceed[str]) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return "not awaited"


Unfinished()  # pyright: ignore[reportAbstractUsage]
