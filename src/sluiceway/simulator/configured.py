"""What every form of the simulated provider is made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from sluiceway.simulator import checks
from sluiceway.simulator.behaviour import Behaviour

if TYPE_CHECKING:
    from sluiceway.simulator.behaviour import Settings


class Configured:
    """A simulated provider that does not listen yet; for its arguments see :class:`~sluiceway.simulator.Simulator`."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        **settings: Unpack[Settings],
    ) -> None:
        checks.whole("port", port, least=0, most=65_535)
        self._behaviour = (behaviour or Behaviour()).but(**settings)
        self._host = host
        self._port = port
