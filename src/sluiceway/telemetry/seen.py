"""The pipelines of a process, as far as somebody watched calls run through them."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
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


class Held(NamedTuple):
    """What one layer of a pipeline holds.

    Attributes:
        layer: its name; a name's second layer is `"name 2"`.
        deployment: where it stands inside a `routed`; None outside of one.
        snapshot: the layer's own; a tuple where it has keys.
        source: the layer itself.
    """

    layer: str
    deployment: str | None
    snapshot: Any
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
        """Return what *look* says of every name and its layers, looking from inside their event loop."""
        found = []
        for name, (layers, loop) in list(self._known.items()):
            found.append(in_loop(loop(), lambda name=name, layers=layers: look(name, layers)))  # type: ignore[misc]
        return found


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


def held(layers: Iterable[Any], deployment: str | None = None) -> Iterator[Held]:
    """Return what each of *layers* holds that has a snapshot, those inside of deployments too.

    A layer whose snapshot fails is passed over, told once: it is somebody's own, or was looked at while it was busy.
    """
    counts: dict[str, int] = {}
    for layer in layers:
        name = layer.name
        counts[name] = number = counts.get(name, 0) + 1
        try:
            shot = layer.snapshot()
        except Exception as error:  # noqa: BLE001 - as above
            broken(layer.snapshot, error)
            continue
        if shot is not None:
            yield Held(name if number == 1 else f"{name} {number}", deployment, shot, layer)
        for inner, its in layer.branches().items():
            yield from held(its, inner)
