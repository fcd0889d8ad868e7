"""Splitting a source into parts that the Batch API takes, on disk, before anything is sent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from sluiceway.batch.batch_api.part import Part, Task
from sluiceway.batch.json_lines import line_of
from sluiceway.errors import SluicewayError
from sluiceway.providers.estimates import estimate

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from sluiceway.batch.batch_api.state import PartStore
    from sluiceway.providers.counters import TokenCounter

MOST_REQUESTS: Final = 50_000
MOST_BYTES: Final = 200_000_000
PREFIX: Final = "row-"


class TaskTooLarge(SluicewayError):
    """One request alone is more than a batch may be."""


@dataclass(frozen=True, slots=True)
class PartLimits:
    """The most that one part may have.

    Attributes:
        requests: 50,000, as OpenAI documents.
        bytes: 200,000,000, likewise.
        tokens: of its prompts, and of all parts that run at the same time: the account's limit on enqueued tokens,
            which OpenAI states for each model and tier; None to find out by being refused.
    """

    requests: int = MOST_REQUESTS
    bytes: int = MOST_BYTES
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name, most in (("requests", MOST_REQUESTS), ("bytes", MOST_BYTES), ("tokens", None)):
            value = getattr(self, name)
            if value is None and most is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}={value!r} must be a whole number")
            if value < 1 or (most is not None and value > most):
                raise ValueError(f"{name}={value!r} must be at least 1{f' and at most {most:,}' if most else ''}")

    def fits(self, requests: int, size: int, tokens: int) -> bool:
        """Whether a part may have so much."""
        return requests <= self.requests and size <= self.bytes and (self.tokens is None or tokens <= self.tokens)


class _Open:
    """A part that is being filled."""

    def __init__(self, store: PartStore, number: int, endpoint: str, model: str) -> None:
        self.number, self.endpoint, self.model = number, endpoint, model
        self.requests = self.bytes = self.tokens = 0
        self._input: BinaryIO = store.input_of(number).open("wb")
        self._rows: BinaryIO = store.rows_of(number).open("wb")

    def add(self, line: bytes, row: bytes, tokens: int) -> None:
        self._input.write(line)
        self._rows.write(row)
        self.requests += 1
        self.bytes += len(line)
        self.tokens += tokens

    def close(self) -> Part:
        """Return the part, which is on disk: the log that names it is, and would outlive it in a power cut."""
        for file in (self._input, self._rows):
            with file:
                file.flush()
                os.fsync(file.fileno())
        return Part(self.number, self.endpoint, self.model, self.requests, self.tokens)


async def split(
    tasks: AsyncIterable[Task],
    store: PartStore,
    limits: PartLimits,
    counter: TokenCounter | None = None,
    refuse: Callable[[Task, Exception], None] | None = None,
) -> list[Part]:
    """Write *tasks* into parts and note in *store* that all are there; return the parts.

    Requests of one part share endpoint and model, as OpenAI demands. Nothing is in memory but one request.

    Args:
        tasks: what to ask.
        store: where the parts are written; what it had before is deleted.
        limits: of a part.
        counter: counts the prompts' tokens; None for characters / 4.
        refuse: told of a request that is too large for any part or cannot be written, which is then left out; None to
            raise.

    Raises:
        TaskTooLarge: a request alone is more than *limits* allow.
        OSError: the parts cannot be written.
    """
    store.clear()
    store.folder.mkdir(parents=True)
    filling: dict[tuple[str, str], _Open] = {}
    parts: list[Part] = []
    number = 0
    try:
        async for task in tasks:
            try:
                line, row, tokens = _written(task, limits, counter)
            except Exception as error:
                if refuse is None:
                    raise
                refuse(task, error)
                continue
            kind = (task.endpoint, str(task.body.get("model", "")))
            part = filling.get(kind)
            if part is None or not limits.fits(part.requests + 1, part.bytes + len(line), part.tokens + tokens):
                if part is not None:
                    parts.append(part.close())
                number += 1
                filling[kind] = part = _Open(store, number, *kind)
            part.add(line, row, tokens)
    finally:
        parts += [part.close() for part in filling.values()]
    parts.sort(key=lambda part: part.number)
    store.begin(parts)
    return parts


def _written(task: Task, limits: PartLimits, counter: TokenCounter | None) -> tuple[bytes, bytes, int]:
    """Return the line of the request, the line of its row, and its tokens."""
    # Not the row's own id: that may be long, and stand twice in the source.
    body: dict[str, Any] = {"custom_id": f"{PREFIX}{task.index}", "method": "POST", "url": task.endpoint}
    line = line_of(body | {"body": dict(task.body)})
    tokens = estimate((), dict(task.body), counter=counter).input_tokens
    if not limits.fits(1, len(line), tokens):
        most = f"{limits.bytes:,} bytes" + ("" if limits.tokens is None else f" and {limits.tokens:,} tokens")
        raise TaskTooLarge(f"row {task.id!r} takes {len(line):,} bytes and about {tokens:,} tokens; a batch has {most}")
    return line, line_of([task.index, task.id, task.line, task.row]), tokens
