"""OpenAI's headers and error bodies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluiceway.algorithms.provider_meters import Level
    from sluiceway.simulator.behaviour import HeaderStyle

_TYPES = {429: "requests", 401: "invalid_request_error", 529: "overloaded_error"}
_CODES = {
    401: "invalid_api_key",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    529: "overloaded",
}
_PER_MINUTE = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


def limit_headers(levels: Mapping[str, Level], style: HeaderStyle) -> dict[str, str]:
    """Return ``x-ratelimit-*`` of the request limit and of one token limit."""
    headers: dict[str, str] = {}
    if style == "none":
        return headers
    for name, level in (("requests", levels.get("requests")), ("tokens", _token_level(levels))):
        if level is not None:
            headers[f"x-ratelimit-limit-{name}"] = str(math.floor(level.limit))
            headers[f"x-ratelimit-remaining-{name}"] = str(math.floor(level.remaining))
            headers[f"x-ratelimit-reset-{name}"] = (
                str(math.ceil(level.reset)) if style == "azure" else go_duration(level.reset)
            )
    return headers


def _token_level(levels: Mapping[str, Level]) -> Level | None:
    """OpenAI has one token limit; where ours are several it tells the one with the least left."""
    tokens = [level for resource, level in levels.items() if resource != "requests"]
    return min(tokens, key=lambda level: level.remaining, default=None)


def go_duration(seconds: float) -> str:
    """Write *seconds*, rounded up to a millisecond, as OpenAI does: ``120ms``, ``1.5s``, ``6m0s``, ``1h2m3s``.

    Zero is ``0s``. The format is that of Go's ``time.Duration``.
    """
    millis = math.ceil(round(seconds * 1000, 3))
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    text = f"{rest / 1000:g}s"
    if minutes:
        text = f"{minutes % 60}m{text}"
    return f"{minutes // 60}h{text}" if minutes >= 60 else text


def error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    """Return an error's body."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def fault(status: int) -> dict[str, Any]:
    """Return the body of an error that was asked for by its status."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return error(f"The simulated provider answers {status}, as it was told to.", kind, _CODES.get(status))


def too_fast(resource: str, level: Level | None, retry_after: float, requested: float) -> dict[str, Any]:
    """Return the body of a refusal by the limit of *resource*."""
    limit = f" Limit {level.limit:.0f}, remaining {level.remaining:.0f}, requested {requested:.0f}." if level else ""
    if math.isinf(retry_after):
        hint = "The request is too large for the limit: make it smaller."
    else:
        hint = f"Please try again in {go_duration(retry_after)}."
    kind = "requests" if resource == "requests" else "tokens"
    name = _PER_MINUTE.get(resource, f"{resource.replace('_', ' ')} per min")
    return error(f"Rate limit reached on {name}.{limit} {hint}", kind, "rate_limit_exceeded")


def too_many_at_once(status: int, limit: int) -> dict[str, Any]:
    """Return the body of a refusal because too many requests are in flight."""
    message = f"Too many requests in flight: at most {limit} are served at once."
    if status == 429:
        return error(message, "requests", "rate_limit_exceeded")
    return error(message, "server_error", "service_unavailable")


def no_money() -> dict[str, Any]:
    """Return the body of a refusal because the quota is used up."""
    message = "The quota of this account is used up: see its plan and billing."
    return error(message, "insufficient_quota", "insufficient_quota")
