"""A budget: what is spent, and what those under way may yet spend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluiceway.algorithms.rates import EPSILON, positive

if TYPE_CHECKING:
    from collections.abc import Sequence


class Budget:
    """Several amounts, reserved at once or not at all, and settled to what it really was.

    ``spent + reserved <= limit`` holds after every reservation, however many are made before one is settled. Settling
    may pass the limit by as much as the estimates were too low; from then on nothing is reserved. No time passes
    here, and nothing comes back but what was reserved and not used.

    Args:
        limits: of each amount, all above 0.

    Attributes:
        spent: what was settled; reserved: what is not; of each amount.
        in_flight: how many reservations are not settled.

    Raises:
        TypeError: a limit is not a number.
        ValueError: a limit is not above 0 or not finite.
    """

    __slots__ = ("_each", "in_flight", "limits", "reserved", "spent")

    def __init__(self, limits: Sequence[float]) -> None:
        self.limits = tuple(positive(limit, "limit") for limit in limits)
        self._each = tuple((i, limit, EPSILON * limit) for i, limit in enumerate(self.limits))
        self.spent = [0.0] * len(self.limits)
        self.reserved = [0.0] * len(self.limits)
        self.in_flight = 0

    def resize(self, limits: Sequence[float]) -> None:
        """Change the limits; what is spent and reserved stays.

        Raises:
            ValueError: there are more or fewer than before, or one is not above 0.
        """
        if len(limits) != len(self.limits):
            raise ValueError(f"limits={limits!r} must be {len(self.limits)}, as before")
        self.limits = tuple(positive(limit, "limit") for limit in limits)
        self._each = tuple((i, limit, EPSILON * limit) for i, limit in enumerate(self.limits))

    def left(self, i: int) -> float:
        """Return what is neither spent nor reserved of amount *i*; negative where estimates were too low."""
        return self.limits[i] - self.spent[i] - self.reserved[i]

    def reserve(self, costs: Sequence[float]) -> int | None:
        """Reserve *costs* and return None; or reserve nothing and return which amount is short.

        Where nothing is left, not even a cost of 0 is reserved: it may turn out to be more.
        """
        reserved = self.reserved
        for i, limit, slack in self._each:
            left = limit - self.spent[i] - reserved[i]
            if left < slack or costs[i] > left + slack:
                return i
        for i, cost in enumerate(costs):
            reserved[i] += cost
        self.in_flight += 1
        return None

    def settle(self, costs: Sequence[float], actual: Sequence[float]) -> None:
        """Replace a reservation of *costs* by what was *actual*.

        Raises:
            RuntimeError: nothing is reserved; somebody settled twice.
        """
        if not self.in_flight:
            raise RuntimeError("a reservation was settled, but none is open")
        self.in_flight = rest = self.in_flight - 1
        for i, _, _ in self._each:
            # Sums of fractions drift; where nothing is in flight nothing is reserved.
            self.reserved[i] = max(0.0, self.reserved[i] - costs[i]) if rest else 0.0
            self.spent[i] += actual[i]

    def __repr__(self) -> str:
        parts = (f"{s:g} + {r:g} of {x:g}" for s, r, x in zip(self.spent, self.reserved, self.limits, strict=True))
        return f"<Budget {', '.join(parts)}>"
