"""The provider on a socket. The one module that needs aiohttp: import it when a server is wanted."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sluiceway.simulator import replies
from sluiceway.simulator.answer import compose
from sluiceway.simulator.asked import PATHS, Unreadable, read
from sluiceway.simulator.batch_serving import BatchHandler, Refused
from sluiceway.simulator.service import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.simulator.answer import Answer
    from sluiceway.simulator.service import Service, Ticket

# A stream without end must leave the event loop to others.
_LEAST_GAP = 0.001
_RESET = struct.pack("ii", 1, 0)
_ANY_SIZE = 1 << 40  # 0 would be any size for plain bodies and none for uploads
# Nothing of value is lost with the requests that are still open when the server stops.
_SHUTDOWN = 0.01


class Handler:
    """Answers every request of one server."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self._service = service
        self._loop = loop
        self._batches = BatchHandler(service, loop.time)
        self._numbers = itertools.count(1)
        self._prefix = os.urandom(4).hex()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer *request*."""
        endpoint = PATHS.get(request.path) if request.method == "POST" else None
        if endpoint is not None:
            return await self._ask(request, endpoint)
        if BatchHandler.serves(request.path):
            return await self._batch(request)
        if request.path == "/v1/models" and request.method == "GET":
            return _response(200, replies.models())
        if request.path == "/ledger" and request.method == "GET":
            return _response(200, json.dumps(self._service.books.snapshot(self._loop.time()).to_dict()).encode())
        if request.path == "/behaviour":
            return await self._weather(request)
        self._service.invalid(self._loop.time())
        message = f"{request.method} {request.path} is not served here."
        return self._reply(404, replies.invalid("", 404, message, self._request_id()))

    async def _batch(self, request: web.BaseRequest) -> web.Response:
        try:
            return self._reply(200, await self._batches(request))
        except Refused as refused:
            body = replies.invalid("", refused.status, str(refused), self._request_id())
            return self._reply(refused.status, body)

    async def _weather(self, request: web.BaseRequest) -> web.Response:
        if request.method == "POST":
            try:
                behaviour = self._service.behaviour.but(**json.loads(await request.read()))
            except (TypeError, ValueError) as error:
                return _response(400, json.dumps({"error": str(error)}).encode())
            self._service.become(self._loop.time(), behaviour)
        return _response(200, json.dumps(self._service.behaviour.to_dict()).encode())

    async def _ask(self, request: web.BaseRequest, endpoint: str) -> web.StreamResponse:
        service, request_id = self._service, self._request_id()
        body = await request.read()
        sdk_retry = request.headers.get("x-stainless-retry-count", "0") != "0"
        now = self._loop.time()
        try:
            asked = read(request.path, body, service.behaviour.tokens_per_character)
        except Unreadable as error:
            service.invalid(now, sdk_retry=sdk_retry)
            text = replies.invalid(endpoint, 400, str(error), request_id)
            return self._reply(400, text, replies.headers(endpoint, {}, service.behaviour, request_id))
        outcome = service.arrive(now, asked, sdk_retry=sdk_retry)
        if isinstance(outcome, Refusal):
            return await self._refuse(request, endpoint, outcome, request_id)
        try:
            return await self._serve(request, outcome, request_id)
        except ConnectionError:  # the client left while we wrote: not worth a line in anybody's log
            return web.Response()
        finally:
            service.abandoned(outcome)  # unless it ended otherwise

    async def _refuse(
        self, request: web.BaseRequest, endpoint: str, refusal: Refusal, request_id: str
    ) -> web.StreamResponse:
        behaviour, status = self._service.behaviour, refusal.how
        if status == "hang":
            await asyncio.sleep(behaviour.hang_for)
        if status in ("hang", "reset"):
            return _reset(request)
        assert isinstance(status, int)
        headers = replies.headers(endpoint, refusal.levels, behaviour, request_id)
        headers |= replies.come_back(endpoint, status, refusal.retry_after, behaviour)
        return self._reply(status, replies.refusal(endpoint, refusal, status, behaviour, request_id), headers)

    async def _serve(self, request: web.BaseRequest, ticket: Ticket, request_id: str) -> web.StreamResponse:
        asked, fate, behaviour = ticket.asked, ticket.fate, self._service.behaviour
        headers = replies.headers(asked.endpoint, ticket.levels, behaviour, request_id)
        if fate.hangs:
            await asyncio.sleep(fate.hangs)
        if fate.error is not None:
            await asyncio.sleep(fate.latency)
            self._service.failed(ticket)
            headers |= replies.come_back(asked.endpoint, fate.error, None, behaviour)
            return self._reply(fate.error, replies.fault(asked.endpoint, fate.error, request_id), headers)
        answer = compose(asked, fate, behaviour.answer, identifier=request_id[4:], created=int(time.time()))
        if replies.streams(asked) and not fate.resets:
            return await self._stream(request, ticket, answer, headers)
        if asked.endpoint != "embeddings":
            ticket.output = answer.tokens * asked.choices  # a provider finishes what it has begun, and bills it
        if duration := fate.time_for(answer.tokens):
            await asyncio.sleep(duration)
        if fate.resets:
            self._service.reset(ticket)
            return _reset(request)
        self._service.answered(self._loop.time(), ticket)
        return self._reply(200, replies.whole(asked, answer), headers)

    async def _stream(
        self, request: web.BaseRequest, ticket: Ticket, answer: Answer, headers: dict[str, str]
    ) -> web.StreamResponse:
        fate, choices = ticket.fate, ticket.asked.choices
        writer = replies.stream(ticket.asked, answer)
        breaks_after = None if fate.breaks_at is None else int(fate.breaks_at * answer.tokens)
        await asyncio.sleep(fate.latency)
        response = web.StreamResponse(headers=headers | {"Content-Type": replies.EVENTS, "Server": "simulator"})
        self._service.books.by_status[200] += 1
        await response.prepare(request)
        await response.write(b"".join(writer.opening()))
        for sent, piece in enumerate(answer.endless_pieces() if fate.endless else answer.pieces()):
            if sent == breaks_after:
                return await self._break(request, response, ticket, writer)
            gap = fate.gaps.draw(fate.rng) if sent else 0.0
            if gap or fate.endless:
                await asyncio.sleep(max(gap, _LEAST_GAP) if fate.endless else gap)
            ticket.output += choices
            await response.write(writer.piece(piece))
        # Counted first: a client may leave as soon as it has read the last event.
        self._service.answered(self._loop.time(), ticket)
        await response.write_eof(b"".join(writer.closing(answer.tokens)))
        return response

    async def _break(
        self, request: web.BaseRequest, response: web.StreamResponse, ticket: Ticket, writer: replies.EventStream
    ) -> web.StreamResponse:
        if ticket.fate.breaks_by_reset:
            self._service.reset(ticket)
            _reset(request)
        else:
            self._service.failed(ticket)
            await response.write_eof(writer.failing("The simulated provider breaks this stream, as it was told to."))
        return response

    def _request_id(self) -> str:
        return f"req_{self._prefix}{next(self._numbers):08x}"

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
        self._service.books.by_status[status] += 1
        return _response(status, body, headers)


def _response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=body, headers={"Content-Type": replies.JSON, "Server": "simulator", **(headers or {})}
    )


def _reset(request: web.BaseRequest) -> web.Response:
    """Close the connection so that the client sees a reset rather than an orderly end."""
    if request.transport is not None:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        request.transport.abort()
    return web.Response()


class Site:
    """A listening server; :meth:`stop` closes it and every connection."""

    def __init__(self, runner: web.ServerRunner, host: str, port: int) -> None:
        self._runner = runner
        self.host = host
        self.port = port

    @classmethod
    async def start(cls, service: Service, host: str, port: int) -> Site:
        """Listen on *host* and *port*; 0 is any free one.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()

        def make_request(*parts: Any) -> web.BaseRequest:
            message, payload, protocol, writer, task = parts
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_ANY_SIZE)

        server = web.Server(
            Handler(service, loop), request_factory=make_request, handler_cancellation=True, access_log=None
        )
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except BaseException:
            await runner.cleanup()
            raise
        return cls(runner, host, runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and close every connection; requests under way are cut off."""
        await self._runner.cleanup()
