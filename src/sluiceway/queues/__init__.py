"""The orders in which those who wait are served."""

from __future__ import annotations

from .fair import Fair
from .fifo import Fifo
from .priority import Priority

__all__ = ["Fair", "Fifo", "Priority"]
