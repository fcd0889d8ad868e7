"""Chance for layers that were given none: another one in each process that is forked."""

from __future__ import annotations

import os
from random import Random
from typing import Final
from weakref import WeakSet

_made: Final[WeakSet[Random]] = WeakSet()


def random_of(rng: Random | None) -> Random:
    """Return *rng*, or one that draws other numbers in each worker of a server that forks them when layers are made.

    Raises:
        TypeError: it is something else.
    """
    if rng is not None:
        if not isinstance(rng, Random):
            raise TypeError(f"rng={rng!r} must be a random.Random")
        return rng
    made = Random()
    _made.add(made)
    return made


def _forked() -> None:
    for each in list(_made):
        each.seed()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)
