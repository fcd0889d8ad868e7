"""Chance of layers that were given none."""

from __future__ import annotations

import os

import pytest

from sluiceway import circuit_breaker, retry_jitter
from sluiceway.layers.chance import random_of

MAKE = {"retry_jitter": lambda: retry_jitter().rng, "circuit_breaker": lambda: circuit_breaker()._rng}


@pytest.mark.parametrize("make", [*MAKE.values(), lambda: random_of(None)], ids=[*MAKE, "adaptive"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_workers_draw_other_numbers(make):
    """Layers are made before a server forks its workers: with one state each would back off for the same times."""
    rng = make()
    state = rng.getstate()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, b"same" if rng.getstate() == state else b"another")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"another"
    assert rng.getstate() == state
    os.close(read)
    os.close(write)
