"""Whether what failed here may be asked somewhere else, and what is noted when that did not help either."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sluiceway.errors import SessionClosed
from sluiceway.providers.errors import Fault

if TYPE_CHECKING:
    from sluiceway.call import Call
    from sluiceway.providers.errors import Classification

_ELSEWHERE: Final = frozenset(
    (Fault.RATE_LIMITED, Fault.QUOTA, Fault.OVERLOADED, Fault.TRANSIENT, Fault.TIMEOUT, Fault.REFUSED)
)


def may_help(error: Exception, found: Classification) -> bool:
    """Whether somebody else may well answer what ended in *error*: not if the request itself is wrong.

    A quota that is used up and a refusal of our own layers are never retried, but say nothing about others.
    """
    return found.fault in _ELSEWHERE and not isinstance(error, SessionClosed)


def forbidden(call: Call, found: Classification) -> str | None:
    """Return what forbids to ask anybody else on behalf of *call*; None if nothing does."""
    run = call.run
    if run.emitted:
        return "items of the stream are out"
    if found.sent and not call.hints.idempotent:
        return "the call is not idempotent"
    if run.deadline is not None and run.time() >= run.deadline:
        return "the deadline has passed"
    return None


def line(who: str, error: Exception, found: Classification, seconds: float) -> str:
    """Return how asking *who* ended, without a word of the error's message, which may quote the prompt."""
    status = "" if found.status is None else f" {found.status}"
    return f"{who}: {type(error).__name__}{status} after {seconds:.3g} s"


def note(error: Exception, layer: str, reason: str, lines: list[str]) -> None:
    """Note on *error*, which is about to be raised, what was tried before."""
    with suppress(Exception):  # a frozen exception takes no notes
        error.add_note("\n".join((f"sluiceway's {layer} gave up: {reason}", *lines)))
