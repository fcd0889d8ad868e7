"""Timing by interleaved rounds of CPU time: medians and minima, never a mean.

What a machine's neighbours do lasts longer than a round. So what is compared is measured in the same rounds, and a
ratio is the median of the rounds' own ratios.
"""

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


async def rounds(functions, *, calls=500, repeats=100, warm=300, between=lambda: None):
    """Call each coroutine function *calls* times in each of *repeats* rounds; return name -> us a call by round.

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
    return measured


def ratio(values, base):
    """Return the median of the rounds' ratios of *values* to *base*."""
    return statistics.median(value / other for value, other in zip(values, base, strict=True))


def show(title, measured, base):
    """Print *measured* as a table of us CPU a call and the median ratio to *base*."""
    width = max(map(len, measured))
    print(f"\n{title}\n{'us CPU a call':{width}}   median      min   ratio")
    for name, values in measured.items():
        print(
            f"{name:{width}} {statistics.median(values):8.2f} {min(values):8.2f} {ratio(values, measured[base]):7.2f}"
        )
