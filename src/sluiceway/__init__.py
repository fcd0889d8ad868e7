"""Stackable async middleware for LLM calls.

Decorate the coroutine functions that you have, or build a `Pipeline` and wrap anything with it::

    from sluiceway import bounded, circuit_breaker, rate_limited, retry_jitter, timed

    @timed("60s")
    @retry_jitter(attempts=5)
    @bounded(30)
    @rate_limited(rpm=500, tpm=200_000)
    @circuit_breaker(failure_ratio=0.5)
    async def ask(prompt: str) -> ChatCompletion: ...
"""

from __future__ import annotations

import importlib
import typing

from .algorithms.retry_budget import RetryBudget
from .binding import layers_of
from .call import HIGH, LOW, NORMAL, Call, Hints, Proceed, hints
from .describe import describe, snapshot
from .durations import Duration
from .errors import (
    BoundExceeded,
    BudgetExceeded,
    CircuitOpen,
    ConfigError,
    CostTooLarge,
    MissingExtra,
    Overloaded,
    QueueFull,
    RateLimited,
    ReentrantUse,
    Rejected,
    SessionClosed,
    SluicewayError,
    TimedOut,
)
from .layer import Layer, Pipeline
from .layers import (
    adaptive_bound,
    adaptive_rate,
    bounded,
    budgeted,
    cached,
    chaos,
    circuit_breaker,
    coalesced,
    fallback,
    hedged,
    observed,
    rate_limited,
    retry_jitter,
    routed,
    shed,
    timed,
)
from .layers.deployment import Deployment
from .order import PipelineWarning
from .outcome import Outcome
from .providers.usage import Usage
from .queues import Fair, Fifo, Priority
from .session import Session
from .streaming import Abandoned

__version__ = "0.1.0"

__all__ = [
    "HIGH",
    "LOW",
    "NORMAL",
    "Abandoned",
    "BoundExceeded",
    "BudgetExceeded",
    "Call",
    "CircuitOpen",
    "ConfigError",
    "CostTooLarge",
    "Deployment",
    "Duration",
    "Fair",
    "Fifo",
    "Hints",
    "Layer",
    "MissingExtra",
    "Outcome",
    "Overloaded",
    "Pipeline",
    "PipelineWarning",
    "Priority",
    "Proceed",
    "QueueFull",
    "RateLimited",
    "ReentrantUse",
    "Rejected",
    "RetryBudget",
    "Session",
    "SessionClosed",
    "SluicewayError",
    "TimedOut",
    "Usage",
    "adaptive_bound",
    "adaptive_rate",
    "bounded",
    "budgeted",
    "cached",
    "chaos",
    "circuit_breaker",
    "coalesced",
    "describe",
    "fallback",
    "hedged",
    "hints",
    "layers_of",
    "observed",
    "rate_limited",
    "retry_jitter",
    "routed",
    "shed",
    "snapshot",
    "timed",
]

for _name in __all__:  # so that a traceback reads sluiceway.CircuitOpen, and files can move
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
del _name

_PARTS = frozenset(("backends", "batch", "config", "simulator", "testing"))


def __getattr__(name: str) -> typing.Any:
    """Import a part of the package when somebody asks for it by name, as in ``sluiceway.config.load(...)``."""
    if name not in _PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
