"""A batch watched: redrawn in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from sluiceway.cli.batch.gauge import Gauge
from sluiceway.cli.batch.words import line, rows
from sluiceway.cli.streams import tell, unharmed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sluiceway.batch import Progress

_FRAME: Final = 0.25  # seconds
_LINE: Final = 10.0


def display(*, quiet: bool) -> Any:
    """Return what `batch.run` takes as `watch`: progress on standard error; None for none."""
    if quiet:
        return None
    terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return _live if terminal and importlib.util.find_spec("rich") is not None else _lines


@asynccontextmanager
async def _lines(progress: Callable[[], Progress]) -> AsyncIterator[None]:
    gauge = Gauge(progress)
    async with _repeated(gauge, lambda: tell(line(gauge)), _LINE):
        yield
    gauge.look()
    tell(line(gauge))


@asynccontextmanager
async def _live(progress: Callable[[], Progress]) -> AsyncIterator[None]:
    from rich.console import Console  # noqa: PLC0415 - an extra
    from rich.live import Live  # noqa: PLC0415

    gauge = Gauge(progress)
    live = Live(picture(gauge), console=Console(stderr=True), auto_refresh=False, transient=True)
    with unharmed():
        live.start(refresh=True)
    try:
        async with _repeated(gauge, lambda: live.update(picture(gauge), refresh=True), _FRAME):
            yield
    finally:
        with unharmed():
            live.stop()


@asynccontextmanager
async def _repeated(gauge: Gauge, show: Callable[[], None], every: float) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(every)
            gauge.look()
            with unharmed():
                show()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def picture(gauge: Gauge) -> Any:
    """Return what the terminal shows: a bar, and a row for each thing that is worth one."""
    from rich.console import Group  # noqa: PLC0415 - an extra
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    now = gauge.now
    bar = ProgressBar(total=now.expected or None, completed=now.done, width=56, pulse=now.expected is None)
    facts = Table.grid(padding=(0, 2))
    for name, text, style in rows(gauge):
        facts.add_row(Text(name, "dim"), Text(text, style))
    return Group(bar, facts)
