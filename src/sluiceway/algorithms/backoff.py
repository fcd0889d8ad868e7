"""How long to wait before the next attempt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from sluiceway.algorithms.rates import at_least_zero

if TYPE_CHECKING:
    from random import Random

Jitter: TypeAlias = Literal["full", "equal", "decorrelated", "none"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter, in seconds; settings only, so calls can share one.

    With ``b = min(cap, base * 2**i)`` before retry ``i`` (0 is the first), and U uniform:

    - ``full``: ``U(0, b)``;
    - ``equal``: ``b/2 + U(0, b/2)``;
    - ``decorrelated``: ``U(base, min(cap, 3 * previous))``, *previous* being this call's last delay, at first *base*;
    - ``none``: ``b``. Two thousand clients that failed together come back together.

    Jitter lies inside the cap: ``min(cap, U(base, 3 * previous))``, as decorrelated jitter was published, returns
    exactly the cap two times in three once it is reached. Source: M. Brooker, "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015.

    Args:
        base: seconds before the first retry, at most; doubled after a 429.
        cap: seconds that no delay exceeds.
        jitter: one of the above.

    Raises:
        ValueError: a number is negative or not finite, or *jitter* is none of the above.
    """

    base: float = 0.5
    cap: float = 30.0
    jitter: Jitter = "full"

    def __post_init__(self) -> None:
        at_least_zero(self.base, "base")
        at_least_zero(self.cap, "cap")
        if self.jitter not in get_args(Jitter):
            raise ValueError(f"jitter={self.jitter!r} must be one of {', '.join(map(repr, get_args(Jitter)))}")

    def delay(self, i: int, rng: Random, *, previous: float | None = None, throttled: bool = False) -> float:
        """Return the seconds before retry *i* of one call.

        Args:
            i: retries of this call before this one; any size, the power does not overflow.
            rng: where chance comes from.
            previous: the delay before this call's previous retry, None before the first. It belongs to one call.
            throttled: whether the attempt ended with a 429, which doubles the base.
        """
        base = self.base * 2 if throttled else self.base
        if self.jitter == "decorrelated":
            top = min(self.cap, 3 * (base if previous is None else previous))
            return rng.uniform(min(base, top), top)
        bound = ceiling(i, base, self.cap)
        if self.jitter == "full":
            return rng.uniform(0.0, bound)
        if self.jitter == "equal":
            return bound / 2 + rng.uniform(0.0, bound / 2)
        return bound


def ceiling(i: int, base: float, cap: float) -> float:
    """Return ``min(cap, base * 2**i)`` for any *i* of at least 0, without the overflow of ``2**i``."""
    try:
        return min(cap, math.ldexp(base, i))
    except OverflowError:
        return cap


def delay_after(retry_after: float | None, jittered: float, cap: float, rng: Random) -> float:
    """Return the seconds to wait when the provider asked for *retry_after* of them.

    ``max(jittered, min(retry_after, cap)) + U(0, 10 %)`` of that: never earlier than asked (but for the cap, since an
    hour's Retry-After must not hang a call), and siblings that were told the same second do not return in it. Without
    a usable *retry_after* (None, negative, not a number) it is *jittered*.
    """
    if retry_after is None or not retry_after >= 0.0:
        return jittered
    asked = max(jittered, min(retry_after, cap))
    return asked + rng.uniform(0.0, asked / 10)
