"""What becomes of one accepted request: drawn from the seed, the request and how often it came, not from the order."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluiceway.simulator.distributions import Fixed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.simulator.behaviour import Behaviour
    from sluiceway.simulator.distributions import Distribution


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request.

    Attributes:
        error: the status to answer with instead of an answer.
        hangs: seconds of silence before anything else.
        resets: whether the connection is lost instead of the answer.
        breaks_at: the share of a stream after which it breaks; None if it does not.
        breaks_by_reset: whether it breaks by a lost connection or by an error event.
        endless: whether a stream never ends.
        usage: whether the answer tells its usage.
        tokens: the length of the answer, if the request allows it.
        latency: seconds to the first token.
        gaps: how the seconds between tokens are drawn from *rng*.
    """

    error: int | None
    hangs: float
    resets: bool
    breaks_at: float | None
    breaks_by_reset: bool
    endless: bool
    usage: bool
    tokens: int
    latency: float
    gaps: Distribution
    rng: random.Random

    def time_for(self, tokens: int) -> float:
        """Return the seconds that a plain answer of *tokens* takes: as long as a stream of it would."""
        if isinstance(self.gaps, Fixed):
            return self.latency + max(0, tokens - 1) * self.gaps.value
        return self.latency + sum(self.gaps.draw(self.rng) for _ in range(tokens - 1))


def draw(behaviour: Behaviour, seed: int, identity: int, times_before: int) -> Fate:
    """Draw the fate of the request *identity* that was accepted *times_before*.

    Every fault takes its own number from the generator, used or not, so that switching one on leaves the
    others where they were.
    """
    rng = random.Random(hash((seed, identity, times_before)))
    error, hang, reset, breaks, share, endless, usage = (rng.random() for _ in range(7))
    stream_faults = behaviour.stream_reset_rate, behaviour.stream_error_rate
    return Fate(
        error=_pick(behaviour.errors, error),
        hangs=behaviour.hang_for if hang < behaviour.hang_rate else 0.0,
        resets=reset < behaviour.reset_rate,
        breaks_at=share if breaks < sum(stream_faults) else None,
        breaks_by_reset=breaks < behaviour.stream_reset_rate,
        endless=endless < behaviour.endless_stream,
        usage=usage >= behaviour.missing_usage,
        tokens=max(1, round(behaviour.answer_tokens.draw(rng))),
        latency=behaviour.latency.draw(rng),
        gaps=behaviour.token_gap,
        rng=rng,
    )


def _pick(rates: Mapping[int, float], drawn: float) -> int | None:
    for status, rate in rates.items():
        if drawn < rate:
            return status
        drawn -= rate
    return None
