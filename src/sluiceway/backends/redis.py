"""State that processes share through Redis or Valkey."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from sluiceway.errors import MissingExtra
from sluiceway.sharing.store import Away, SharedStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.durations import Duration
    from sluiceway.sharing.line import Line
    from sluiceway.sharing.store import Kind

_PARTS: Final = {
    "rate": ("", ":seen", ":short"),
    "places": (":ends", ":leases", ":wanted", ":got"),
    "budget": (":ends", ":leases", ":busy", ":spent"),
    "notes": (":ends", ":numbers", ":text"),
}


class RedisStore(SharedStore):
    """State shared through one Redis (6.2 or newer) or Valkey.

    ``store = RedisStore("redis://localhost:6379", prefix="my-app")``, then ``rate_limited(rpm=500, store=store)``. Each
    operation is one Lua script, atomic, on the clock of the server alone: those of the workers may differ. All keys of
    one state are in one slot of a cluster, bear an expiry, and hold numbers only: no prompts, no answers; of `by=`,
    the keys as they are.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with user, password and number of the database as redis-py reads it.
        prefix, away, block, lease, timeout: see `SharedStore`.
        options: further arguments of `redis.asyncio.Redis.from_url`.

    Raises:
        MissingExtra: redis is not installed.
        TypeError, ValueError: a setting has the wrong type or is out of range, the address cannot be read, or an option
            is none of redis-py's; nothing connects yet.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "sluiceway",
        away: Away = "local_share",
        block: Duration = "100ms",
        lease: Duration = "10s",
        timeout: Duration = "1s",
        **options: Any,
    ) -> None:
        super().__init__(prefix=prefix, away=away, block=block, lease=lease, timeout=timeout)
        try:
            import redis.asyncio  # noqa: F401, PLC0415 - an extra
        except ImportError:
            raise MissingExtra("RedisStore", "redis") from None
        if not isinstance(url, str):
            raise TypeError("url must be a str such as 'redis://localhost:6379'")
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("url must begin with redis://, rediss:// or unix://")
        self._url = url
        self._options = options
        try:
            self._client().connection_pool.make_connection()  # opens none: it is made of the address and options
        except Exception as error:  # noqa: BLE001 - redis-py's own: of numbers, names of options, certificates, ...
            how = f": {error}" if options else ""  # else it is the address's, and may tell a part of the password
            raise ValueError(
                "url cannot be used, or an option beside it: the port and the database must be whole numbers, what is "
                f"no letter or digit in a password written as %2F and so on, and each option redis-py's own{how}"
            ) from None

    async def send(self, line: Line, kind: Kind, key: str, ask: Mapping[str, Any]) -> dict[str, Any]:
        """Run the script of *kind* on *key*."""
        if line.connection is None:
            line.connection = _Connection(self._client())
        script = line.connection.scripts[kind]
        keys = [key + part for part in _PARTS[kind]]
        if kind == "rate":
            keys += [f"{key}:{part}:{name}" for name in ask["names"] for part in ("stamps", "costs")]
        now, answer = await script(keys=keys, args=[json.dumps(ask)])
        return {**json.loads(answer), "now": float(now)}

    def _client(self) -> Any:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra

        given = {"socket_timeout": self.timeout, "socket_connect_timeout": self.timeout, **self._options}
        return Redis.from_url(self._url, **given)

    async def disconnect(self, line: Line) -> None:
        """Close the connections of *line*."""
        connection, line.connection = line.connection, None
        if connection is not None:
            await connection.client.aclose()

    def __repr__(self) -> str:
        return f"RedisStore(prefix={self.prefix!r})"  # the address may hold a password


class _Connection:
    """A client and its scripts."""

    __slots__ = ("client", "scripts")

    def __init__(self, client: Any) -> None:
        self.client = client
        self.scripts = {kind: client.register_script(_text(kind)) for kind in _PARTS}


@cache
def _text(kind: str) -> str:
    return (resources.files("sluiceway.backends") / "scripts" / f"{kind}.lua").read_text(encoding="utf-8")
