"""The demo's progress, live in a terminal and in plain lines elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rich.console import Console, RenderableType

    from .gauge import Gauge

_FRAME = 0.1
_LINE = 2.0


@asynccontextmanager
async def shown(gauge: Gauge, console: Console | None) -> AsyncIterator[None]:
    """Show *gauge* until the end of the block: redrawn on *console*, or a line every two seconds without one."""
    if console is None:
        async with _repeated(lambda: click.echo(line(gauge)), _LINE):
            yield
        click.echo(line(gauge))
        return
    from rich.live import Live  # noqa: PLC0415 - an extra

    with Live(_picture(gauge), console=console, auto_refresh=False, transient=True) as live:
        async with _repeated(lambda: live.update(_picture(gauge), refresh=True), _FRAME):
            yield


@asynccontextmanager
async def _repeated(show: Callable[[], None], every: float) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(every)
            show()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def line(gauge: Gauge) -> str:
    """Return the state in one line."""
    return (
        f"{gauge.elapsed:5.1f} s   {gauge.done:,} of {gauge.total:,} done, {gauge.pace:.1f}/s   "
        f"{gauge.in_flight():,} in flight, {gauge.waiting():,} waiting   "
        f"{gauge.attempts:,} attempts, {gauge.failures.total():,} failed"
    )


def _picture(gauge: Gauge) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - an extra
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    head = Table.grid(padding=(0, 2))
    head.add_row(
        ProgressBar(total=gauge.total, completed=gauge.done, width=48),
        Text(f"{gauge.done:,} of {gauge.total:,}", "bold"),
        f"{gauge.elapsed:.0f} s",
    )
    facts = Table.grid(padding=(0, 1))
    facts.add_row(*_facts(f"{gauge.pace:.1f}", "calls/s", f"{gauge.in_flight()}", "in flight"))
    facts.add_row(*_facts(f"{gauge.tokens:,}", "tokens", f"{gauge.waiting()}", "waiting"))
    facts.add_row(*_facts(gauge.circuit(), "circuit", f"{gauge.attempts:,}", "attempts"))
    counts = Text("  ".join(f"{what} x{count}" for what, count in gauge.failures.most_common()), "red")
    news = Text("\n".join(gauge.news), "dim")
    return Group(head, Text(), facts, Text(), counts, Text(), news)


def _facts(*cells: str) -> list[str]:
    """Set a number and its name off from each other, in turn."""
    numbers = [f"[bold]{cell:>9}[/bold]" for cell in cells[::2]]
    names = [f"[dim]{cell:<12}[/dim]" for cell in cells[1::2]]
    return [cell for pair in zip(numbers, names, strict=True) for cell in pair]
