"""A permit of a rate limit around a block of code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.layers.limit_state import LimitState
    from sluiceway.layers.rate_limited import rate_limited


class Permit:
    """What ``async with limiter.permit(tokens=500) as permit:`` holds."""

    __slots__ = ("_at", "_costs", "_layer", "_settled", "_state")

    def __init__(self, layer: rate_limited, state: LimitState, costs: Sequence[float]) -> None:
        self._layer = layer
        self._state = state
        self._costs = costs
        self._at: float | None = None
        self._settled = False

    async def __aenter__(self) -> Self:
        if self._at is not None:
            raise RuntimeError("a permit is for one block: ask the limiter for another")
        self._at = await self._layer.take(self._state, self._costs)
        return self

    def settle(self, tokens: int | tuple[int, int]) -> None:
        """Replace the estimate by *tokens*, input and output together or a pair of the two.

        Raises:
            RuntimeError: it is settled already, or not taken yet.
        """
        self._settle(tokens)

    def refund(self) -> None:
        """Give everything back, since nothing was sent.

        Raises:
            RuntimeError: it is settled already, or not taken yet.
        """
        self._settle(None)

    def _settle(self, tokens: int | tuple[int, int] | None) -> None:
        if self._at is None:
            raise RuntimeError("the permit is not taken yet: settle inside its block")
        if self._settled:
            raise RuntimeError("the permit is settled already")
        self._settled = True
        self._layer.settle_permit(self._state, self._costs, tokens, self._at)

    async def __aexit__(self, *exc: object) -> None:
        self._layer.leave(self._state, asyncio.get_running_loop().time())
