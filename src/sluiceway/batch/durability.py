"""When what was written is also forced to the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sluiceway.durations import parse, seconds

Fsync: TypeAlias = str | int | float
"""`"never"`, `"always"`, a number of rows, or a duration such as `"5s"`."""

_ALLOWED = '"never", "always", a number of rows such as 100, or a duration such as "5s"'


@dataclass(frozen=True, slots=True)
class Durability:
    """How often a journal calls `fsync`.

    A row is with the operating system before it counts as done, always: the death of the process, by `kill -9` too,
    loses none. A power cut or the death of the machine loses what the system has not yet brought to the disk, up to 30
    seconds on Linux by default, unless it was told to by `fsync`.

    Attributes:
        rows: after so many rows; None for never for that reason. 1 makes every row wait for it.
        seconds: after so long, if anything was written; None as above.
    """

    rows: int | None = None
    seconds: float | None = None

    @property
    def always(self) -> bool:
        """Whether a row counts as done only when it is forced to the disk."""
        return self.rows == 1

    @classmethod
    def of(cls, policy: Fsync) -> Durability:
        """Return what *policy* asks for.

        Raises:
            TypeError: it is no policy at all.
            ValueError: it is out of range.
        """
        if isinstance(policy, bool) or not isinstance(policy, (str, int, float)):
            raise TypeError(f"fsync={policy!r} must be {_ALLOWED}")
        if policy == "never":
            return cls()
        if policy == "always":
            return cls(rows=1)
        if isinstance(policy, str) and policy.strip().isdecimal():
            policy = int(policy)
        if isinstance(policy, int):
            if policy < 1:
                raise ValueError(f"fsync={policy!r} must be {_ALLOWED}")
            return cls(rows=policy)
        if isinstance(policy, str) and parse(policy) is None:
            raise ValueError(f"fsync={policy!r} must be {_ALLOWED}")
        return cls(seconds=seconds(policy, "fsync"))
