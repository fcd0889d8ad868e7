"""The layers, one file each."""

from __future__ import annotations

from .bounded import bounded
from .budgeted import budgeted
from .cached import cached
from .chaos import chaos
from .circuit_breaker import circuit_breaker
from .fallback import fallback
from .hedged import hedged
from .observed import observed
from .rate_limited import rate_limited
from .retry_jitter import retry_jitter
from .timed import timed

__all__ = [
    "bounded",
    "budgeted",
    "cached",
    "chaos",
    "circuit_breaker",
    "fallback",
    "hedged",
    "observed",
    "rate_limited",
    "retry_jitter",
    "timed",
]
