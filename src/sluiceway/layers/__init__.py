"""The layers, one file each."""

from __future__ import annotations

from .bounded import bounded
from .rate_limited import rate_limited
from .timed import timed

__all__ = ["bounded", "rate_limited", "timed"]
