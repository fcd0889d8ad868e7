"""What options hold beside texts and numbers: each is checked, used or not, and named if it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sluiceway.batch.durability import Durability
from sluiceway.durations import seconds

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # before 8.3 it takes no parameters

_ALLOWED = "a number of seconds, or a duration such as 250ms, 1.5s, 2m or 1h30m"
_FSYNC = "never, always, a number of rows such as 100, or a duration such as 5s"


class DurationType(_Type):
    """A duration; a number alone is seconds.

    Args:
        zero: whether 0 is allowed.
    """

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number of a number alone, and anything else as it is."""
        try:
            given: Any = float(value)
        except ValueError:
            given = value
        try:
            seconds(given, zero=self._zero)
        except ValueError:
            above = "" if self._zero else ", more than 0"
            self.fail(f"{value!r} must be {_ALLOWED}{above}.", param, ctx)
        return given


class FsyncType(_Type):
    """When to force rows to the disk."""

    name = "fsync"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what is right as it is."""
        try:
            Durability.of(value)
        except ValueError:
            self.fail(f"{value!r} must be {_FSYNC}.", param, ctx)
        return value


DURATION = DurationType()
DURATION_OR_ZERO = DurationType(zero=True)
FSYNC = FsyncType()
SHARE = click.FloatRange(0, 1, min_open=True)
