"""Layers out of the way, for tests of what is inside them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sluiceway.running import switch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def disabled() -> Iterator[None]:
    """Let every call that starts inside the block go straight to its function: no layer, no event, no wait.

    It holds for the whole process, so not for tests that run side by side in threads. Blocks nest.
    """
    switch.disabled += 1
    try:
        yield
    finally:
        switch.disabled -= 1
