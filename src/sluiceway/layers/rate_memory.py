"""The last good rate of each key, remembered from one start of the program to the next."""

from __future__ import annotations

import json
import math
import os
import tempfile
from contextlib import suppress
from logging import WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from sluiceway.telemetry import logs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable, Mapping

_EVERY: Final = 3.0  # seconds between a change and its being written, and so between two writes
_CHANGED: Final = 0.01  # a rate that moved by less is not written again


@runtime_checkable
class RateStore(Protocol):
    """Where rates are kept: a file, or whatever has these two methods."""

    def load(self) -> Mapping[str, float]:
        """Return the rates by key; asked once, at the first call. What it raises is logged and costs only memory."""

    def save(self, rates: Mapping[str, float]) -> None:
        """Keep *rates*; called in a thread of its own, at most every three seconds."""


class FileStore:
    """Rates in a JSON file, replaced as a whole: a reader sees the old one or the new one, never half of it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def load(self) -> Mapping[str, float]:
        """Return what the file holds; nothing if there is none.

        Raises:
            OSError: it cannot be read.
            ValueError: it holds something else.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        rates = json.loads(text)
        if not isinstance(rates, dict):
            raise ValueError(f"a JSON object of rates was expected, not a {type(rates).__name__}")  # noqa: TRY004 - data
        return rates

    def save(self, rates: Mapping[str, float]) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(dict(rates), file, indent=1, sort_keys=True)
            os.replace(name, self.path)  # noqa: PTH105 - Path.replace says the same
        except BaseException:
            with suppress(OSError):
                os.unlink(name)  # noqa: PTH108 - as above
            raise

    def __repr__(self) -> str:
        return f"FileStore({str(self.path)!r})"


class RateMemory:
    """Reads once, at first use, and writes off the event loop, three seconds after a change.

    What changed in the last three seconds before the end may be lost; the next start finds it again within moments.

    Args:
        store: a path, a store, or None to remember nothing.
        rates: returns the rates as they are now.
        layer: whom to name in a warning.

    Raises:
        TypeError: *store* is none of these.
    """

    __slots__ = ("_due", "_known", "_layer", "_loop", "_rates", "_saved", "_store", "_warned")

    def __init__(
        self,
        store: str | os.PathLike[str] | RateStore | None,
        rates: Callable[[], Mapping[Hashable, float]],
        layer: str,
    ) -> None:
        if isinstance(store, (str, os.PathLike)):
            store = FileStore(store)
        if store is not None and not isinstance(store, RateStore):
            raise TypeError(f"store={store!r} must be a path, or have the methods load() and save(rates)")
        self._store = store
        self._rates = rates
        self._layer = layer
        self._known: dict[str, float] | None = None
        self._saved: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = -math.inf
        self._warned = False

    def recall(self, key: Hashable) -> float | None:
        """Return the rate that *key* had when it was last written; None if nobody knows."""
        if self._store is None:
            return None
        if self._known is None:
            self._known = self._load(self._store)
        return self._known.get(_name(key))

    def changed(self, loop: asyncio.AbstractEventLoop) -> None:
        """A rate is another: have it written, soon."""
        if self._store is None:
            return
        if loop is not self._loop:  # timers of the one before died with it
            self._loop = loop
            self._due = -math.inf
        now = loop.time()
        if now < self._due:  # a write is due already, or was just now
            return
        self._due = now + _EVERY
        loop.call_later(_EVERY, self._write, loop)

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = -math.inf
        store = self._store
        if store is None:
            return
        rates = {_name(key): rate for key, rate in self._rates().items()}
        if all(abs(rate - self._saved.get(name, 0.0)) <= _CHANGED * rate for name, rate in rates.items()):
            return
        self._saved = rates
        loop.run_in_executor(None, self._save, store, {**(self._known or {}), **rates})

    def _save(self, store: RateStore, rates: Mapping[str, float]) -> None:
        try:
            store.save(rates)
        except Exception as error:  # noqa: BLE001 - a full disk, somebody's store: no reason to fail a call
            self._warn("the rates cannot be written", error)

    def _load(self, store: RateStore) -> dict[str, float]:
        try:
            found = {str(name): float(rate) for name, rate in store.load().items()}
            wrong = [rate for rate in found.values() if not 0 < rate < math.inf]
            if wrong:
                raise ValueError(f"{wrong[0]!r} is no rate")  # noqa: TRY301 - as bad as what does not parse
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, we can do without
            self._warn("the remembered rates cannot be read: starting at the initial one", error)
            return {}
        return found

    def _warn(self, text: str, error: Exception) -> None:
        if not self._warned and logs.enabled(WARNING):
            self._warned = True
            logs.write(WARNING, text, {"layer": self._layer, "store": repr(self._store), "error": repr(error)})


def _name(key: Hashable) -> str:
    """Return the name of *key* in the store: a str as it is, no key as the empty one."""
    if isinstance(key, str):
        return key
    return "" if key is None else repr(key)
