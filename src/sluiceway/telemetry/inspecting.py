"""A look into a running process, over HTTP on this machine alone.

`h11`, which openai's transport brings along, reads the requests; sockets are asyncio's. No server framework is needed
for two addresses, and none may be there: aiohttp is an extra. It runs in the application's own event loop, since layers
are no business of other threads, and goes on with the calls' own work after each function that it tells of.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote, urlsplit

from .logs import broken
from .memory import check_calls
from .overview import Overview
from .scraping import check_port

if TYPE_CHECKING:
    from types import TracebackType

    import h11

    from .explaining import Explanation

HOST: Final = "127.0.0.1"
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_PATIENCE: Final = 5.0  # seconds, for a request to come and an answer to go
_AT_ONCE: Final = 16  # connections; who looks needs one
_JSON: Final = "application/json; charset=utf-8"


class Inspection:
    """What `telemetry.inspect` opens; used as ``async with``, or by `start` and `aclose`.

    Attributes:
        port: where it listens; the one that was found if 0 was asked for, 0 before it listens.
    """

    def __init__(self, port: int, calls: int) -> None:
        check_port(port)
        check_calls(calls)
        self.port = port
        self._calls = calls
        self._overview: Overview | None = None
        self._server: asyncio.Server | None = None
        self._connections = 0
        self._closed = False

    @property
    def url(self) -> str:
        """What ``sluiceway top`` takes, such as `"http://127.0.0.1:9465"`."""
        return f"http://{HOST}:{self.port}"

    async def start(self) -> Self:
        """Listen, in the event loop that runs; return this.

        Raises:
            OSError: the port is taken.
            RuntimeError: it listens already, or was closed.
        """
        if self._server is not None or self._closed:
            raise RuntimeError("this inspection was closed" if self._closed else f"{self.url} is open already")
        try:
            self._server = await asyncio.start_server(self._serve, HOST, self.port)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {HOST}:{self.port}: {error.strerror or error}") from None
        self.port = self._server.sockets[0].getsockname()[1]
        self._overview = Overview(self._calls)
        return self

    async def aclose(self) -> None:
        """Stop listening and forget what was counted; a second time does nothing."""
        self._closed = True
        if self._overview is not None:
            self._overview.close()
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def state(self) -> dict[str, Any]:
        """Return what `/state` serves: every function and its layers, recent errors, the slowest calls.

        Raises:
            RuntimeError: it was not started.
        """
        return self._opened().state()

    def explain(self, call_id: str) -> Explanation:
        """Return where the time of a call went.

        Raises:
            LookupError: it is not remembered.
            RuntimeError: this was not started.
        """
        return self._opened().memory.explain(call_id)

    def _opened(self) -> Overview:
        if self._overview is None:
            raise RuntimeError("nothing was inspected: write `async with telemetry.inspect() as inspection:`")
        return self._overview

    def __repr__(self) -> str:
        return f"<Inspection {self.url}{' closed' if self._closed else ''}>"

    # ------------------------------------------------------------------ one request each

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= _AT_ONCE:
                async with asyncio.timeout(_PATIENCE):
                    await self._exchange(reader, writer)
        except (OSError, TimeoutError):  # who asked is gone, or too slow
            pass
        finally:
            self._connections -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import h11  # noqa: PLC0415 - on use: most processes open no inspection

        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16_384)
        request = None
        try:
            request = await _request(connection, reader)
            if request is None:
                return
            status, body = await self._answer(request)
        except h11.RemoteProtocolError:
            status, body = 400, {"error": "this is no HTTP request that is understood here"}
        except Exception as error:  # noqa: BLE001 - who looks must not disturb what he looks at
            broken(self._answer, error)
            status, body = 500, {"error": "the log tells what went wrong"}
        content = json.dumps(body).encode()
        headers = [
            ("content-type", _JSON),
            ("content-length", str(len(content))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
        ]
        out = connection.send(h11.Response(status_code=status, headers=headers)) or b""
        if request is None or request.method != b"HEAD":
            out += connection.send(h11.Data(data=content)) or b""
        connection.send(h11.EndOfMessage())
        writer.write(out)
        await writer.drain()

    async def _answer(self, request: h11.Request) -> tuple[int, dict[str, Any]]:
        named = next((value.decode("latin-1") for name, value in request.headers if name == b"host"), "")
        if _host(named) not in _HOSTS:  # a page of somebody else's, under a name that he points at this machine
            return 403, {"error": "only 127.0.0.1 and localhost are served here"}
        if request.method != b"GET":
            return 405, {"error": "only GET is served here"}
        path = unquote(urlsplit(request.target.decode("latin-1")).path)
        if path in {"/", "/state"}:
            return 200, await self._opened().state_between_others()
        if path.startswith("/calls/"):
            try:
                return 200, self.explain(path.removeprefix("/calls/")).to_dict()
            except LookupError as error:
                return 404, {"error": str(error.args[0])}
        return 404, {"error": "only /state and /calls/<call id> are served here"}


def _host(named: str) -> str:
    """Return the host of a `Host` header, without its port."""
    name, colon, port = named.rpartition(":")
    return (name if colon and port.isdecimal() else named).lower()


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Return the head of the request that comes; None if nobody sends one."""
    import h11  # noqa: PLC0415 - as above

    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(16_384))
        else:
            return event if isinstance(event, h11.Request) else None
