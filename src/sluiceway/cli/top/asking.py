"""Asking a process over its inspection's address."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Final

DEFAULT: Final = "9465"
"""Where `telemetry.inspect` listens unless told otherwise."""
_PATIENCE: Final = 5.0
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is behind no proxy


class NoAnswer(Exception):
    """Nobody answers there, or not as an inspection does."""


def url_of(where: str) -> str:
    """Return the address that *where* means: a port, a host and a port, or a URL.

    Raises:
        ValueError: it means none.
    """
    text = f"127.0.0.1:{where}" if where.isdecimal() else where
    parts = urllib.parse.urlsplit(text if "://" in text else f"http://{text}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or not port or any(map(str.isspace, parts.netloc)):
        raise ValueError(f"{where!r} must be a port such as 9465, or an address such as http://127.0.0.1:9465")
    return f"http://{parts.netloc}"


def ask(url: str, path: str) -> dict[str, Any]:
    """Return what *path* says there.

    Raises:
        NoAnswer: see there.
    """
    try:
        with _DIRECT.open(f"{url}{urllib.parse.quote(path)}", timeout=_PATIENCE) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        raise NoAnswer(_refusal(url, error)) from None
    except http.client.IncompleteRead:
        raise NoAnswer(f"the answer from {url} was cut off") from None
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise NoAnswer(
            f"no answer from {url} ({reason}): the application opens this by `async with telemetry.inspect():`, or "
            "tells another port"
        ) from None
    except (ValueError, http.client.HTTPException):  # no JSON, and no HTTP
        found = None
    if not isinstance(found, dict):
        raise stranger(url)
    return found


def stranger(url: str, more: str = "") -> NoAnswer:
    """Return the error for something else that answers on *url*."""
    return NoAnswer(f"what answers on {url} is not telemetry.inspect(){more}")


def _refusal(url: str, error: urllib.error.HTTPError) -> str:
    with error:
        try:
            told = json.load(error)["error"]
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            told = None
    return told if isinstance(told, str) else str(stranger(url, f" (status {error.code})"))
