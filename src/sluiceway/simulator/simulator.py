"""The embedded provider in this process, as an async context manager."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, Unpack

from sluiceway.simulator import checks
from sluiceway.simulator.configured import Configured
from sluiceway.simulator.service import Service

if TYPE_CHECKING:
    from types import TracebackType

    from sluiceway.simulator.behaviour import Behaviour, Settings
    from sluiceway.simulator.ledger import Ledger
    from sluiceway.simulator.serving import Site

API_KEY = "sim"
"""Any key will do; this is the one that examples use."""


class Simulator(Configured):
    """An OpenAI-compatible provider on a local port, with limits and faults.

    ``async with Simulator(rpm=600, errors={503: 0.02}) as sim:`` listens from here to the end of the block, and
    ``AsyncOpenAI(base_url=sim.base_url, api_key="sim")`` talks to it. It runs on the caller's event loop, so its work
    adds to the caller's; where that matters use :func:`~sluiceway.simulator.spawn`. The object may be entered
    again after its end; it then starts with a new ledger and full limits.

    Args:
        behaviour: what it allows, how it answers and what goes wrong; see :class:`Behaviour`.
        host: where to listen.
        port: where to listen; 0 takes any free port.
        settings: changes to *behaviour*, by the names of its fields.

    Raises:
        TypeError, ValueError: a setting is unknown or not allowed.
    """

    _service: Service | None = None
    _site: Site | None = None
    _final: Ledger | None = None

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            ImportError: aiohttp is not installed.
            OSError: the port is taken.
            RuntimeError: it is listening already.
        """
        if self._site is not None:
            raise RuntimeError(f"{self!r} is running already")
        checks.aiohttp_is_installed()
        from sluiceway.simulator.serving import Site  # noqa: PLC0415 - aiohttp is an extra

        service = Service(self._behaviour, asyncio.get_running_loop().time())
        self._site = await Site.start(service, self._host, self._port)
        self._service = service
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every connection; the ledger stays readable."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()
            self._behaviour, self._final, self._service = self.behaviour, self.ledger, None

    @property
    def url(self) -> str:
        """Where it listens, without a path.

        Raises:
            RuntimeError: it is not listening.
        """
        if self._site is None:
            raise RuntimeError("the simulator is not running: enter it with `async with`")
        return f"http://{self._site.host}:{self._site.port}"

    @property
    def base_url(self) -> str:
        """What a client of OpenAI takes as ``base_url``; it ends in ``/v1``."""
        return f"{self.url}/v1"

    @property
    def behaviour(self) -> Behaviour:
        """How it behaves now."""
        return self._behaviour if self._service is None else self._service.behaviour

    @property
    def ledger(self) -> Ledger:
        """What it was asked and what it did so far; after the end, until the end.

        Raises:
            RuntimeError: it was never started.
        """
        if self._service is not None:
            return self._service.books.snapshot(asyncio.get_running_loop().time())
        if self._final is None:
            raise RuntimeError("the simulator has no ledger before it is started")
        return self._final

    def set(self, **settings: Unpack[Settings]) -> None:
        """Change the weather: these settings hold for every request from now on.

        What was taken from a limit stays taken; requests under way keep the fate they drew.
        """
        self._behaviour = self.behaviour.but(**settings)
        if self._service is not None:
            self._service.become(asyncio.get_running_loop().time(), self._behaviour)

    def outage(self, on: bool = True) -> None:  # noqa: FBT001, FBT002 - reads as a switch
        """Go down, or with False come back; see ``outage_as`` for how."""
        self.set(outage=on)

    def __repr__(self) -> str:
        where = "not running" if self._site is None else self.base_url
        return f"<Simulator {where}>"
