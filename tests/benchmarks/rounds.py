"""Timing by interleaved rounds of CPU time: medians and minima, never a mean."""

import asyncio
import contextlib
import gc
import os
import statistics
import time


def pin():
    """Stay on one core, where the system allows it."""
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


async def rounds(functions, *, calls=2_000, repeats=25, warm=300, between=lambda: None):
    """Call each coroutine function *calls* times in each of *repeats* rounds; return name -> (median, minimum) in us.

    Before each measurement *between* is called, to put away what the one before has left.
    """
    measured = {name: [] for name in functions}
    for function in functions.values():
        for _ in range(warm):
            await function()
    names = list(functions)
    for i in range(repeats):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:  # nobody is always first
            function = functions[name]
            between()
            gc.collect()
            started = time.process_time_ns()
            for _ in range(calls):
                await function()
            measured[name].append((time.process_time_ns() - started) / calls / 1e3)
            await asyncio.sleep(0)  # let the loop sweep cancelled timers
    return {name: (statistics.median(values), min(values)) for name, values in measured.items()}


def show(title, measured, base):
    """Print *measured* as a table of us CPU a call and the ratio of medians to *base*."""
    width = max(map(len, measured))
    print(f"\n{title}\n{'us CPU a call':{width}}   median      min   ratio")
    for name, (median, least) in measured.items():
        print(f"{name:{width}} {median:8.2f} {least:8.2f} {median / measured[base][0]:7.2f}")
