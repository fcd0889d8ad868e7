"""The few calls that a batch takes, made through layers of our own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from sluiceway.layer import Pipeline
from sluiceway.layers import retry_jitter, timed

if TYPE_CHECKING:
    from pathlib import Path

    from openai import AsyncOpenAI
    from openai.types import Batch

    from sluiceway.batch.batch_api.part import Part

KEY: Final = "sluiceway_key"
_LOOKED_AT: Final = 500  # batches of the account, the latest ones, among which one of ours is looked for
_PAGE: Final = 100


class BatchApi:
    """Files and batches at the provider.

    What may be done twice is retried; a batch is asked for once, since whether it was made is not known after an error:
    look for it by `find`.

    Args:
        client: an `AsyncOpenAI` without retries of its own.
        attempts: trips for each call that may be made twice.
    """

    def __init__(self, client: AsyncOpenAI, *, attempts: int = 5) -> None:
        self._client = client
        self._again = Pipeline(timed("30m"), retry_jitter(attempts), name="batch api")

    async def upload(self, path: Path) -> str:
        """Upload the requests in *path* and return the provider's name of the file."""
        return await self._again.call(self._upload, path)

    async def _upload(self, path: Path) -> str:
        return (await self._client.files.create(file=path, purpose="batch")).id

    async def create(self, part: Part) -> Batch:
        """Ask for the batch of a part that is uploaded and has a key."""
        assert part.input_file is not None
        assert part.key is not None
        endpoint: Any = part.endpoint
        return await self._client.batches.create(
            input_file_id=part.input_file, endpoint=endpoint, completion_window="24h", metadata={KEY: part.key}
        )

    async def find(self, key: str) -> Batch | None:
        """Return the batch that has *key* in its metadata, if it is one of the last 500 of the account."""
        return await self._again.call(self._find, key)

    async def _find(self, key: str) -> Batch | None:
        seen = 0
        async for batch in await self._client.batches.list(limit=_PAGE):
            if batch.metadata and batch.metadata.get(KEY) == key:
                return batch
            seen += 1
            if seen >= _LOOKED_AT:
                break
        return None

    async def retrieve(self, batch: str) -> Batch:
        """Return the batch as it is now."""
        return await self._again.call(self._client.batches.retrieve, batch)

    async def download(self, file: str, path: Path) -> None:
        """Write the provider's *file* to *path*, which is there only when all of it is, on disk."""
        await self._again.call(self._download, file, path)

    async def _download(self, file: str, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        async with self._client.files.with_streaming_response.content(file) as response:
            await response.stream_to_file(temporary)
        await asyncio.to_thread(_force, temporary)
        temporary.replace(path)

    async def delete(self, file: str) -> None:
        """Delete the provider's *file*; that it cannot be deleted is no reason to stop."""
        with contextlib.suppress(Exception):  # tidiness, after everything is saved
            await self._client.files.delete(file)


def _force(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
