"""The recommended client of OpenAI-compatible APIs, an `AsyncOpenAI` that leaves retrying to the layers."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from opentelemetry.trace import get_current_span

from sluiceway.call import current
from sluiceway.durations import Duration, optional_seconds
from sluiceway.errors import MissingExtra

from .headers import relevant

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

Transport: TypeAlias = Literal["auto", "aiohttp", "httpx"]

MAX_CONNECTIONS: Final = 1000
"""As many as fit beside a process's other files under the usual limit of 1,024."""
_HTTP: Final = re.compile(r"https?://[^/?#\s]", re.IGNORECASE)
_MODEL: Final = "gen_ai.request.model"
"""What the spans of those say who count tokens, and those of an HTTP client's instrumentation do not."""


def client(
    *,
    max_connections: int | None = MAX_CONNECTIONS,
    api_key: str | None = None,
    base_url: str | None = None,
    timeout: Duration | None = None,
    transport: Transport = "auto",
    **options: Any,
) -> AsyncOpenAI:
    """Return an `AsyncOpenAI` that fits under the layers; close it, or use it in an ``async with``.

    It does not retry (two retries of its own under five of ours are fifteen requests), keeps all its connections
    alive, and tells the attempt under way the status and the rate limits of every response, from which limiters
    learn and spans are filled.

    Args:
        max_connections: at least as many as calls may be in flight, or they wait in here, unseen, while the clock of
            their attempt runs; None for no limit.
        api_key: the environment's `OPENAI_API_KEY` by default.
        base_url: the environment's `OPENAI_BASE_URL`, or OpenAI's, by default.
        timeout: of connecting and between two reads; 600 s, and 5 s to connect, by default. What bounds a call is
            `timed`.
        transport: `"aiohttp"` takes a quarter less CPU than `"httpx"` and needs the extra `aiohttp`; `"auto"` takes
            it where it is installed.
        **options: further arguments of `AsyncOpenAI`.

    Raises:
        MissingExtra: `"aiohttp"` is not installed.
        TypeError: *options* has an `http_client`: give it `note_response` as a response hook, and make the
            `AsyncOpenAI` yourself.
        ValueError: `max_connections` is less than 1, the transport is unknown, the base URL is none of HTTP, or the key
            holds what no header can.
    """
    if "http_client" in options:
        raise TypeError(
            "client() makes its own http_client: write AsyncOpenAI(http_client=..., max_retries=0) for yours, "
            'with event_hooks={"response": [sluiceway.providers.openai.note_response]}'
        )
    seconds = optional_seconds(timeout, "timeout")
    _check_url("OPENAI_BASE_URL" if base_url is None else "base_url", base_url)
    _check_key(api_key)
    http = http_client(max_connections=max_connections, transport=transport)
    from openai import AsyncOpenAI  # noqa: PLC0415 - takes half a second

    if seconds is not None:
        options["timeout"] = seconds
    options.setdefault("max_retries", 0)
    api = AsyncOpenAI(api_key=api_key, base_url=base_url, http_client=http, **options)
    # Loaded here and not by the first call: a burst that meets it arrives late, together with what came after it.
    _ = api.chat.completions, api.default_headers, api.platform_headers()
    return api


def _check_url(name: str, given: str | None) -> None:
    """Refuse an address without its scheme: every request would fail as in an outage, and be tried again."""
    url = os.environ.get("OPENAI_BASE_URL") if given is None else given
    if url and not _HTTP.match(str(url)):
        raise ValueError(f"{name}={str(url)!r} must begin with http:// or https:// and a host")


def _check_key(given: str | None) -> None:
    """Refuse a key with a line break or a letter beyond ASCII: every request would fail before it is sent."""
    key = os.environ.get("OPENAI_API_KEY") if given is None else given
    if isinstance(key, str) and not (key.isascii() and key.isprintable()):
        raise ValueError(
            f"{'OPENAI_API_KEY' if given is None else 'api_key'} has a line break, or another character that no HTTP "
            "header can hold: set the key alone, in printable ASCII characters"
        )


def http_client(*, max_connections: int | None = MAX_CONNECTIONS, transport: Transport = "auto") -> httpx2.AsyncClient:
    """Return the HTTP client that `client` uses, for others of its kind: ``AsyncAzureOpenAI(http_client=...)``.

    Arguments and errors are those of `client`.
    """
    if max_connections is not None and (not isinstance(max_connections, int) or max_connections < 1):
        raise ValueError(f"max_connections={max_connections!r} must be an int of at least 1, or None for no limit")
    if transport not in ("auto", "aiohttp", "httpx"):
        raise ValueError(f"transport={transport!r} must be 'auto', 'aiohttp' or 'httpx'")
    installed = importlib.util.find_spec("aiohttp") is not None
    if transport == "aiohttp" and not installed:
        raise MissingExtra("transport='aiohttp'", "aiohttp")
    import httpx2  # noqa: PLC0415 - with openai, half a second
    import openai  # noqa: PLC0415 - as above

    hooks = {"response": [note_response]}
    if transport == "httpx" or not installed:
        limits = httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        return openai.DefaultAsyncHttpxClient(limits=limits, event_hooks=hooks)
    # None would become aiohttp's own default of 100; 0 is its word for no limit.
    return openai.DefaultAioHttpClient(limits=httpx2.Limits(max_connections=max_connections or 0), event_hooks=hooks)


async def note_response(response: httpx2.Response) -> None:
    """Tell the attempt under way what *response* says; a response hook of httpx2 and httpx clients.

    Nothing that goes wrong in here is raised: it would cost the caller an answer that is paid for.
    """
    try:
        call = current.get()
        attempt = None if call is None else call.record
        if attempt is None:
            return
        attempt.status = response.status_code
        attempt.headers = relevant(response.headers)
        retries = response.request.headers.get("x-stainless-retry-count")
        if retries is not None:
            attempt.sdk_retries = int(retries)
        if attempt.facts is not None:
            around = get_current_span()
            attempt.beside = around is not attempt.facts and _MODEL in (getattr(around, "attributes", None) or ())
    except Exception:  # noqa: BLE001, S110 - see above
        pass
