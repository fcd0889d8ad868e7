"""Whose fault a failure is: the kinds, and what a status, a code or an exception class says about them."""

from __future__ import annotations

import asyncio
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from sluiceway.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fault(Enum):
    """Whose fault a failure is, and so what to do about it."""

    RATE_LIMITED = "rate_limited"  #: we were too fast: wait, and pause the limiter
    QUOTA = "quota"  #: there is no money left: tell the user, never retry
    OVERLOADED = "overloaded"  #: the provider is busy: back off
    TRANSIENT = "transient"  #: something broke that may well work the next time
    TIMEOUT = "timeout"  #: a time limit passed
    OURS_TO_FIX = "ours_to_fix"  #: the request is wrong: the same one will fail again
    REFUSED = "refused"  #: a layer of ours refused; nothing was sent
    CANCELLED = "cancelled"  #: the caller no longer wants it
    UNKNOWN = "unknown"  #: an exception of the caller's own code

    def __init__(self, name: str) -> None:
        self.retryable: bool = name in {"rate_limited", "overloaded", "transient", "timeout"}
        """Whether trying again can help, as far as the kind alone tells."""
        self.final: bool = name in {"quota", "refused", "cancelled"}
        """Whether trying again is wrong even where the provider's `x-should-retry` says otherwise."""


_STATUSES: Final[Mapping[int, Fault]] = {
    402: Fault.QUOTA,
    408: Fault.TRANSIENT,
    409: Fault.TRANSIENT,  # a lock timeout, as openai's client understands it
    429: Fault.RATE_LIMITED,
    503: Fault.OVERLOADED,
    529: Fault.OVERLOADED,
}

_CODES: Final[Mapping[str, Fault]] = {
    code: fault
    for fault, codes in {
        Fault.QUOTA: (
            "insufficient_quota billing_hard_limit_reached billing_not_active billing_error insufficient_balance"
        ),
        Fault.RATE_LIMITED: (
            "rate_limit_exceeded rate_limit_error ratelimitreached too_many_requests toomanyrequests "
            "resource_exhausted throttling throttlingexception"
        ),
        Fault.OVERLOADED: "overloaded_error overloaded server_overloaded engine_overloaded slow_down unavailable",
        Fault.TRANSIENT: (
            "server_error api_error internal_error internal_server_error internalservererror timeout_error "
            "deadline_exceeded"
        ),
        Fault.OURS_TO_FIX: (
            "invalid_request_error authentication_error permission_error not_found_error request_too_large "
            "content_filter content_policy_violation context_length_exceeded string_above_max_length "
            "invalid_api_key invalid_prompt model_not_found unsupported_parameter unsupported_value"
        ),
    }.items()
    for code in codes.split()
}


class Verdict(NamedTuple):
    """What the class of an exception tells by its name.

    Attributes:
        fault: whose fault; None if the class does not say.
        sent: whether the request may have reached the provider; None if the class does not say.
    """

    fault: Fault | None = None
    sent: bool | None = None


_SILENT: Final = Verdict()
_BROKEN: Final = Verdict(Fault.TRANSIENT)
_UNSENT: Final = Verdict(Fault.TRANSIENT, sent=False)
_LOST: Final = Verdict(Fault.TRANSIENT, sent=True)
_WRONG: Final = Verdict(Fault.OURS_TO_FIX)
_NEVER_SENT: Final = Verdict(Fault.OURS_TO_FIX, sent=False)

_BUILTIN: Final[Mapping[type, Verdict]] = {
    Rejected: Verdict(Fault.REFUSED, sent=False),
    asyncio.CancelledError: Verdict(Fault.CANCELLED),
    ConnectionRefusedError: _UNSENT,
    ConnectionError: _BROKEN,
    TimeoutError: Verdict(Fault.TIMEOUT),
    asyncio.IncompleteReadError: _LOST,
}

# Of the clients that one generator makes (openai, anthropic, groq, ...), whatever their package is called.
_SDK: Final[Mapping[str, Verdict]] = {
    "APIConnectionError": _BROKEN,
    "APITimeoutError": _BROKEN,
    "ContentFilterFinishReasonError": _WRONG,
    "LengthFinishReasonError": _WRONG,
}

_HTTPX: Final[Mapping[str, Verdict]] = {
    "ConnectError": _UNSENT,
    "ConnectTimeout": _UNSENT,
    "PoolTimeout": _UNSENT,
    "UnsupportedProtocol": _NEVER_SENT,
    "LocalProtocolError": _NEVER_SENT,
    "InvalidURL": _NEVER_SENT,
    "TooManyRedirects": _WRONG,
    "ReadTimeout": _LOST,
    "ReadError": _LOST,
    "RemoteProtocolError": _LOST,
    "DecodingError": _LOST,
    "TransportError": _BROKEN,
    "NetworkError": _BROKEN,
    "ProtocolError": _BROKEN,
    "TimeoutException": _BROKEN,
}

# By package, since such names are common: `tarfile.ReadError` is nobody's connection.
_PACKAGES: Final[Mapping[str, Mapping[str, Verdict]]] = {
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "httpcore": _HTTPX,
    "httpcore2": _HTTPX,
    "aiohttp": {
        "ClientConnectorError": _UNSENT,
        "ConnectionTimeoutError": _UNSENT,
        "InvalidURL": _NEVER_SENT,
        "TooManyRedirects": _WRONG,
        "ServerConnectionError": _LOST,
        "ClientOSError": _LOST,
        "ClientConnectionError": _BROKEN,
        "ClientPayloadError": _LOST,
    },
    "requests": {
        "ConnectTimeout": _UNSENT,
        "ConnectionError": _BROKEN,
        "Timeout": _BROKEN,
        "ChunkedEncodingError": _LOST,
    },
    "anyio": {"BrokenResourceError": _BROKEN, "ClosedResourceError": _BROKEN, "EndOfStream": _BROKEN},
    "socket": {"gaierror": _UNSENT},
    # Raised in mid-stream without a status: the provider's, unless its code says more.
    "openai": {"APIError": _BROKEN},
    "anthropic": {"APIError": _BROKEN},
    "groq": {"APIError": _BROKEN},
}


def of_status(status: int) -> Fault | None:
    """Return whose fault an HTTP response with *status* is, or None if it is no failure."""
    fault = _STATUSES.get(status)
    if fault is not None:
        return fault
    if 400 <= status < 500:
        return Fault.OURS_TO_FIX
    return Fault.TRANSIENT if 500 <= status < 600 else None


def of_code(code: str) -> Fault | None:
    """Return whose fault a provider's error *code* or type names, or None if it is not known."""
    return _CODES.get(code.lower())


def of_type(kind: type[BaseException]) -> Verdict:
    """Return what the nearest known class among *kind* and its bases says; remembered for each class."""
    return _nearest(kind)  # type: ignore[arg-type]  # mypy takes a class for unhashable


@lru_cache(maxsize=1024)
def _nearest(kind: type[BaseException]) -> Verdict:
    for base in kind.__mro__:
        verdict = _BUILTIN.get(base)
        if verdict is None:
            verdict = _SDK.get(base.__name__)
        if verdict is None:
            verdict = _PACKAGES.get(base.__module__.partition(".")[0], {}).get(base.__name__)
        if verdict is not None:
            return verdict
    return _SILENT if issubclass(kind, Exception) else Verdict(Fault.CANCELLED)
