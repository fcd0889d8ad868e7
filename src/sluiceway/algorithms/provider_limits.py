"""What a provider accepts, refuses and charges: a pure machine that is told the time.

It decides what the embedded provider accepts over HTTP, and what a plan accepts on virtual time. It shares no
code with the limits a client keeps, on purpose: a mistake in common would make both agree and be wrong.

Resources are named ``"requests"``, ``"tokens"``, ``"input_tokens"`` and ``"output_tokens"``. A request that
asks for several is accepted by all of them or charged to none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sluiceway.algorithms.provider_meters import Charge, Level, Limit, Meter

Costs: TypeAlias = Mapping[str, float]
Reserve: TypeAlias = Literal["max", "sum", "prompt"]

REQUESTS, TOKENS = "requests", "tokens"
INPUT_TOKENS, OUTPUT_TOKENS = "input_tokens", "output_tokens"


@dataclass(slots=True)
class Reservation:
    """What an accepted request was charged at the door; hand it to :meth:`ProviderLimits.settle` once."""

    charges: Mapping[str, tuple[Meter, Charge]] = field(repr=False)
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one request.

    Attributes:
        reservation: what was charged; None when it was refused.
        exhausted: the resources that refused it.
        retry_after: seconds until it would be accepted if nobody else came; 0 if it was, infinity for never.
    """

    reservation: Reservation | None
    exhausted: tuple[str, ...] = ()
    retry_after: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the request passes."""
        return self.reservation is not None


class ProviderLimits:
    """All limits of one provider, asked at once.

    Args:
        limits: by resource; a resource without a limit is free.
        refusals_count: whether a refused request is charged to ``"requests"`` all the same, as OpenAI does.
            Its tokens are never charged.
    """

    def __init__(self, limits: Mapping[str, Limit], *, refusals_count: bool = False) -> None:
        self.refusals_count = refusals_count
        self._meters = {resource: Meter.of(limit) for resource, limit in limits.items()}

    def ask(self, now: float, costs: Costs) -> Verdict:
        """Accept and charge a request that takes *costs*, or refuse it."""
        asked = [(resource, meter, costs.get(resource, 0.0)) for resource, meter in self._meters.items()]
        waits = {resource: meter.wait(now, cost) for resource, meter, cost in asked}
        exhausted = tuple(resource for resource, wait in waits.items() if wait > 0)
        if not exhausted:
            return Verdict(Reservation({name: (meter, meter.take(now, cost)) for name, meter, cost in asked}))
        requests = self._meters.get(REQUESTS)
        if self.refusals_count and requests is not None:
            requests.penalize(now, costs.get(REQUESTS, 0.0))
            waits[REQUESTS] = requests.wait(now, costs.get(REQUESTS, 0.0))
        return Verdict(None, exhausted, max(waits.values()))

    def settle(self, now: float, reservation: Reservation, costs: Costs) -> None:
        """Replace what was charged at the door by the actual *costs*; resources not named keep their charge.

        Raises:
            RuntimeError: the reservation was settled before.
        """
        if reservation.settled:
            raise RuntimeError("this reservation was settled before")
        reservation.settled = True
        for resource, (meter, charge) in reservation.charges.items():
            if resource in costs:
                meter.correct(now, charge, costs[resource])

    def levels(self, now: float) -> dict[str, Level]:
        """Return what headers say about each limited resource."""
        return {resource: meter.level(now) for resource, meter in self._meters.items()}

    def change(self, now: float, limits: Mapping[str, Limit], *, refusals_count: bool) -> None:
        """Take other limits from now on; what was taken stays taken, unless a resource's metering changes."""
        self.refusals_count = refusals_count
        before, self._meters = self._meters, {}
        for resource, limit in limits.items():
            meter = before.get(resource)
            if meter is None or meter.limit.metering != limit.metering:
                meter = Meter.of(limit)
            else:
                meter.become(now, limit)
            self._meters[resource] = meter


@dataclass(frozen=True, slots=True)
class ChargePolicy:
    """What a provider charges to its token limits, and when.

    Attributes:
        reserve: at the door, ``"max"`` takes the larger of the prompt and ``max_tokens`` (OpenAI), ``"sum"``
            both (Azure), ``"prompt"`` the prompt alone (Anthropic).
        settle: whether the charge becomes the actual usage when the answer is complete.
    """

    reserve: Reserve = "max"
    settle: bool = True

    def __post_init__(self) -> None:
        if self.reserve not in ("max", "sum", "prompt"):
            raise ValueError(f'reserve={self.reserve!r} must be "max", "sum" or "prompt"')

    def at_the_door(self, prompt: int, max_tokens: int | None) -> Costs:
        """Return what a request of *prompt* tokens that allows *max_tokens* of answer reserves."""
        output = 0 if self.reserve == "prompt" else max_tokens or 0
        total = max(prompt, output) if self.reserve == "max" else prompt + output
        return {REQUESTS: 1, TOKENS: total, INPUT_TOKENS: prompt, OUTPUT_TOKENS: output}

    def afterwards(self, prompt: int, output: int) -> Costs:
        """Return the charges that replace the reserved ones; empty when the policy keeps them."""
        if not self.settle:
            return {}
        return {TOKENS: prompt + output, INPUT_TOKENS: prompt, OUTPUT_TOKENS: output}
