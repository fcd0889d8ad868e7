"""For whom or for how long a budget is: the setting `per=` of `budgeted`."""

from __future__ import annotations

import time
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sluiceway.functions import is_plain
from sluiceway.telemetry.hub import process_scopes, scopes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from sluiceway.call import Call

Part: TypeAlias = "Literal['session', 'tenant', 'day'] | Callable[[Call], Hashable]"
Per: TypeAlias = "Part | tuple[Part, ...]"

DAY: Final = 86_400.0
_ALLOWED: Final = "'session', 'tenant', 'day', a function of the Call that is not async, or a tuple of these"


class Periods:
    """Makes the key of a call, and knows when a key is over.

    Args:
        per: one part, or a tuple of them: then the key is a tuple too.

    Raises:
        TypeError: a part is neither a str nor a function.
        ValueError: a part is another str, or there is none.
    """

    __slots__ = ("_many", "_parts", "daily")

    def __init__(self, per: Per) -> None:
        self._many = isinstance(per, tuple)
        parts = per if isinstance(per, tuple) else (per,)
        if not parts:
            raise ValueError(f"per=() must be {_ALLOWED}")
        for part in parts:
            if not isinstance(part, str) and not is_plain(part):  # each coroutine would be a key of its own
                raise TypeError(f"per={part!r} must be {_ALLOWED}")
            if isinstance(part, str) and part not in _PARTS:
                raise ValueError(f"per={part!r} must be {_ALLOWED}")
        self._parts = tuple(_PARTS[part] if isinstance(part, str) else part for part in parts)
        self.daily = "day" in parts

    def key(self, call: Call) -> Hashable:
        """Return the key of *call* now."""
        if not self._many:
            return self._parts[0](call)
        return tuple(part(call) for part in self._parts)

    def life(self) -> Callable[[], bool]:
        """Return what tells whether the key that a call has here and now can come again."""
        parts = self._parts
        around = session_of() if _session in parts else None
        session = None if around is None else weakref.ref(around)
        day = today() if self.daily else None

        def lives() -> bool:
            return (session is None or session() is not None) and (day is None or day >= today())

        return lives


def session_of() -> Any:
    """Return the innermost session around the call that runs here, else the process's; None outside of any."""
    around = scopes.get() or tuple(process_scopes[-1:])
    return getattr(around[0], "session", around[0]) if around else None


def today() -> int:
    """Return the number of the day in UTC, by the wall clock."""
    return int(time.time() // DAY)


def until_tomorrow() -> float:
    """Return the seconds until midnight UTC."""
    return DAY - time.time() % DAY


def _session(_: Call) -> Hashable:
    return getattr(session_of(), "id", None)


def _tenant(call: Call) -> Hashable:
    return call.hints.tenant


def _day(_: Call) -> Hashable:
    return datetime.fromtimestamp(today() * DAY, UTC).date().isoformat()


_PARTS: Final[dict[str, Callable[[Any], Hashable]]] = {"session": _session, "tenant": _tenant, "day": _day}
