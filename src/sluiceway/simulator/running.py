"""Running a simulator until somebody wants it to end."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sluiceway.simulator.ledger import Ledger
    from sluiceway.simulator.simulator import Simulator

_LOOK_FOR_PARENT_EVERY = 1.0


async def run(
    simulator: Simulator,
    announce: Callable[[Simulator], None],
    *,
    signals: Iterable[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    parents_pipe: int | None = None,
) -> Ledger:
    """Run *simulator* until a signal comes or the parent is gone, and return its ledger.

    Args:
        simulator: what to run.
        announce: called once it listens.
        signals: which of them end it.
        parents_pipe: a descriptor whose end of file means that the parent is gone or wants an end. The parent's
            pid is watched too: children that it forked may hold the pipe open after its death.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in signals:
        loop.add_signal_handler(number, ended.set)
    async with simulator:
        if parents_pipe is not None:
            loop.add_reader(parents_pipe, _look_at_pipe, parents_pipe, ended)
        announce(simulator)
        if parents_pipe is None:
            await ended.wait()
        else:
            await _parents_end(ended)
            loop.remove_reader(parents_pipe)
    for number in signals:
        loop.remove_signal_handler(number)
    return simulator.ledger


def _look_at_pipe(descriptor: int, ended: asyncio.Event) -> None:
    if not os.read(descriptor, 4096):
        ended.set()


async def _parents_end(ended: asyncio.Event) -> None:
    parent = os.getppid()
    while os.getppid() == parent and not ended.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _LOOK_FOR_PARENT_EVERY)
