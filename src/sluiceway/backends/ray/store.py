"""Limits that the actors of a run share without a server beside Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluiceway.backends.memory import MemoryServer
from sluiceway.sharing.store import SharedStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.sharing.line import Line
    from sluiceway.sharing.store import Kind


class Books(MemoryServer):
    """The books of a `RayStore`, in an actor: what a Redis is to a `RedisStore`, on the clock of its machine."""


class RayStore(SharedStore):
    """State shared by the actors of one run, kept in an actor beside them; it ends with the run.

    Args:
        books: the handle of an actor that is a `Books`.
        prefix: see `SharedStore`.
    """

    def __init__(self, books: Any, *, prefix: str = "sluiceway") -> None:
        super().__init__(prefix=prefix)
        self._books = books

    async def send(self, line: Line, kind: Kind, key: str, ask: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - Ray has the connection
        """Ask the actor."""
        answer: dict[str, Any] = await self._books.answer.remote(kind, key, dict(ask))
        return answer

    def __repr__(self) -> str:
        return f"RayStore(prefix={self.prefix!r})"
