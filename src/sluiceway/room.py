"""How soon a layer would let a call go on: what is asked before it is chosen among several."""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple


class Room(NamedTuple):
    """What a layer expects for a call that came now; nothing is taken.

    Attributes:
        wait: seconds until it would go on; 0 at once, infinity if it would be refused.
        left: how much is left, as a share from 0 (nothing) to 1 (everything).
    """

    wait: float
    left: float


FREE: Final = Room(0.0, 1.0)
REFUSES: Final = Room(inf, 0.0)
SOON: Final = 1e-3
"""Seconds of a wait that is not told apart from none: whoever has to queue is not free."""
