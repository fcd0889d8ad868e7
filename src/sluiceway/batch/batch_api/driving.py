"""Taking parts from upload to merge: whatever state a part is in, the next step is known from what is on disk."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.batch_api.merging import Reading, merge
from sluiceway.batch.dead_letters import Failure
from sluiceway.durations import Duration, seconds
from sluiceway.providers.errors import classify

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai.types import Batch

    from sluiceway.batch.batch_api.merging import Sink
    from sluiceway.batch.batch_api.part import Part
    from sluiceway.batch.batch_api.provider import BatchApi
    from sluiceway.batch.batch_api.splitting import PartLimits
    from sluiceway.batch.batch_api.state import PartStore
    from sluiceway.providers.usage import Usage

OVER: Final = ("completed", "failed", "expired", "cancelled")
_FULL: Final = "token_limit_exceeded"
_LIMIT: Final = re.compile(r"[Ll]imit: ([\d,]+)")
# A request that died with its sender may still arrive: until then its batch is not asked for again.
_IN_DOUBT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a batch stands at the provider.

    Attributes:
        parts: all parts.
        done: requests that ran, of those whose batches run.
        trouble: the name of the error that a step ended with, to be tried again; empty if all went well.
    """

    parts: tuple[Part, ...]
    done: int = 0
    trouble: str = ""

    @property
    def merged(self) -> int:
        """How many parts are in the results."""
        return sum(part.merged for part in self.parts)

    def __str__(self) -> str:
        running = [part for part in self.parts if part.running]
        waiting = len(self.parts) - self.merged - len(running)
        states = ", ".join(f"part {part.number} {part.status}" for part in running[:3])
        more = f" and {len(running) - 3} more" if len(running) > 3 else ""
        told = f"; {states}{more}, {self.done:,} requests done" if running else ""
        told += f"; {self.trouble}, will try again" if self.trouble else ""
        return f"{self.merged} of {len(self.parts)} parts merged, {waiting} not begun{told}"


class Driver:
    """Uploads parts, asks for their batches, waits for them, and merges what comes back.

    Every step is written down before the next: a run that dies is taken up by `run` of another one, which finds the
    batches that are under way and begins none of them again. Before a batch is asked for, the key in its metadata is
    written down; after an error or a crash in between, the account's batches are searched for it.

    Args:
        api: the provider.
        store: the parts, split.
        sink: where answers and dead letters go.
        limits: of parts that run at the same time.
        output: makes the answer of a response's body.
        price: USD at list prices for tokens of a model.
        full: whether rows keep the whole response.
        poll: how often the provider is asked how far it is.
        hear: told of the progress after each round.
    """

    def __init__(
        self,
        api: BatchApi,
        store: PartStore,
        sink: Sink,
        *,
        limits: PartLimits,
        output: Callable[[Any], Any],
        price: Callable[[str, Usage], float | None],
        full: bool = False,
        poll: Duration = "30s",
        hear: Callable[[Progress], object] = lambda _: None,
    ) -> None:
        self._api, self._store, self._sink, self._limits = api, store, sink, limits
        self._output, self._price, self._full = output, price, full
        self._poll = seconds(poll, "poll")
        self._hear = hear
        self._done: dict[int, int] = {}
        self._trouble = ""
        self._held: dict[int, int] = {}  # how many of our batches ran when a part was refused for want of room

    async def run(self, stop: asyncio.Event | None = None) -> bool:
        """Go on until every part is merged; return whether that is so, or *stop* was set before.

        What runs at the provider goes on there after *stop*; the next run takes it up.

        Raises:
            openai.OpenAIError: the provider refuses for good: no money, a wrong key.
            ValueError: a part holds more tokens than the account may have enqueued.
            OSError: the disk is full.
        """
        stop = stop or asyncio.Event()
        while self._store.parts:
            for number in sorted(self._store.parts):
                if stop.is_set():
                    return False
                await self._try(self._store.parts[number])
            self._hear(Progress(tuple(self._store.parts.values()), sum(self._done.values()), self._trouble))
            self._trouble = ""
            if all(part.merged for part in self._store.parts.values()):
                break
            try:
                await asyncio.wait_for(stop.wait(), self._poll)
            except TimeoutError:
                continue
        self._store.clear()
        return True

    async def _try(self, part: Part) -> None:
        """Take the next step of *part*; what fails for a reason that passes is tried again in the next round."""
        try:
            await self._advance(part)
        except Exception as error:
            if not classify(error).retryable:
                raise
            self._trouble = type(error).__name__

    async def _advance(self, part: Part) -> None:
        if part.merged:
            return
        if part.batch is None:
            part = await self._begin(part)
        if part.batch is None:
            return
        batch = await self._api.retrieve(part.batch)
        counts = batch.request_counts
        self._done[part.number] = 0 if counts is None else counts.completed + counts.failed
        if batch.status != part.status:
            part = self._store.put(part.but(status=batch.status))
        if batch.status in OVER:
            await self._finish(part, batch)

    # ------------------------------------------------------------------ begin

    async def _begin(self, part: Part) -> Part:
        """Upload *part* and ask for its batch, if there is room for it."""
        if not self._room(part):
            return part
        if part.input_file is None:
            part = self._store.put(part.but(input_file=await self._api.upload(self._store.input_of(part.number))))
        if part.key is not None:
            found = await self._api.find(part.key)
            if found is not None:
                return self._begun(part, found)
            if time.time() - part.keyed_at < _IN_DOUBT:
                return part
        part = self._store.put(part.but(key=uuid.uuid4().hex, keyed_at=time.time()))
        try:
            return self._begun(part, await self._api.create(part))
        except Exception as error:
            if _refused(error):  # so there is no batch
                self._store.put(part.but(key=None))
            raise

    def _begun(self, part: Part, batch: Batch) -> Part:
        return self._store.put(part.but(batch=batch.id, status=batch.status, created_at=float(batch.created_at)))

    def _running(self) -> list[Part]:
        return [part for part in self._store.parts.values() if part.running]

    def _room(self, part: Part) -> bool:
        running = self._running()
        if not running:
            return True
        if len(running) >= self._held.get(part.number, len(running) + 1):
            return False
        most = self._limits.tokens
        return most is None or sum(each.tokens for each in running) + part.tokens <= most

    # ------------------------------------------------------------------ finish

    async def _finish(self, part: Part, batch: Batch) -> None:
        """Merge what there is of a batch that is over."""
        problems = (batch.errors.data if batch.errors is not None else None) or []
        if batch.status == "failed" and any(problem.code == _FULL for problem in problems):
            self._wait_for_room(part, problems[0].message or "")
            return
        files = []
        for kind, file in (("output", batch.output_file_id), ("errors", batch.error_file_id)):
            if file is not None:
                path = self._store.downloaded(part.number, kind)
                if not path.exists():
                    await self._api.download(file, path)
                files.append(path)
        ended = batch.completed_at or batch.expired_at or batch.cancelled_at or batch.failed_at or time.time()
        reading = Reading(part, float(ended), self._output, self._price, self._full)
        why = None
        if problems:
            said = "; ".join(
                f"line {each.line}: {each.message}" if each.line else str(each.message) for each in problems
            )
            why = Failure("BatchFailed", said[:2000], "invalid", code=problems[0].code)
        merge(reading, files, self._store.rows_of(part.number), self._sink, why)
        await self._sink.saved()
        self._done.pop(part.number, None)
        self._store.put(part.but(merged=True))
        if part.input_file is not None:
            await self._api.delete(part.input_file)
        self._store.drop(part)

    def _wait_for_room(self, part: Part, message: str) -> None:
        """Ask for the batch of *part* again when another of ours is over.

        Raises:
            ValueError: it can never be: the part alone is more than the account may have enqueued.
        """
        part = self._store.put(part.but(batch=None, key=None, status=""))
        limit = _LIMIT.search(message)
        if limit is not None and part.tokens > int(limit[1].replace(",", "")):
            raise ValueError(
                f"part {part.number} has about {part.tokens:,} tokens, and the provider lets this account enqueue "
                f"{limit[1]}: give that as the limit on tokens, and the source is split smaller"
            )
        self._held[part.number] = len(self._running())


def _refused(error: Exception) -> bool:
    """Whether the provider heard a request and said no; behind any other error it may have done what it was asked."""
    found = classify(error)
    return not found.retryable and found.status is not None and 400 <= found.status < 500
