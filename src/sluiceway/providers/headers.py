"""The rate limits that a response's headers state, in one form for OpenAI, Azure and Anthropic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .retry_after import RetryAfter, delay, number, retry_after


def _names(pattern: str, *kinds: str) -> tuple[tuple[str, str, str], ...]:
    def name(kind: str, aspect: str) -> str:
        return pattern.format(kind=kind, aspect=aspect)

    return tuple((name(kind, "limit"), name(kind, "remaining"), name(kind, "reset")) for kind in kinds)


_OPENAI: Final = _names("x-ratelimit-{aspect}-{kind}", "requests", "tokens")
_ANTHROPIC: Final = _names("anthropic-ratelimit-{kind}-{aspect}", "requests", "tokens", "input-tokens", "output-tokens")

WANTED: Final = frozenset(
    [name for row in _OPENAI + _ANTHROPIC for name in row]
    + ["retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "request-id"]
)
"""The headers that this package reads, in lower case."""

_WANTED_BYTES: Final = {name.encode(): name for name in WANTED}


@dataclass(frozen=True, slots=True)
class Resource:
    """One limit as the provider states it; what it left out, or made negative, is None.

    Attributes:
        limit: how much there is per window. The window is not said: a minute as a rule, 10 s for Azure's
            requests, a day for some of OpenAI's.
        remaining: how much was left when the answer began. Anthropic rounds tokens to thousands.
        reset: seconds until the limit is whole again.
        source: the header that `reset` stands in.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that one response states; a resource that it does not mention is None.

    Attributes:
        requests: requests.
        tokens: input and output together; for Anthropic the tightest of the token limits in force.
        input_tokens: Anthropic's input tokens.
        output_tokens: Anthropic's output tokens.
    """

    requests: Resource | None = None
    tokens: Resource | None = None
    input_tokens: Resource | None = None
    output_tokens: Resource | None = None

    def latest_reset(self) -> RetryAfter | None:
        """Return how long until every exhausted resource is whole again; None if none is exhausted or says.

        Of several it is the latest: at the earliest one the request would be refused for the others.
        """
        waits = [
            RetryAfter(resource.reset, resource.source)
            for resource in (self.requests, self.tokens, self.input_tokens, self.output_tokens)
            if resource is not None and resource.reset is not None and resource.remaining == 0
        ]
        return max(waits, default=None)


def read_limits(headers: Mapping[str, str], now: float | None = None) -> Limits | None:
    """Return the rate limits in *headers*, or None if they say of none how much remains. Never raises.

    Args:
        headers: a mapping whose names are in lower case or whose look-up ignores case.
        now: Unix seconds, for Anthropic's resets, which are dates; the clock's by default.
    """
    get = headers.get
    if get("x-ratelimit-remaining-requests") is not None or get("x-ratelimit-remaining-tokens") is not None:
        return Limits(*[_resource(get, row, now) for row in _OPENAI])
    if (
        get("anthropic-ratelimit-requests-remaining") is not None
        or get("anthropic-ratelimit-tokens-remaining") is not None
    ):
        return Limits(*[_resource(get, row, now) for row in _ANTHROPIC])
    return None


def asked_wait(headers: Mapping[str, str], now: float | None = None) -> RetryAfter | None:
    """Return how long a refusal with *headers* asks us to wait, or None if it does not say.

    `retry-after-ms` is asked first, then `retry-after`, then the latest reset of the exhausted resources.
    """
    said = retry_after(headers, now)
    if said is not None:
        return said
    limits = read_limits(headers, now)
    return None if limits is None else limits.latest_reset()


def relevant(headers: Any) -> dict[str, str]:
    """Return the `WANTED` ones of *headers* under lower-case names: what is worth keeping of a response.

    Takes any mapping of text, httpx's headers by their raw list (half the time), anything else as empty.
    """
    raw = getattr(headers, "raw", None)
    if isinstance(raw, list):
        wanted = _WANTED_BYTES
        found = [(name.lower(), value) for name, value in raw]
        return {wanted[name]: value.decode("latin-1") for name, value in found if name in wanted}
    if not isinstance(headers, Mapping):
        return {}
    return {
        low: value
        for name, value in headers.items()
        if isinstance(name, str) and isinstance(value, str) and (low := name.lower()) in WANTED
    }


def _resource(get: Callable[[str], str | None], row: tuple[str, str, str], now: float | None) -> Resource | None:
    limit, remaining, reset = (get(name) for name in row)
    if limit is None and remaining is None and reset is None:
        return None
    wait = None if reset is None else delay(reset, now)
    return Resource(_amount(limit), _amount(remaining), wait, row[2])


def _amount(text: str | None) -> float | None:
    if text is None:
        return None
    if text.isdigit() and text.isascii() and len(text) < 16:
        return float(text)
    amount = number(text.strip())
    return None if amount is None or not 0 <= amount < math.inf else amount
