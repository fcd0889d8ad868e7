"""Errors in the shape of the openai client's, without importing openai: what tests and injected faults raise.

They have the attributes that code reads from the real ones, and spare a test run the import of those, which takes
over half a second. With ``real=True`` they are openai's own, for code that asks ``isinstance``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

_URL = "https://provider.test/v1/chat/completions"
_CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 500: "server_error", 503: "overloaded"}


class Headers(Mapping[str, str]):
    """Response headers, read in any case of letters."""

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._values = {name.lower(): str(value) for name, value in (headers or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self._values!r})"


class StatusError(Exception):
    """A provider's HTTP error, as openai's ``APIStatusError`` shows it.

    Attributes:
        message: The text, also ``str(error)``.
        status_code: The HTTP status.
        response: With ``status_code`` and ``headers``.
        body: The ``error`` object of the answer: ``message``, ``type``, ``param``, ``code``.
        code: The body's code, such as ``"insufficient_quota"``, or None.
        type: The body's type, or None.
        param: The body's parameter, or None.
        request_id: The header ``x-request-id``, or None.
    """

    def __init__(self, message: str, *, response: Any, body: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.message = message
        self.response = response
        self.status_code: int = response.status_code
        self.request_id: str | None = response.headers.get("x-request-id")
        self.body = body
        self.code: str | None = body.get("code")
        self.type: str | None = body.get("type")
        self.param: str | None = body.get("param")


def openai_error(
    status: int,
    *,
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
    message: str = "scripted",
    real: bool = False,
) -> Exception:
    """Return the exception that the openai client would raise for this answer of the provider.

    Its class has openai's name (``RateLimitError`` for 429, ``InternalServerError`` from 500 on), and it has
    ``.status_code``, ``.response.headers``, ``.code``, ``.body``, ``.type``, ``.param`` and ``.request_id``.

    Args:
        status: The HTTP status, 400 to 599.
        headers: The answer's headers, such as ``{"retry-after": "2"}``.
        code: The error's code, such as ``"insufficient_quota"``; None takes what is usual for the status.
        message: The provider's message.
        real: Make openai's own exception, with an ``httpx2.Response``.

    Raises:
        ValueError: If status is no HTTP error.
    """
    if not 400 <= status <= 599:
        raise ValueError(f"status must be an HTTP error from 400 to 599, not {status!r}")
    name = "InternalServerError" if status >= 500 else _CLASSES.get(status, "APIStatusError")
    code = _CODES.get(status) if code is None else code
    body = {"message": message, "type": code, "param": None, "code": code}
    text = f"Error code: {status} - {message}"
    if real:
        return _real_error(name, text, status, headers, body)
    response = SimpleNamespace(status_code=status, headers=Headers(headers))
    return _error_class(name)(text, response=response, body=body)


def broken_connection(*, real: bool = False) -> Exception:
    """Return the exception of a connection that broke after the request was sent.

    A ``ConnectionResetError``; with *real* the openai client's ``APIConnectionError``, caused by one.
    """
    reset = ConnectionResetError("the connection broke before the whole answer had arrived")
    if not real:
        return reset
    import httpx2  # noqa: PLC0415 - only for those who ask for it
    import openai  # noqa: PLC0415 - likewise

    error = openai.APIConnectionError(request=httpx2.Request("POST", _URL))
    error.__cause__ = reset
    return error


def _real_error(
    name: str, text: str, status: int, headers: Mapping[str, str] | None, body: Mapping[str, Any]
) -> Exception:
    import httpx2  # noqa: PLC0415 - only for those who ask for it
    import openai  # noqa: PLC0415 - likewise

    request = httpx2.Request("POST", _URL)
    response = httpx2.Response(status, headers=dict(headers or {}), json={"error": body}, request=request)
    error: Exception = getattr(openai, name)(text, response=response, body=body)
    return error


@cache
def _error_class(name: str) -> type[StatusError]:
    return type(name, (StatusError,), {"__module__": __name__, "__doc__": StatusError.__doc__})
