"""The pipelines of a process, as far as somebody watched calls run through them."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar
from weakref import ref

from .logs import broken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sluiceway.call import Run

T = TypeVar("T")

MOST: Final = 1_000
"""Names of calls that are remembered; a program has few, unless it makes names of what varies."""
PATIENCE: Final = 0.5
"""Seconds that a thread waits for an event loop that is busy, before it looks all the same."""


class Held(NamedTuple, Generic[T]):
    """What one layer of a pipeline holds.

    Attributes:
        layer: its name; a name's second layer is `"name 2"`.
        deployment: where it stands inside a `routed`; None outside of one.
        shown: what was made of its snapshot.
        source: the layer itself.
    """

    layer: str
    deployment: str | None
    shown: T
    source: Any


class Seen:
    """The newest layers under each name that calls had. Functions that share a name share a place."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[Any, ...], ref[asyncio.AbstractEventLoop]]] = {}

    def note(self, run: Run) -> None:
        """Remember the layers of *run*."""
        known = self._known.get(run.name)
        if (known is None and len(self._known) < MOST) or (
            known is not None and (known[0] is not run.layers or known[1]() is not run.loop)
        ):
            self._known[run.name] = (run.layers, ref(run.loop))

    def layers(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Return every name with its layers."""
        return [(name, layers) for name, (layers, _) in list(self._known.items())]

    def read(self, look: Callable[[str, tuple[Any, ...]], T]) -> list[T]:
        """Return what *look* says of every name and its layers, looking once from inside each event loop."""
        by_loop: dict[asyncio.AbstractEventLoop | None, list[tuple[str, tuple[Any, ...]]]] = {}
        for name, (layers, loop) in list(self._known.items()):
            by_loop.setdefault(loop(), []).append((name, layers))
        found: list[T] = []
        for each, known in by_loop.items():
            found += in_loop(each, partial(_look_at, known, look))
        return found


def _look_at(known: list[tuple[str, tuple[Any, ...]]], look: Callable[[str, tuple[Any, ...]], T]) -> list[T]:
    return [look(name, layers) for name, layers in known]


def in_loop(loop: asyncio.AbstractEventLoop | None, look: Callable[[], T]) -> T:
    """Return ``look()``, called by *loop* if that runs in another thread.

    Layers are no business of other threads. One that is busy for longer than `PATIENCE` is looked at nevertheless.
    """
    try:
        here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if loop is None or loop is here or not loop.is_running():
        return look()
    seen: Future[T] = Future()

    def there() -> None:
        try:
            seen.set_result(look())
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            seen.set_exception(error)

    try:
        loop.call_soon_threadsafe(there)
        return seen.result(PATIENCE)
    except (RuntimeError, TimeoutError):  # it has just ended, or is busy
        return look()


def held(
    layers: Iterable[Any], show: Callable[[Any], T], looked: dict[int, T | None], deployment: str | None = None
) -> Iterator[Held[T]]:
    """Return what each of *layers* holds that has a snapshot, those inside of deployments too.

    A layer whose snapshot fails is passed over, told once: it is somebody's own, or was looked at while it was busy.

    Args:
        layers: of a pipeline, outermost first.
        show: makes something of a snapshot.
        looked: what *show* made, by the layer's identity: a layer that many functions share is asked once in a look.
        deployment: where the layers stand.
    """
    counts: dict[str, int] = {}
    for layer in layers:
        name = layer.name
        counts[name] = number = counts.get(name, 0) + 1
        if id(layer) not in looked:
            looked[id(layer)] = _look(layer, show)
        shown = looked[id(layer)]
        if shown is not None:
            yield Held(name if number == 1 else f"{name} {number}", deployment, shown, layer)
        for inner, its in layer.branches().items():
            yield from held(its, show, looked, inner)


def _look(layer: Any, show: Callable[[Any], T]) -> T | None:
    try:
        shot = layer.snapshot()
        return None if shot is None else show(shot)
    except Exception as error:  # noqa: BLE001 - see `held`
        broken(layer.snapshot, error)
        return None
