"""The layers of a batch, where nobody says which."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

from sluiceway.layer import Pipeline
from sluiceway.layers import bounded, circuit_breaker, rate_limited, retry_jitter, timed
from sluiceway.order import PipelineWarning

if TYPE_CHECKING:
    from sluiceway.durations import Duration
    from sluiceway.layer import Layer
    from sluiceway.sharing.store import SharedStore

CONCURRENCY: Final = 100
TIMEOUT: Final = "5m"


def usual_pipeline(
    *,
    concurrency: int = CONCURRENCY,
    rpm: float | None = None,
    tpm: float | None = None,
    attempts: int = 5,
    timeout: Duration = TIMEOUT,
    store: SharedStore | None = None,
    **limits: Any,
) -> Pipeline:
    """Return retries, a bound or limits, a circuit breaker and a time limit for each attempt, in this order.

    Args:
        concurrency: calls in flight.
        rpm: requests per minute; None for no such limit.
        tpm: tokens per minute; None for no such limit.
        attempts: trips to the provider for each row, the first included.
        timeout: of each attempt.
        store: shares the bound and the limits with other processes.
        limits: further settings of `rate_limited`, such as `input_tpm` or `policy`.

    Raises:
        TypeError, ValueError: as the layers do.
    """
    limited = any(value is not None for value in (rpm, tpm)) or bool(limits)
    if limited:
        place: Layer = rate_limited(rpm=rpm, tpm=tpm, in_flight=concurrency, store=store, **limits)
    else:
        place = bounded(concurrency, store=store)
    with warnings.catch_warnings():
        # Its window is shorter than two time limits: a provider that hangs does not open the circuit. But a batch waits
        # by itself when nobody is answered, and a longer window would notice an outage later.
        warnings.simplefilter("ignore", PipelineWarning)
        return Pipeline(retry_jitter(attempts), place, circuit_breaker(), timed(timeout), name="batch")
