"""When to come back: a refusal's headers, true or deliberately not."""

from __future__ import annotations

import math
from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluiceway.simulator.behaviour import RetryAfterForm


def retry_headers(
    seconds: float | None, form: RetryAfterForm, lie: str | float | None, wall_clock: float
) -> dict[str, str]:
    """Return ``retry-after-ms`` and ``retry-after``, rounded up so that they are true.

    Args:
        seconds: until the request would be accepted; None or infinity: nothing is said.
        form: which of the two, or ``retry-after`` as a date.
        lie: what to say instead, as ``retry-after``.
        wall_clock: seconds since 1970, for a date.
    """
    if lie is not None:
        return {"retry-after": str(lie)}
    if seconds is None or math.isinf(seconds) or form == "none":
        return {}
    if form == "date":  # a date is cut to whole seconds: one more keeps it true
        return {"retry-after": formatdate(math.ceil(wall_clock + seconds) + 1, usegmt=True)}
    headers = {"retry-after-ms": str(math.ceil(seconds * 1000)), "retry-after": str(math.ceil(seconds))}
    if form == "both":
        return headers
    kept = "retry-after-ms" if form == "ms" else "retry-after"
    return {kept: headers[kept]}
