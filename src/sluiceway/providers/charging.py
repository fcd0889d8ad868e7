"""How providers charge a request against their token limits: at the door, and once its usage is known.

They differ, and from what they bill. As documented by each in 2026; what the response headers say corrects us.

| provider  | at the door                                   | afterwards                                    |
|-----------|-----------------------------------------------|-----------------------------------------------|
| OpenAI    | the larger of `max_tokens` and the prompt      | stays, unless the usage was more              |
| Azure     | prompt + `max_tokens`                         | stays, unless the usage was more              |
| Anthropic | prompt; `max_tokens` counts for nothing       | usage; input read from the cache is free      |
| others    | prompt + `max_tokens`, or the usual answer    | usage                                         |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .estimates import Estimate
    from .usage import Usage


class Charge(NamedTuple):
    """Tokens charged against limits on input, on output and on both together."""

    input: float
    output: float
    total: float


@dataclass(frozen=True, slots=True)
class ChargePolicy:
    """One provider's way to charge tokens.

    Attributes:
        name: the provider.
        together: how a limit on both is charged at the door, by the `"sum"` of input and output or the `"max"`.
        asked: whether `max_tokens` is charged at the door, or the usual answer in any case.
        settles: whether what was charged but not used is given back.
        cached: whether input that was read from the cache is charged.
    """

    name: str
    together: Literal["sum", "max"] = "sum"
    asked: bool = True
    settles: bool = True
    cached: bool = True

    def reserve(self, estimate: Estimate | tuple[int, int | None, bool], usual_output: float) -> Charge:
        """Return what is charged at the door.

        Args:
            estimate: of the call, or its parts.
            usual_output: tokens of an answer as they were lately, where the request sets no limit.
        """
        given, asked, _ = estimate
        output = usual_output if asked is None else float(asked)
        if not self.asked and output > usual_output:
            output = usual_output
        total = max(given, output) if self.together == "max" else given + output
        return _made(Charge, (given, output, total))

    def settle(self, usage: Usage, reserved: Charge) -> Charge:
        """Return what a call with *usage*, for which *reserved* was charged, has been charged in the end."""
        given = float(usage.input_tokens if self.cached else usage.input_tokens - usage.cached_tokens)
        used = Charge(given, float(usage.output_tokens), given + usage.output_tokens)
        if self.settles:
            return used
        return Charge(*map(max, used, reserved))


_made: Final = tuple.__new__  # a named tuple's own constructor takes twice as long, and every call comes by here

OPENAI: Final = ChargePolicy("openai", together="max", settles=False)
AZURE: Final = ChargePolicy("azure", settles=False)
ANTHROPIC: Final = ChargePolicy("anthropic", asked=False, cached=False)
GENERIC: Final = ChargePolicy("generic")

_HOSTS: Final = (
    (".api.openai.com", OPENAI),
    (".openai.azure.com", AZURE),
    (".cognitiveservices.azure.com", AZURE),
    (".services.ai.azure.com", AZURE),
    (".api.anthropic.com", ANTHROPIC),
)


def policy_of(where: Any) -> ChargePolicy:
    """Return the policy of the provider at *where*, `GENERIC` if it is not known. Never raises.

    Args:
        where: a base URL, a client of openai or anthropic, or a method of one such as
            `client.chat.completions.create`.
    """
    url = where if isinstance(where, str) else _base_url(where)
    try:
        host = f".{urlsplit(url if '//' in url else f'//{url}').hostname or ''}"
    except ValueError:
        return GENERIC
    for end, policy in _HOSTS:
        if host.endswith(end):
            return policy
    return GENERIC


def _base_url(where: Any) -> str:
    for thing in (where, getattr(where, "_client", None), getattr(getattr(where, "__self__", None), "_client", None)):
        url = getattr(thing, "base_url", None)
        if url is not None:
            return str(url)
    return ""
