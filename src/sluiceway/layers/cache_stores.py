"""Where cached answers are kept: in memory by cachetools, on disk by SQLite, or wherever a `Store` keeps them.

Both hold JSON text, never pickles: a cache file from elsewhere can say wrong things and do none. (diskcache, the usual
choice for disks, unpickles what it finds and has had no release since 2023.)
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sqlite3
import threading
import time
import weakref
from asyncio import get_running_loop
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from sluiceway.errors import MissingExtra
from sluiceway.expiry import clock_shift
from sluiceway.tasks import plain_loops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Entry = dict[str, Any]
_decoded: Final = json.JSONDecoder().raw_decode  # what stands there is ours, and ends where it ends


class Store(Protocol):
    """What keeps entries by key; the stores of `py-key-value-aio` (Redis, Valkey, DynamoDB, ...) are such as they are.

    It may lose entries whenever it likes. What it raises is told once and otherwise passed over.
    """

    async def get(self, key: str) -> Entry | None:
        """Return the entry of *key*; None if there is none, or its time is over."""

    async def put(self, key: str, value: Mapping[str, Any], *, ttl: float | None = None) -> None:
        """Keep *value*, which is ready for JSON, under *key* for *ttl* seconds; None for as long as there is room."""


class MemoryStore:
    """Keeps the `max_entries` that were used last; their time runs by the event loop's clock.

    Raises:
        MissingExtra: cachetools is not installed.
    """

    def __init__(self, max_entries: int) -> None:
        try:
            from cachetools import TLRUCache  # noqa: PLC0415 - an optional dependency
        except ImportError:
            raise MissingExtra("cached() in memory", "cache") from None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._time: Callable[[], float] = float
        self._shift = 0.0
        self._entries: Any = TLRUCache(max_entries, _until, timer=self._now)

    def _now(self) -> float:
        return self._time() - self._shift

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in another event loop, with seconds that go on where they were."""
        self._shift += clock_shift(self._loop, loop)
        self._loop = loop
        self._time = monotonic if type(loop) in plain_loops else loop.time

    async def get(self, key: str) -> Entry | None:
        """Return a copy of the entry of *key*; None if there is none."""
        loop = get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        try:
            facts, answer, _ = self._entries[key]  # its own `get` looks twice
        except KeyError:
            return None
        return {**facts, "answer": _decoded(answer)[0]}

    async def put(self, key: str, value: Mapping[str, Any], *, ttl: float | None = None) -> None:
        """Keep *value* under *key* for *ttl* seconds."""
        loop = get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        facts = dict(value)
        answer = json.dumps(facts.pop("answer"))
        self._entries[key] = (facts, answer, math.inf if ttl is None else ttl)

    def __len__(self) -> int:
        return len(self._entries)


def _until(_key: str, kept: tuple[Entry, str, float], now: float) -> float:
    return now + kept[2]


_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT NOT NULL UNIQUE, value TEXT NOT NULL, until REAL)"


class DiskStore:
    """Keeps the `max_entries` that were stored last in an SQLite file, for all processes that name it.

    Their time runs by the wall clock. The file is opened at the first use, and made for its owner alone; reading and
    writing happens in threads, so that a slow disk stops nobody.
    """

    def __init__(self, path: str | os.PathLike[str], max_entries: int) -> None:
        self._path = Path(path)
        self._most = max_entries
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    async def get(self, key: str) -> Entry | None:
        """Return the entry of *key*; None if there is none, or it is no JSON."""
        return await asyncio.to_thread(self._locked, self._get, key)

    async def put(self, key: str, value: Mapping[str, Any], *, ttl: float | None = None) -> None:
        """Keep *value* under *key* for *ttl* seconds."""
        await asyncio.to_thread(self._locked, self._put, key, json.dumps(value), ttl)

    def _locked(self, work: Callable[..., Any], *args: Any) -> Any:
        with self._lock:
            if self._connection is None:
                self._connection = self._open()
            with self._connection:
                return work(self._connection, *args)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_TABLE)
        except BaseException:
            connection.close()
            raise
        weakref.finalize(self, connection.close)
        return connection

    def _get(self, connection: sqlite3.Connection, key: str) -> Entry | None:
        row = connection.execute("SELECT value, until FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None or (row[1] is not None and row[1] <= time.time()):
            return None
        try:
            found = json.loads(row[0])
        except (ValueError, TypeError):
            return None
        return found if isinstance(found, dict) else None

    def _put(self, connection: sqlite3.Connection, key: str, value: str, ttl: float | None) -> None:
        until = None if ttl is None else time.time() + ttl
        connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, value, until))
        # Every entry that is written gets the highest number, so that the lowest are the oldest.
        connection.execute("DELETE FROM answers WHERE rowid <= (SELECT MAX(rowid) FROM answers) - ?", (self._most,))
        connection.execute("DELETE FROM answers WHERE until <= ?", (time.time(),))
