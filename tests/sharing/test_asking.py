"""What a rate limit asks its store."""

import asyncio

import pytest

from sluiceway.admission import Waiter
from sluiceway.algorithms.rate_book import BUCKET, WINDOW
from sluiceway.queues.fifo import Fifo
from sluiceway.sharing.asking import book_specs, needed, summed


def queue(*costs, done=()):
    """Return a queue of waiters with *costs*; those whose index is in *done* have gone."""
    found = Fifo().open()
    for i, each in enumerate(costs):
        future = asyncio.get_running_loop().create_future()
        if i in done:
            future.set_result(False)
        found.push(Waiter(future, each, None, float(i)))
    return found


async def test_what_is_held_covers_the_first_and_equal_calls_are_counted():
    """In order; one that is not covered leaves those behind it uncovered."""
    calls, covered = needed(queue([1.0, 5.0], [1.0, 20.0], [1.0, 20.0], [1.0, 1.0]), [2.0, 10.0])
    assert ([[2, [1.0, 20.0]], [1, [1.0, 1.0]]], 1) == (calls, covered)


async def test_who_has_gone_is_not_asked_for():
    """He stands in the queue until his turn."""
    assert ([[1, [2.0]]], 0) == needed(queue([1.0], [2.0], done={0}), [0.0])


async def test_an_empty_queue_needs_nothing():
    """No calls, none covered."""
    assert ([], 0) == needed(queue(), [0.0])


def test_changes_of_buckets_are_one_charge_and_one_refund():
    """They may not be set off: a refund above the capacity is lost, a charge is not."""
    changes = [(1.0, [5.0, 0.0]), (2.0, [-3.0, 0.0]), (3.0, [1.0, -2.0])]
    assert [[0.0, [6.0, 0.0]], [0.0, [-3.0, -2.0]]] == summed(changes)
    assert [] == summed([])


@pytest.mark.parametrize(("burst", "capacity"), [(0.9, 70.0), (0.3, 10.0), (0.1, 2.5), (0.01, 1.0)])
def test_a_bucket_is_smaller_by_two_blocks(burst, capacity):
    """But holds a quarter of the burst, and one permit, at least."""
    specs = book_specs([(100.0, 1.0, False)], exact=False, burst=burst, margin=0.02, block=0.1)
    assert [BUCKET, 100.0, 1.0, pytest.approx(capacity), 0.0, 0.0] == specs[0]


def test_exact_windows_are_paced_and_those_of_a_day_are_counted():
    """An interval of 0 paces nothing."""
    limits = [(100.0, 1.0, False), (1_000.0, 86_400.0, True)]
    specs = book_specs(limits, exact=True, burst=0.9, margin=0.02, block=0.1)
    assert [WINDOW, 100.0, 1.02, 1 / 1440, pytest.approx(0.0102), 0.05] == specs[0]
    assert [WINDOW, 1_000.0, 86_400.02, 60.0, 0.0, 0.0] == specs[1]
