"""What type checkers must accept, and what they must infer: decorating changes no type. Never run, only checked."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Generic, Literal, Protocol, TypeVar, assert_type, overload

from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from sluiceway import (
    HIGH,
    Call,
    Layer,
    Pipeline,
    Proceed,
    bounded,
    circuit_breaker,
    describe,
    hints,
    layers_of,
    rate_limited,
    retry_jitter,
    snapshot,
    timed,
)

T = TypeVar("T")
pipeline = Pipeline(timed("60s"), retry_jitter(attempts=5), bounded(30), rate_limited(rpm=500), name="chat")


# ------------------------------------------------------------------ functions


@timed("60s")
@retry_jitter(attempts=5)
@bounded(30)
@rate_limited(rpm=500, tpm=200_000)
@circuit_breaker(failure_ratio=0.5)
async def stacked(prompt: str, *, temperature: float = 0.0) -> int:
    return len(prompt)


@pipeline
async def piped(prompt: str, /, *rest: int, **more: bytes) -> list[str]:
    return [prompt]


async def plain(prompt: str) -> float:
    return 0.5


@bounded(1)
async def generic(value: T, other: list[T]) -> T:
    return value


async def functions() -> None:
    assert_type(await stacked("p", temperature=0.5), int)
    assert_type(await piped("p", 1, 2, key=b""), list[str])
    assert_type(await pipeline(plain)("p"), float)
    assert_type(await generic("x", ["y"]), str)
    assert_type(await generic(1, [2]), int)
    bound: Callable[[str], Coroutine[Any, Any, float]] = pipeline(plain)
    assert_type(await bound("p"), float)
    assert_type(await asyncio.create_task(stacked("p")), int)
    both = await asyncio.gather(stacked("p"), piped("q"))
    assert_type(both, tuple[int, list[str]])
    assert_type(await functools.partial(stacked, "p")(), int)


# ------------------------------------------------------------------ overloads


@overload
async def ask(prompt: str, *, stream: Literal[False] = False) -> str: ...
@overload
async def ask(prompt: str, *, stream: Literal[True]) -> AsyncIterator[str]: ...
async def ask(prompt: str, *, stream: bool = False) -> str | AsyncIterator[str]:
    return prompt


asked = bounded(5)(ask)


async def overloads(client: AsyncOpenAI) -> None:
    assert_type(await asked("p"), str)
    assert_type(await asked("p", stream=True), AsyncIterator[str])
    create = pipeline(client.chat.completions.create)
    assert_type(await create(model="m", messages=[]), ChatCompletion)
    assert_type(await create(model="m", messages=[], stream=True), AsyncStream[ChatCompletionChunk])


# ------------------------------------------------------------------ methods


class Service(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    @bounded(1)
    async def method(self, prompt: str) -> T:
        return self.value

    @classmethod
    @bounded(1)
    async def made(cls, prompt: str) -> int:
        return 1

    @staticmethod
    @bounded(1)
    async def static(prompt: str) -> bytes:
        return b""

    @bounded(1)
    @staticmethod
    async def static_outside(prompt: str) -> bytes:
        return b""

    @pipeline
    async def items(self, prompt: str) -> AsyncGenerator[T, None]:
        yield self.value


class Asks(Protocol):
    async def method(self, prompt: str) -> int: ...


async def methods() -> None:
    service = Service(5)
    assert_type(await service.method("p"), int)
    assert_type(await Service[int].method(service, "p"), int)
    assert_type(await Service.made("p"), int)
    assert_type(await service.static("p"), bytes)
    assert_type(await Service.static_outside("p"), bytes)
    async for item in service.items("p"):
        assert_type(item, int)
    asks: Asks = service
    assert_type(await asks.method("p"), int)


# ------------------------------------------------------------------ streams


@timed("60s", idle="10s")
async def numbers(count: int) -> AsyncGenerator[int, None]:
    for number in range(count):
        yield number


@timed("60s")
async def letters(text: str) -> AsyncIterator[str]:
    for letter in text:
        yield letter


async def streams(client: AsyncOpenAI) -> None:
    assert_type(numbers(3), AsyncGenerator[int, None])
    assert_type(letters("x"), AsyncIterator[str])
    assert_type([number async for number in numbers(3)], list[int])

    @pipeline
    async def opened() -> AsyncStream[ChatCompletionChunk]:
        return await client.chat.completions.create(model="m", messages=[], stream=True)

    async with await opened() as stream:
        async for chunk in stream:
            assert_type(chunk, ChatCompletionChunk)


# ------------------------------------------------------------------ the pipeline's other ways of use


async def ways(client: AsyncOpenAI) -> None:
    assert_type(await pipeline.call(plain, "p"), float)
    assert_type(await pipeline.call(stacked, "p", temperature=0.5), int)
    assert_type(await pipeline.call(Service("s").method, "p"), str)
    wrapped = pipeline.wrap(client)
    assert_type(wrapped, AsyncOpenAI)
    assert_type(await wrapped.chat.completions.create(model="m", messages=[]), ChatCompletion)
    nested = Pipeline(pipeline, bounded(1))
    assert_type(nested.layers, tuple[Layer, ...])
    assert_type(await nested(pipeline(plain))("p"), float)
    assert_type(pipeline.attempts, int)


# ------------------------------------------------------------------ a layer of one's own


class Timed(Layer):
    def __init__(self, label: str) -> None:
        self.label = label

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        with call.within("5s"):
            return await proceed(call)


class Choosing(Layer):
    def __init__(self, fallback: Layer) -> None:
        self.fallback = fallback

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        if call.hints.priority == HIGH:
            return await self.fallback.handle(call, proceed)
        return await proceed(call.again(2))


def tenant(call: Call) -> str | None:
    return call.hints.tenant


async def own_layers() -> None:
    own = Choosing(Timed("x"))
    assert_type(await own(plain)("p"), float)
    keyed = bounded(3, by=tenant, max_wait="5s", max_queue=10)
    assert_type(keyed.limit, int)
    assert_type(await Pipeline(own, keyed)(plain)("p"), float)
    with hints(priority=HIGH, tenant="acme", deadline="20s", expected_tokens=100, idempotent=False):
        assert_type(await keyed(plain)("p"), float)


def looking() -> None:
    assert_type(layers_of(stacked), tuple[Layer, ...])
    assert_type(snapshot(pipeline), dict[str, Any])
    assert_type(describe(stacked).amplification, int)
    assert_type(str(describe(bounded(1)).layers[0].name), str)


async def awaitable(function: Callable[[str], Awaitable[T]]) -> T:
    return await pipeline.call(function, "p")


async def lambdas() -> None:
    assert_type(await awaitable(plain), float)
    assert_type(await pipeline.call(lambda: plain("p")), float)
