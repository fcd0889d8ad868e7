"""The files and batches of the provider over HTTP."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from sluiceway.simulator import batch_wire
from sluiceway.simulator.batch_input import ENDPOINTS
from sluiceway.simulator.batches import OVER, Batches
from sluiceway.simulator.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web

    from sluiceway.simulator.batches import Batch
    from sluiceway.simulator.service import Service

_PAGE: Final = 20
_MOST: Final = 100


class Refused(Exception):
    """A request about files or batches that makes no sense: its status and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BatchHandler:
    """Answers what is asked of ``/v1/files`` and ``/v1/batches``; *clock* tells the time of the service."""

    def __init__(self, service: Service, clock: Callable[[], float]) -> None:
        self._service = service
        self._clock = clock
        self._files = Files()
        self._batches = Batches(service)

    @staticmethod
    def serves(path: str) -> bool:
        """Whether *path* is one of those."""
        return path.startswith(("/v1/files", "/v1/batches"))

    async def __call__(self, request: web.BaseRequest) -> bytes:
        """Return the body of the answer to *request*.

        Raises:
            Refused: it makes no sense, or there is an outage.
        """
        behaviour = self._service.behaviour
        if behaviour.is_out(self._clock() - self._service.books.started):
            raise Refused(behaviour.outage_as if isinstance(behaviour.outage_as, int) else 503, "There is an outage.")
        kind, *rest = request.path.removeprefix("/v1/").strip("/").split("/")
        answer = await self._of_files(request, rest) if kind == "files" else await self._of_batches(request, rest)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    async def _of_files(self, request: web.BaseRequest, rest: list[str]) -> dict[str, Any] | bytes:
        if not rest:
            return await self._upload(request) if request.method == "POST" else self._list_files(request)
        stored = self._files.find(rest[0])
        if stored is None:
            raise Refused(404, f"No such File object: {rest[0]}")
        if rest[1:] == ["content"] and request.method == "GET":
            return stored.content
        if rest[1:]:
            raise Refused(404, f"{request.method} {request.path} is not served here.")
        if request.method == "DELETE":
            return {"id": stored.id, "object": "file", "deleted": self._files.remove(stored.id)}
        return batch_wire.file_object(stored)

    async def _upload(self, request: web.BaseRequest) -> dict[str, Any]:
        if not request.content_type.startswith("multipart/"):
            raise Refused(400, "An upload is multipart/form-data with 'purpose' and 'file'.")
        purpose, filename, content = "", "", None
        async for part in await request.multipart():
            if getattr(part, "name", None) == "purpose":
                purpose = await part.text()  # type: ignore[union-attr]  # a part with a name is no multipart itself
            elif getattr(part, "name", None) == "file":
                filename = part.filename or "file"  # type: ignore[union-attr]  # likewise
                content = bytes(await part.read())  # type: ignore[union-attr]  # likewise
        if content is None or purpose != "batch":
            raise Refused(400, "An upload needs 'file', and 'purpose' must be 'batch'.")
        return batch_wire.file_object(self._files.add(content, filename, purpose, int(time.time())))

    def _list_files(self, request: web.BaseRequest) -> dict[str, Any]:
        return _page(request, map(batch_wire.file_object, self._files.newest_first()))

    async def _of_batches(self, request: web.BaseRequest, rest: list[str]) -> dict[str, Any]:
        now = self._clock()
        if not rest:
            if request.method == "POST":
                return await self._create(request)
            return _page(request, map(self._shown, self._batches.newest_first(now)))
        batch = self._batches.find(now, rest[0])
        if batch is None:
            raise Refused(404, f"No batch found with id '{rest[0]}'.")
        if rest[1:] == ["cancel"] and request.method == "POST":
            self._batches.cancel(now, batch)
            return batch_wire.batch_object(batch, now)
        if rest[1:] or request.method != "GET":
            raise Refused(404, f"{request.method} {request.path} is not served here.")
        return self._shown(batch)

    async def _create(self, request: web.BaseRequest) -> dict[str, Any]:
        asked = await request.json()
        stored = self._files.find(str(asked.get("input_file_id")))
        endpoint, metadata = asked.get("endpoint"), asked.get("metadata") or {}
        if stored is None:
            raise Refused(400, f"Cannot find file {asked.get('input_file_id')}.")
        if endpoint not in ENDPOINTS:
            raise Refused(400, f"The 'endpoint' must be one of {', '.join(ENDPOINTS)}.")
        if asked.get("completion_window") != "24h":
            raise Refused(400, "The 'completion_window' must be '24h'.")
        batch = self._batches.create(self._clock(), int(time.time()), stored, endpoint, metadata)
        return batch_wire.batch_object(batch, batch.at) | {"status": "validating", "errors": None}

    def _shown(self, batch: Batch) -> dict[str, Any]:
        """Describe *batch*; when it is over, its output is written first."""
        now = self._clock()
        if batch.outcomes is not None and batch.status(now) in OVER and batch.output_file_id is None:
            answered, other = batch_wire.output_lines(batch, self._service.behaviour)
            batch.output_file_id = self._written(batch, answered, "output")
            batch.error_file_id = self._written(batch, other, "error") if other else None
        return batch_wire.batch_object(batch, now)

    def _written(self, batch: Batch, content: bytes, kind: str) -> str:
        return self._files.add(content, f"{batch.id}_{kind}.jsonl", "batch_output", int(time.time())).id


def _page(request: web.BaseRequest, objects: Iterable[dict[str, Any]]) -> dict[str, Any]:
    after, limit = request.query.get("after"), request.query.get("limit", str(_PAGE))
    if not limit.isdecimal() or not 1 <= int(limit) <= _MOST:
        raise Refused(400, f"The 'limit' must be from 1 to {_MOST}.")
    shown = list(objects)
    names = [each["id"] for each in shown]
    start = names.index(after) + 1 if after in names else 0
    end = start + int(limit)
    return batch_wire.page(shown[start:end], more=end < len(shown))
