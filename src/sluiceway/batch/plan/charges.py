"""What a request is charged against limits on tokens, once it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sluiceway.providers.charging import ANTHROPIC, AZURE, GENERIC, OPENAI, ChargePolicy
from sluiceway.providers.usage import Usage

if TYPE_CHECKING:
    from sluiceway.providers.estimates import Estimate

POLICIES: Final = {policy.name: policy for policy in (GENERIC, OPENAI, AZURE, ANTHROPIC)}


@dataclass(frozen=True, slots=True)
class Charges:
    """How a limiter charges.

    Attributes:
        policy: at the door and afterwards.
        keeps: whether what was charged at the door stays, whatever the usage.
    """

    policy: ChargePolicy = GENERIC
    keeps: bool = False

    def of(self, estimate: Estimate, output: float) -> float:
        """Return the tokens that an answer of *output* tokens is charged in the end."""
        reserved = self.policy.reserve(estimate, output)
        if self.keeps:
            return reserved.total
        return self.policy.settle(Usage(estimate.input_tokens, round(output)), reserved).total
