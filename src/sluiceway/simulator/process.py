"""The simulated provider in a process of its own, so that its work is not the client's."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, Self, Unpack

from sluiceway.simulator import checks
from sluiceway.simulator.configured import Configured
from sluiceway.simulator.ledger import Ledger

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from types import TracebackType

    from sluiceway.simulator.behaviour import Behaviour, Settings

_START = 30.0
_STOP = 5.0


class SimulatorProcess(Configured):
    """A :class:`~sluiceway.simulator.Simulator` in another process; what asks it is awaited.

    ``async with SimulatorProcess(rpm=6000) as sim:`` starts a Python and waits until it listens; the end of the block
    stops it and fetches the final ledger. It also ends by itself when this process dies, however that happens.

    Arguments and errors are those of :class:`~sluiceway.simulator.Simulator`.
    """

    _process: Process | None = None
    _base_url = ""
    _final: Ledger | None = None

    async def __aenter__(self) -> Self:
        """Start the process and wait until it listens.

        Raises:
            ImportError: aiohttp is not installed.
            RuntimeError: it is running already, or the process ended or stayed silent instead of listening.
        """
        if self._process is not None:
            raise RuntimeError(f"{self!r} is running already")
        checks.aiohttp_is_installed()
        order = {"host": self._host, "port": self._port, "behaviour": self._behaviour.to_dict()}
        command = (sys.executable, "-m", "sluiceway.simulator")
        self._process = process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        try:
            async with asyncio.timeout(_START):
                self._base_url = (await self._told(process, order))["base_url"]
        except BaseException:
            await self._stop()
            raise
        self._final = None
        return self

    @staticmethod
    async def _told(process: Process, order: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator's process ended with {await process.wait()} instead of listening")
        told: dict[str, Any] = json.loads(line)
        return told

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the process; the ledger stays readable."""
        last_words = await self._stop()
        if last_words:
            self._final = Ledger.from_dict(json.loads(last_words))

    async def _stop(self) -> bytes:
        process, self._process, self._base_url = self._process, None, ""
        if process is None:
            return b""
        try:
            async with asyncio.timeout(_STOP):
                last_words, _ = await process.communicate(b"")  # closes its stdin, which ends it
        except BaseException as error:
            with suppress(ProcessLookupError):
                process.kill()
            last_words, _ = await process.communicate()
            if not isinstance(error, TimeoutError):
                raise
        return last_words

    @property
    def base_url(self) -> str:
        """What a client of OpenAI takes as ``base_url``; it ends in ``/v1``.

        Raises:
            RuntimeError: it is not running.
        """
        if not self._base_url:
            raise RuntimeError("the simulator is not running: enter it with `async with`")
        return self._base_url

    @property
    def url(self) -> str:
        """Where it listens, without a path; RuntimeError when it does not."""
        return self.base_url.removesuffix("/v1")

    @property
    def pid(self) -> int | None:
        """The process's id, to see what it costs; None when it is not running."""
        return None if self._process is None else self._process.pid

    @property
    def behaviour(self) -> Behaviour:
        """How it behaves now."""
        return self._behaviour

    async def ledger(self) -> Ledger:
        """Return what it was asked and what it did so far; after the end, until the end."""
        if self._final is not None and self._process is None:
            return self._final
        return Ledger.from_dict(await self._ask("GET", "/ledger"))

    async def set(self, **settings: Unpack[Settings]) -> None:
        """Change the weather: these settings hold for every request from now on."""
        changed = self._behaviour.but(**settings)
        await self._ask("POST", "/behaviour", changed.to_dict())
        self._behaviour = changed

    async def outage(self, on: bool = True) -> None:  # noqa: FBT001, FBT002 - reads as a switch
        """Go down, or with False come back; see ``outage_as`` for how."""
        await self.set(outage=on)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        import aiohttp  # noqa: PLC0415 - an extra

        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, raise_for_status=True) as response,
        ):
            answer: dict[str, Any] = await response.json()
            return answer

    def __repr__(self) -> str:
        return f"<SimulatorProcess {self._base_url or 'not running'}>"


def spawn(
    behaviour: Behaviour | None = None, *, host: str = "127.0.0.1", port: int = 0, **settings: Unpack[Settings]
) -> SimulatorProcess:
    """Return a simulator that will run in a process of its own.

    Arguments and errors are those of :class:`SimulatorProcess`.
    """
    return SimulatorProcess(behaviour, host=host, port=port, **settings)
