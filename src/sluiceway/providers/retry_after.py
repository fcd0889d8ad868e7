"""Delays as providers write them into headers (numbers, durations, dates), in seconds from now."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from sluiceway import durations

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 366 * 86400.0
"""No delay is reported longer than this many seconds: what exceeds it is a mistake, but not a short wait."""

_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MANY: Final = 64  # characters; no header that we know writes a moment in more than half of it
_LONGEST_SPAN: Final = 32  # characters; what is longer is a date or nothing, and never enters the cache


class RetryAfter(NamedTuple):
    """How long a provider asks us to wait.

    Attributes:
        seconds: from now, at least 0 and at most `LONGEST`.
        source: the header that said so, in lower case.
    """

    seconds: float
    source: str


def number(text: str) -> float | None:
    """Return the plain decimal number in *text*, or None if it is none.

    The words `nan` and `inf`, digit groups (`1_000`) and other scripts' digits, which `float` would take,
    are no numbers here; one too large for a float is infinite.
    """
    if len(text) > _MANY or not _NUMBER.fullmatch(text):
        return None
    return float(text)


def date(text: str, now: float | None = None) -> float | None:
    """Return the seconds from *now* to the moment in *text*, or None if it names none.

    Args:
        text: RFC 3339 (`2026-03-01T12:00:00.5Z`) or an HTTP date (`Sun, 01 Mar 2026 12:00:00 GMT`). Without a
            zone it is read as UTC. A moment that is past is 0.
        now: Unix seconds; the clock's by default.
    """
    if len(text) > _MANY:
        return None
    try:
        moment = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        stamp = moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
    return _bounded(stamp - (time.time() if now is None else now))


def delay(text: str, now: float | None = None) -> float | None:
    """Return the seconds that *text* asks to wait, or None if it is in none of the known forms.

    The forms are a number of seconds (Azure), a duration such as `120ms`, `6m0s` or `1h2m3s` (OpenAI), RFC
    3339 (Anthropic) and an HTTP date. `120ms` is 0.12 and not two minutes, and `0s` is 0 and not "unknown".
    What is negative or past is 0: it may be done now. Never raises.
    """
    text = text.strip()
    if len(text) > _LONGEST_SPAN:
        return date(text, now)
    span = _span(text)
    return date(text, now) if span is None else span


def retry_after(headers: Mapping[str, str], now: float | None = None) -> RetryAfter | None:
    """Return what `retry-after-ms`, else `retry-after`, says, or None if neither can be read.

    Args:
        headers: a mapping whose names are in lower case or whose look-up ignores case.
        now: Unix seconds, for a date; the clock's by default.
    """
    text = headers.get("retry-after-ms")
    if text is not None:
        milliseconds = number(text.strip())
        if milliseconds is not None:
            return RetryAfter(_bounded(milliseconds / 1000), "retry-after-ms")
    text = headers.get("retry-after")
    if text is not None:
        wait = delay(text, now)
        if wait is not None:
            return RetryAfter(wait, "retry-after")
    return None


@lru_cache(maxsize=1024)
def _span(text: str) -> float | None:
    """Cached, since every answer of a busy provider brings two of a few hundred: `6ms`, `0s`, `1m12s`."""
    plain = number(text)
    if plain is not None:
        return _bounded(plain)
    lasting = durations.parse(text.removeprefix("-"))
    if lasting is None:
        return None
    return 0.0 if text.startswith("-") else _bounded(lasting)


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST)
