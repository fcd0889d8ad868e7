"""What a rate limit asks its store, in the words of a `RateBook`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from sluiceway.algorithms.rate_book import BUCKET, WINDOW
from sluiceway.algorithms.rates import EPSILON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.admission import Queue

Limit = tuple[float, float, bool]
"""The limit, its window in seconds, and whether it is counted exactly and not spread (a limit of a day)."""

_MOST: Final = 500  # calls asked for at a time
_GRANULES: Final = 1440
_PACE: Final = 0.05


def book_specs(limits: Sequence[Limit], *, exact: bool, burst: float, margin: float, block: float) -> list[list[float]]:
    """Return *limits* as a `RateBook` takes them.

    A bucket holds two blocks less than *burst*: so much may be in the hands of workers, or late.
    """
    specs = []
    for limit, window, long in limits:
        if exact or long:
            span = window + margin
            pace = [span / limit, min(_PACE, window / 10.0)] if not long else [0.0, 0.0]
            specs.append([WINDOW, limit, span, window / _GRANULES, *pace])
        else:
            seconds = max(burst - 2.0 * block, burst / 4.0)
            specs.append([BUCKET, limit, window, max(1.0, limit / window * seconds), 0.0, 0.0])
    return specs


def needed(queue: Queue, held: list[float]) -> tuple[list[list[Any]], int]:
    """Return the calls in *queue* for which *held* does not suffice, as ``[count, costs]``, and how many come before.

    Whoever is next stands first, whatever the order in which a queue shows the others: for him there must be enough.
    """
    if not len(queue):
        return [], 0
    head = queue.head()
    others = (waiter for waiter in queue if waiter is not head)
    calls: list[list[Any]] = []
    covered = 0
    for waiter in itertools.islice(itertools.chain((head,), others), _MOST):
        if waiter.future.done():
            continue
        costs = list(waiter.costs)
        if not calls and all(have + EPSILON >= cost for have, cost in zip(held, costs, strict=True)):
            held = [have - cost for have, cost in zip(held, costs, strict=True)]
            covered += 1
        elif calls and calls[-1][1] == costs:
            calls[-1][0] += 1
        else:
            calls.append([1, costs])
    return calls, covered


def summed(changes: list[tuple[float, list[float]]]) -> list[list[Any]]:
    """Return *changes* as one charge and one refund: a bucket does not ask when."""
    if not changes:
        return []
    columns = list(zip(*(deltas for _, deltas in changes), strict=True))
    charged = [sum(delta for delta in column if delta > 0.0) for column in columns]
    refunded = [sum(delta for delta in column if delta < 0.0) for column in columns]
    return [[0.0, deltas] for deltas in (charged, refunded) if any(deltas)]
