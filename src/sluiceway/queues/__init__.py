"""The orders in which those who wait are served, beside first come, first served."""

from __future__ import annotations

from .fair import Fair
from .priority import Priority

__all__ = ["Fair", "Priority"]
