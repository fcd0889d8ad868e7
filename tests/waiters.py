"""Waiters without tasks, for the tests of queues: a call is its hints, a future is done or not."""

from __future__ import annotations

from types import SimpleNamespace

from sluiceway.admission import Waiter
from sluiceway.call import NORMAL, Hints


class Future:
    """As much of a future as a queue looks at."""

    def __init__(self):
        self.over = False

    def done(self):
        return self.over


def call(tenant=None, priority=NORMAL, attempt=1, started_at=0.0):
    return SimpleNamespace(
        hints=Hints(priority, tenant), attempt=attempt, run=SimpleNamespace(started_at=started_at, impatient=False)
    )


def waiter(costs=1, at=0.0, **said):
    return Waiter(Future(), costs, call(**said) if said else None, at)
