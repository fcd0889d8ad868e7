"""What attempts cost, for statistics."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sluiceway.providers.prices import PriceTable, load, price

from .kinds import answering_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluiceway.call import Attempt
    from sluiceway.providers.usage import Usage


class Pricing:
    """Prices usage by a table of the user's, else by the list that `genai-prices` ships.

    Args:
        prices: a `PriceTable` or what one is made of; None for the list alone.

    Raises:
        TypeError: *prices* is neither, or a price is not a number.
        ValueError: a price is missing, negative or not finite.
    """

    __slots__ = ("_table",)

    def __init__(self, prices: PriceTable | Mapping[str, Mapping[str, float]] | None = None) -> None:
        if prices is not None and not isinstance(prices, (PriceTable, Mapping)):
            raise TypeError(
                f"prices={prices!r} must be a PriceTable or a mapping such as "
                '{"my-model": {"input": 0.15, "output": 0.6}}, USD for a million tokens'
            )
        self._table = PriceTable(prices) if isinstance(prices, Mapping) else prices

    def __call__(self, model: str | None, usage: Usage) -> float | None:
        """Return the USD that *usage* of *model* costs; None if nobody knows."""
        return None if model is None else price(usage, model, None, self._table)


def cost_of(
    attempt: Attempt, model: str | None, usage: Usage, price: Callable[[str | None, Usage], float | None]
) -> float | None:
    """Price by the *model* asked for, or if that is a name of the user's own, by the one that answered *attempt*."""
    cost = price(model, usage)
    if cost is None:
        answered = answering_model(attempt)
        if answered is not None and answered != model:
            return price(answered, usage)
    return cost


def load_soon() -> None:
    """Have the list of prices imported beside the first calls: its 0.4 s on the event loop would hold up all."""
    if "genai_prices" not in sys.modules:
        threading.Thread(target=_load, name="sluiceway prices", daemon=True).start()


def _load() -> None:
    with contextlib.suppress(Exception):  # without the list costs are unknown, and that is said where they are shown
        load()
