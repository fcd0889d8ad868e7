"""The layers, one file each."""

from __future__ import annotations

import typing

from .adaptive_bound import adaptive_bound
from .adaptive_rate import adaptive_rate
from .bounded import bounded
from .budgeted import budgeted
from .cached import cached
from .chaos import chaos
from .circuit_breaker import circuit_breaker
from .coalesced import coalesced
from .fallback import fallback
from .hedged import hedged
from .observed import observed
from .rate_limited import rate_limited
from .retry_jitter import retry_jitter
from .routed import routed
from .shed import shed
from .timed import timed

if typing.TYPE_CHECKING:
    from sluiceway.layer import Layer

__all__ = [
    "adaptive_bound",
    "adaptive_rate",
    "bounded",
    "budgeted",
    "cached",
    "chaos",
    "circuit_breaker",
    "coalesced",
    "fallback",
    "hedged",
    "observed",
    "rate_limited",
    "retry_jitter",
    "routed",
    "shed",
    "timed",
]


def registered() -> dict[str, type[Layer]]:
    """Return the classes of all layers by name: ours, and those that installed packages bring.

    A package brings its layers by entry points of the group `sluiceway.layers`. They are read, and their modules
    imported, when this is called and not before.

    Raises:
        ValueError: two different layers have one name.
        TypeError: an entry point leads to something that is no layer class.
        ImportError: an entry point leads nowhere.
    """
    from .registration import with_those_of_packages  # noqa: PLC0415 - nobody else needs what it imports

    return with_those_of_packages({name: globals()[name] for name in __all__})
