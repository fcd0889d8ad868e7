"""Answers that were given before, given again."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from sluiceway.call import Attempt
from sluiceway.call_key import call_key
from sluiceway.durations import optional_seconds
from sluiceway.events import CacheHit, NotCached, Phase
from sluiceway.functions import is_generator, is_plain
from sluiceway.layer import Layer
from sluiceway.layers.cache_entries import Codec, NotStorable
from sluiceway.layers.cache_stores import DiskStore, Entry, MemoryStore, Store
from sluiceway.layers.renewing import agrees
from sluiceway.order import Role
from sluiceway.streaming import emit_to_reader, generate, pull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sluiceway.call import Call, Proceed
    from sluiceway.durations import Duration

T = TypeVar("T")

_VERSION: Final = 1
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class CacheSnapshot:
    """What a `cached` layer did.

    Attributes:
        hits: calls that were answered by it.
        misses: calls that went on, those without a key among them.
        stored: answers that it took in.
        declined: answers that it could not take in, or that the store failed on.
    """

    hits: int
    misses: int
    stored: int
    declined: int


class cached(Layer):
    """Answers that were given before, given again: a hit asks nobody and costs nothing.

    ``@cached()`` keeps answers in memory, ``@cached("answers.db", ttl="7d")`` in a file that outlives the process and
    serves others. A hit makes no attempt: no tokens, no cost, no permit of the layers inside; it is counted as
    `cache_hits` in statistics. Stand it outside everything else. Errors are never stored, and equal calls that run at
    the same time all ask the provider, unless `coalesced` stands inside.

    A stream is stored when it was read to a clean end, and replayed as a stream of the same items, with no pauses; what
    the provider's object has beside its items (`.response`) a replay has not. Answers may be plain JSON values or
    Pydantic objects such as openai's and anthropic's; others are passed through, which is told once for each kind.
    Of a class of your own an entry is read only when the class was seen in a live answer of this process, or is among
    `types`: nothing in a cache can import code. An entry that cannot be read is passed over and written anew.

    Args:
        store: None for memory (``pip install 'sluiceway[cache]'``); a path for an SQLite file; or anything with
            ``async get(key)`` and ``async put(key, value, ttl=)`` for dicts, such as the stores of py-key-value-aio.
        key: a function of the `Call` that returns a str, or None for calls that shall not be cached; two functions
            under one object share answers by it. By default the function's name and a digest of all its arguments;
            neither `self` nor a client is part of that, and neither is who asks: put the tenant in if it matters.
        ttl: how long an answer is good, from when it was stored; None for as long as there is room. In memory by the
            event loop's clock, in a file by the wall clock.
        max_entries: how many answers are kept, 10,000 by default. In memory those used last, in a file those stored
            last. A store of your own decides itself.
        types: Pydantic classes whose answers may be read before one was seen alive.

    Raises:
        MissingExtra: memory is asked for and cachetools is not installed.
        TypeError: a setting has the wrong type; at a call, an argument has no canonical form and `key` is not given.
        ValueError: `max_entries` is below 1 or given with a store of your own, or `ttl` is no positive duration.
    """

    role: ClassVar[Role] = Role.SPARE
    stateful: ClassVar[bool] = True

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        key: Callable[[Call], str | None] | None = None,
        ttl: Duration | None = None,
        max_entries: int | None = None,
        types: Iterable[type] = (),
    ) -> None:
        if key is not None and not is_plain(key):
            raise TypeError(f"key={key!r} must be a function of the Call that returns a str, not async")
        self._store = _store(store, max_entries)
        self._key = call_key if key is None else key
        self._ttl = optional_seconds(ttl, "ttl")
        self._codec = Codec(types)
        self._told: set[str] = set()
        self._generators = False
        self._hits = self._misses = self._stored = self._declined = 0

    def check_function(self, function: Callable[..., Any]) -> None:
        """Remember whether there are async generator functions, whose answers are streams; refuse none."""
        self._generators = self._generators or is_generator(function)

    async def handle(self, call: Call, proceed: Proceed[T]) -> T:
        """Answer *call* from the store, or run it and store what comes."""
        key = self._key(call)
        if key is None:
            self._misses += 1
            return await proceed(call)
        if not isinstance(key, str):
            raise TypeError(f"the key of {self.name} must be a str or None, not a {type(key).__name__}")
        run = call.run
        since = run.time()
        try:
            entry = await self._store.get(key)
        except Exception as error:  # noqa: BLE001 - a cache must not break a call
            self._decline(call, f"the store failed: {type(error).__name__}")
            entry = None
        found = None if entry is None else self._read(call, entry)
        if found is None:
            self._misses += 1
            if run.detailed:
                call.report(Phase(run.time(), call, since, self.name, "cache miss", {}))
            return await self._ask(call, key, proceed)
        self._hits += 1
        at, streamed, answer = found
        if run.listening or run.facts is not None:
            age = max(0.0, time.time() - at)
            said = {"sluiceway.cache.age": age}
            call.report(CacheHit(run.time(), call, since, self.name, "cache hit", said, age=age))
        result: T = await self._replay(call, answer) if streamed else answer
        return result

    # ------------------------------------------------------------------ a hit

    def _read(self, call: Call, entry: Entry) -> tuple[float, bool, Any] | None:
        """Return since when *entry* is there, whether it is a stream, and the answer or items; None if unreadable."""
        try:
            if entry["version"] != _VERSION:
                return None
            streamed = entry["streamed"] is True
            if not streamed and self._generators and is_generator(call.function):
                return None
            return float(entry["at"]), streamed, self._codec.read(entry["answer"])
        except Exception:  # noqa: BLE001 - whatever it is, it is not what we wrote: it is written anew
            return None

    async def _replay(self, call: Call, items: list[Any]) -> Any:
        nobody_s = Attempt(0, call.run.time())
        replay = generate if is_generator(call.function) else pull
        return await replay(call, nobody_s, Replayed(items))

    # ------------------------------------------------------------------ a miss

    async def _ask(self, call: Call, key: str, proceed: Proceed[T]) -> T:
        items = _Items(self._codec)
        mine = call.emitting(partial(items.pass_on, call.emit or emit_to_reader))
        try:
            answer = await proceed(mine)
        finally:
            call.record = mine.record
        last = call.run.last
        if items.came or answer is not None or last is None or not last.streamed:  # an empty stream is no answer
            await self._keep(call, key, answer, items)
        return answer

    async def _keep(self, call: Call, key: str, answer: Any, items: _Items) -> None:
        streamed = items.came
        try:
            written = items.written() if streamed else self._codec.written(answer)
        except NotStorable as error:
            self._decline(call, str(error))
            return
        entry = {"version": _VERSION, "at": time.time(), "streamed": streamed, "answer": written}
        try:
            await self._store.put(key, entry, ttl=self._ttl)
        except Exception as error:  # noqa: BLE001 - as above
            self._decline(call, f"the store failed: {type(error).__name__}")
            return
        self._stored += 1

    def _decline(self, call: Call, reason: str) -> None:
        self._declined += 1
        if reason not in self._told and len(self._told) < _MOST:
            self._told.add(reason)
            call.report(NotCached(call.run.time(), call, self.name, reason))

    def renewed(self, fresh: Layer) -> Layer:
        """Hand the store on to *fresh*, if it is of the same place and size."""
        if agrees(self, fresh, ("store", "max_entries")):
            fresh._store = self._store  # type: ignore[attr-defined]  # noqa: SLF001 - it is of our own class
        return fresh

    def snapshot(self) -> CacheSnapshot:
        """Return what it did so far."""
        return CacheSnapshot(self._hits, self._misses, self._stored, self._declined)

    def __repr__(self) -> str:
        return f"<{super().__repr__()}: {self._hits} hits, {self._misses} misses>"


class _Items:
    """Collects the items of a stream on their way to the reader, as JSON: the objects are the reader's to change."""

    def __init__(self, codec: Codec) -> None:
        self.came = False
        self._codec = codec
        self._written: list[Any] = []
        self._failed: NotStorable | None = None

    async def pass_on(self, emit: Callable[[Any], Awaitable[None]], item: Any) -> None:
        """Pass *item* on to *emit*."""
        self.came = True
        if self._failed is None:
            try:
                self._written.append(self._codec.written(item))
            except NotStorable as error:
                self._failed = error
                self._written.clear()
        await emit(item)

    def written(self) -> list[Any]:
        """Return the items.

        Raises:
            NotStorable: one of them is none for a cache.
        """
        if self._failed is not None:
            raise self._failed
        return self._written


class Replayed:
    """A stream of items that were stored; read like the provider's, but all there at once."""

    def __init__(self, items: list[Any]) -> None:
        self._items = iter(items)

    def __aiter__(self) -> Replayed:
        return self

    async def __anext__(self) -> Any:
        for item in self._items:
            return item
        raise StopAsyncIteration

    async def close(self) -> None:
        """Leave out the rest."""
        self._items = iter(())


def _store(store: Any, max_entries: int | None) -> Store:
    if max_entries is not None and (isinstance(max_entries, bool) or not isinstance(max_entries, int)):
        raise TypeError(f"max_entries={max_entries!r} must be an int")
    if max_entries is not None and max_entries < 1:
        raise ValueError(f"max_entries={max_entries!r} must be at least 1")
    if store is None:
        return MemoryStore(max_entries or _MOST)
    if isinstance(store, (str, os.PathLike)):
        return DiskStore(store, max_entries or _MOST)
    if not callable(getattr(store, "get", None)) or not callable(getattr(store, "put", None)):
        raise TypeError(
            f"store={store!r} must be None for memory, the path of a file, or have async get(key) and "
            "put(key, value, ttl=)"
        )
    if max_entries is not None:
        raise ValueError("max_entries is for the stores in memory and on disk: one of your own decides itself")
    own: Store = store
    return own
