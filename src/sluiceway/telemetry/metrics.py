"""Events to metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluiceway.events import Event


def enabled() -> bool:
    return False


def hear(event: Event) -> None: ...
