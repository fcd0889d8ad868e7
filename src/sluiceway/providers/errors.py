"""What an error means, by its shape: whose fault it is, whether trying again can help, how long to wait.

An error is judged by its HTTP status, by the code that the provider gave it, and by the names of its classes in
the client libraries, which need not be installed. What it leaves open its explicit cause decides, as in
`raise Mine(...) from provider_error`.

| what happened                                                     | fault          | retry |
|-------------------------------------------------------------------|----------------|-------|
| 429                                                               | `RATE_LIMITED` | yes   |
| 402; or a code such as `insufficient_quota`, as a rule with 429   | `QUOTA`        | never |
| 503, 529, `overloaded_error`                                      | `OVERLOADED`   | yes   |
| other 5xx, 408, 409; connection refused or reset; read timeout    | `TRANSIENT`    | yes   |
| `TimeoutError`, and so `sluiceway.TimedOut`                       | `TIMEOUT`      | yes   |
| other 4xx; content filter; an answer cut off by its token limit   | `OURS_TO_FIX`  | no    |
| `sluiceway.Rejected`                                              | `REFUSED`      | never |
| `CancelledError`, `KeyboardInterrupt` and their like              | `CANCELLED`    | never |
| anything else, so the caller's own exceptions                     | `UNKNOWN`      | no    |

The header `x-should-retry: true` or `false` overrides the last column, except where it says never.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from .faults import Fault, of_code, of_status, of_type
from .headers import asked_wait, relevant
from .retry_after import LONGEST, RetryAfter, retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Classification", "Fault", "classify", "headers_of"]

_CHAIN: Final = 8  # causes looked at; the longest that a client library makes has 5
_CODE: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Classification:
    """What an error means for retrying, waiting, the circuit and the bill.

    Attributes:
        fault: whose fault it is.
        retryable: whether trying again can help.
        status: of the HTTP response; None if there was none.
        code: the provider's name of the error, such as `rate_limit_exceeded`; None if it gave none.
        retry_after: seconds that the provider, or the layer that refused, asks to wait, as it said it: cap it.
        retry_after_source: the header that said so, or `"retry_after"` for the error's own attribute; `""` if none.
        sent: whether the request may have reached the provider, and so have to be paid for.
    """

    fault: Fault
    retryable: bool
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    retry_after_source: str = ""
    sent: bool = True


_PLAIN: Final = {
    fault: Classification(fault, retryable=fault.retryable, sent=fault is not Fault.REFUSED) for fault in Fault
}


def classify(error: BaseException, *, now: float | None = None) -> Classification:
    """Return what *error* means. Never raises.

    Args:
        error: any exception.
        now: Unix seconds, for waits that are written as dates; the clock's by default.
    """
    fault = of_type(type(error)).fault
    if fault is Fault.CANCELLED or fault is Fault.TIMEOUT:
        return _PLAIN[fault]
    link: BaseException | None = error
    for _ in range(_CHAIN):  # bounded, since a chain of causes may be a ring
        if link is None:
            break
        try:
            found = _judge(link, now)
        except Exception:  # noqa: BLE001 - a foreign property raised, in the midst of handling a failure
            found = None
        if found is not None:
            return found
        link = link.__cause__
    return _PLAIN[Fault.UNKNOWN]


def headers_of(error: BaseException) -> dict[str, str]:
    """Return the headers that we read of the response in *error* or its causes, in lower case; {} without one."""
    link: BaseException | None = error
    for _ in range(_CHAIN):
        if link is None:
            break
        try:
            headers = _headers(link, getattr(link, "response", None))
        except Exception:  # noqa: BLE001 - as above
            headers = {}
        if headers:
            return headers
        link = link.__cause__
    return {}


def _judge(error: BaseException, now: float | None) -> Classification | None:
    fault = of_type(type(error)).fault
    if fault is Fault.REFUSED or fault is Fault.TIMEOUT:
        asked = _attribute(error)
        return _PLAIN[fault] if asked is None else _asking(_PLAIN[fault], asked)
    response = getattr(error, "response", None)
    code = getattr(error, "code", None)
    status = _status(error, response, code)
    codes = _codes(error, response, code)
    if status is not None or codes:
        fault = _weigh(status, codes) or fault
    if fault is None or fault is Fault.CANCELLED:
        return None
    headers = _headers(error, response)
    if not headers:
        asked = _attribute(error)
    elif fault is Fault.RATE_LIMITED:
        asked = asked_wait(headers, now)
    else:
        asked = retry_after(headers, now)
    seconds, source = (None, "") if asked is None else asked
    sent = status is not None or _sent(error)
    return Classification(fault, _retryable(fault, headers), status, _best(codes), seconds, source, sent)


def _weigh(status: int | None, codes: list[str]) -> Fault | None:
    """Weigh the status against the codes.

    A status below 400 says nothing: that is how an error in mid-stream looks. No money and too fast are believed of
    the code with any 4xx; overload with any 5xx.
    """
    named = [fault for code in codes if (fault := of_code(code)) is not None]
    if status is None or status < 400:
        return named[0] if named else None
    if status < 500:
        for fault in (Fault.QUOTA, Fault.RATE_LIMITED):
            if fault in named:
                return fault
    elif Fault.OVERLOADED in named:
        return Fault.OVERLOADED
    return of_status(status)


def _retryable(fault: Fault, headers: Mapping[str, str]) -> bool:
    said = headers.get("x-should-retry")
    if said is not None and not fault.final:
        said = said.strip().lower()
        if said in {"true", "false"}:
            return said == "true"
    return fault.retryable


def _sent(error: BaseException) -> bool:
    """Return whether the request may have left, by the deepest cause that tells.

    The deepest, because wrappers guess: openai's aiohttp transport reports a server that hung up as a timeout of
    connecting.
    """
    sent = True
    link: BaseException | None = error
    for _ in range(_CHAIN):
        if link is None:
            break
        said = of_type(type(link)).sent
        if said is not None:
            sent = said
        link = link.__cause__
    return sent


def _status(error: BaseException, response: Any, code: Any) -> int | None:
    """Return the HTTP status, wherever the libraries put it; a numeric code (vLLM, Azure, Google) counts as one."""
    status = getattr(error, "status_code", None)
    if _is_status(status) or _is_status(status := getattr(error, "status", None)):
        return int(status)
    if response is not None:
        if isinstance(response, dict):  # botocore
            status = _inside(response, "ResponseMetadata").get("HTTPStatusCode")
        elif not _is_status(status := getattr(response, "status_code", None)):
            status = getattr(response, "status", None)
        if _is_status(status):
            return int(status)
    if isinstance(code, str) and len(code) == 3 and code.isdecimal():
        code = int(code)
    return int(code) if _is_status(code) else None


def _is_status(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and 100 <= value < 600


def _codes(error: BaseException, response: Any, code: Any) -> list[str]:
    """Return the names that the provider gives the error, the most exact first."""
    names = [code, getattr(error, "type", None)]
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        details = body["error"] if isinstance(body.get("error"), dict) else body
        names += details.get("code"), details.get("type")
    if isinstance(response, dict):  # botocore
        names.append(_inside(response, "Error").get("Code"))
    names.append(getattr(error, "status", None))  # Google: "RESOURCE_EXHAUSTED"
    return [name for name in names if isinstance(name, str) and _CODE.fullmatch(name)]


def _inside(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = mapping.get(key)
    return inner if isinstance(inner, dict) else {}


def _best(codes: list[str]) -> str | None:
    for code in codes:
        if of_code(code) is not None:
            return code
    return codes[0] if codes else None


def _headers(error: BaseException, response: Any) -> dict[str, str]:
    headers = getattr(error, "headers", None) if response is None else getattr(response, "headers", None)
    return {} if headers is None else relevant(headers)


def _attribute(error: BaseException) -> RetryAfter | None:
    seconds = getattr(error, "retry_after", None)
    if isinstance(seconds, (int, float)) and seconds >= 0:  # so not nan
        return RetryAfter(min(float(seconds), LONGEST), "retry_after")
    return None


def _asking(plain: Classification, asked: RetryAfter) -> Classification:
    return replace(plain, retry_after=asked.seconds, retry_after_source=asked.source)
