"""How a batch runs, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sluiceway.batch.durability import Durability, Fsync
from sluiceway.durations import seconds

if TYPE_CHECKING:
    from sluiceway.durations import Duration

DRAIN: Final = "60s"
PATIENCE: Final = "30m"
DISK_PATIENCE: Final = "1m"
ABORT_OVER: Final = 0.5
ALERT_OVER: Final = 0.05


@dataclass(frozen=True, slots=True)
class Settings:
    """What `run` was told, in seconds and shares; see there."""

    rows_under_way: int | None
    attempts: int | None
    patience: float
    drain: float
    disk_patience: float
    abort_over: float | None
    alert_over: float | None
    full_response: bool
    durability: Durability

    @classmethod
    def of(
        cls,
        *,
        rows_under_way: int | None = None,
        attempts: int | None = None,
        patience: Duration = PATIENCE,
        drain: Duration = DRAIN,
        disk_patience: Duration = DISK_PATIENCE,
        abort_over: float | None = ABORT_OVER,
        alert_over: float | None = ALERT_OVER,
        full_response: bool = False,
        fsync: Fsync = "never",
    ) -> Settings:
        """Return them, checked.

        Raises:
            TypeError: a value has the wrong type.
            ValueError: a value is out of its range.
        """
        for name, number in (("rows_under_way", rows_under_way), ("attempts", attempts)):
            if number is not None:
                _whole(name, number)
        for name, share in (("abort_over", abort_over), ("alert_over", alert_over)):
            if share is not None and (isinstance(share, bool) or not isinstance(share, (int, float))):
                raise TypeError(f"{name}={share!r} must be a share such as 0.05, or None for never")
            if share is not None and not 0 < share < 1:
                raise ValueError(f"{name}={share!r} must lie between 0 and 1, such as 0.05 for 5 %")
        return cls(
            rows_under_way,
            attempts,
            seconds(patience, "patience"),
            seconds(drain, "drain", zero=True),
            seconds(disk_patience, "disk_patience", zero=True),
            abort_over,
            alert_over,
            full_response,
            Durability.of(fsync),
        )


def _whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} must be an int of at least 1")
    if value < 1:
        raise ValueError(f"{name}={value!r} must be at least 1")
